"""From a training's checkpoint and its data-bin folder to a model folder."""

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from ..checkpoints.reader import load_models
from ..checkpoints.writing import new_folder
from ..folder.card import write_card
from ..folder.manifest import AUTOREGRESSIVE, LANGUAGE_MODELS, NAR, SOURCE, TARGET, WEIGHTS, Manifest
from ..folder.search import AUTOREGRESSIVE_OPTIONS, CALIBRATION, PARALLEL_OPTIONS, check_options, write_search
from ..folder.vocabulary import Vocabulary
from ..generation.ngram import BINARY, NgramScorer, ngram_words
from ..generation.options import generator_options
from ..models.bert2bert import Bert2Bert
from ..models.bnb_transformer import BnbTransformer
from ..tasks.text_to_text import TextToTextTask
from .engine import NO_VALIDATION, vocabulary_of
from .graph import Graph, add_graph

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Described(NamedTuple):
    """What people are to know of a model.

    Attributes:
        name: its name; empty: the folder's.
        licence: by the hub's identifier; None: it is not known.
        description: of the model and its data; None: there is none.
    """

    name: str = ""
    licence: str | None = None
    description: str | None = None


def export(
    checkpoint: Path,
    data: Path,
    output: Path,
    search: Mapping[str, Any],
    lm: Path | None = None,
    dtype: str = "float32",
    described: Described = Described(),  # noqa: B008  (immutable)
    graph: Graph | None = None,
) -> Manifest:
    """Write a model folder, whole or not at all.

    Args:
        checkpoint: of a ``bnb_transformer`` or ``bert2bert`` that was trained with a text-to-text task.
        data: data-bin folder with its dictionaries.
        output: the folder, new or empty.
        search: options that translation uses unless told otherwise, and perhaps the calibration.
        lm: n-gram model of the search; None: there is none.
        dtype: that weights are stored in.
        described: what the card says.
        graph: the ONNX graph that the folder is to have; None: none.

    Returns:
        What ``config.json`` says.

    Raises:
        OSError: if something cannot be written.
        ValueError: if the checkpoint, the data, the language model or the options do not fit each other.
    """
    (model,), task = load_models([checkpoint], {"data": str(data), **NO_VALIDATION})
    if not isinstance(task, TextToTextTask) or not isinstance(model, BnbTransformer | Bert2Bert):
        raise ValueError(
            f"--checkpoint must be a bnb_transformer or bert2bert of a task that writes text, but {checkpoint} is a "
            f"{type(model).__name__} of {type(task).__name__}"
        )
    parallel = isinstance(model, BnbTransformer)
    known = PARALLEL_OPTIONS if parallel else AUTOREGRESSIVE_OPTIONS
    options = {name: value for name, value in search.items() if name != CALIBRATION}
    check_options(options, known, "--search")
    source, target = vocabulary_of(task.src_dict), vocabulary_of(task.tgt_dict)
    if lm is not None and not parallel:
        raise ValueError(f"--lm must not be given for an autoregressive model, but is {lm}")
    if graph is not None and not parallel:
        raise ValueError(f"--onnx must not be given for an autoregressive model, but is {graph.kind}")
    if parallel:
        _check_search(options, lm, target)
    manifest = Manifest(
        NAR if parallel else AUTOREGRESSIVE,
        str(task.cfg._name),
        str(getattr(task.cfg, "source_lang", None) or ""),
        str(getattr(task.cfg, "target_lang", None) or ""),
        model.options.to_json(),
        described.name or output.name,
    )
    with new_folder(output) as folder:
        weights = {name: tensor.to(DTYPES[dtype]).contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        for side, vocabulary in ((SOURCE, source), (TARGET, target)):
            (folder / side).mkdir()
            vocabulary.save(folder / side)
        write_search(folder, {**known, **search})
        if lm is not None:
            _copy_language_model(lm, folder)
        if graph is not None:
            add_graph(folder, manifest, task, model.max_positions()[0], {**known, **options}, graph)
        manifest.write(folder)
        write_card(folder, manifest, described.licence, described.description)
    return Manifest.read(output)


def _check_search(options: Mapping[str, Any], lm: Path | None, target: Vocabulary) -> None:
    """Check the options together, and that the language model knows the vocabulary."""
    weight = options.get("ctc_lm_weight", 0.0)
    if (weight != 0) != (lm is not None):
        raise ValueError(f"--lm and ctc_lm_weight must be given together, but are {lm} and {weight}")
    path = {} if lm is None else {"ctc_lm_path": str(lm)}
    generator_options(SimpleNamespace(**{**PARALLEL_OPTIONS, **options, **path}))
    if lm is not None:
        NgramScorer(str(lm), ngram_words(target), weight)


def _copy_language_model(lm: Path, folder: Path) -> None:
    """Copy KenLM's binary as it is, and compress an ARPA file; KenLM's Python package cannot write its binary."""
    compressed, binary = LANGUAGE_MODELS
    with lm.open("rb") as file:
        begin = file.read(len(BINARY))
        if begin == BINARY:
            shutil.copyfile(lm, folder / binary)
            return
        file.seek(0)
        if begin.startswith(b"\x1f\x8b"):
            shutil.copyfile(lm, folder / compressed)
            return
        with (folder / compressed).open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
            shutil.copyfileobj(file, packed)
