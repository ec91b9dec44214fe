"""From a training's checkpoint and its data-bin folder to a model folder."""

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ..checkpoints.reader import load_models
from ..checkpoints.writing import new_folder
from ..engines.nar import check_search
from ..engines.with_fairseq import NO_VALIDATION, make_engine, vocabulary_of
from ..folder.card import write_card
from ..folder.manifest import AUTOREGRESSIVE, LANGUAGE_MODEL, NAR, SOURCE, TARGET, TASKS, WEIGHTS, Manifest
from ..folder.search import (
    AUTOREGRESSIVE_OPTIONS,
    CALIBRATION,
    PARALLEL_OPTIONS,
    check_beam,
    check_values,
    write_search,
)
from ..folder.vocabulary import Vocabulary
from ..generation.ngram import BINARY, COMPRESSED, NgramScorer, ngram_words
from ..models.bert2bert import Bert2Bert
from ..models.bnb_transformer import BnbTransformer
from ..network.loading import DTYPES
from .calibrating import calibrate
from .graph import Graph, add_graph


class Described(NamedTuple):
    """Facts about a model for its card.

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
    part: str | None = None,
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
        part: of the data, to which confidence is calibrated; None: it stays as ``search`` has it.
        graph: the ONNX graph that the folder is to have; None: none.

    Returns:
        What ``config.json`` says.

    Raises:
        OSError: if something cannot be written.
        ValueError: if the checkpoint, the data, the language model or the options do not fit each other.
    """
    (model,), task = load_models([checkpoint], {"data": str(data), **NO_VALIDATION})
    if task.cfg._name not in TASKS or not isinstance(model, BnbTransformer | Bert2Bert):
        raise ValueError(
            f"--checkpoint must be a bnb_transformer or bert2bert of {' or '.join(TASKS)}, but {checkpoint} is a "
            f"{type(model).__name__} of {task.cfg._name}"
        )
    if isinstance(model, Bert2Bert):
        given = {"--onnx": graph and graph.kind, "--calibrate": part}
        kind = "must not be given for an autoregressive model, but is"
        if wrong := [f"{option} {kind} {value}" for option, value in given.items() if value is not None]:
            raise ValueError("; ".join(wrong))
    source, target = vocabulary_of(task.src_dict), vocabulary_of(task.tgt_dict)
    options = _checked_options(model, target, search, lm)
    weights = _stored(model, dtype)
    confidence = None
    if part is not None:
        chosen = {**options, **({} if lm is None else {"ctc_lm_path": str(lm)})}
        fitted = calibrate(make_engine([model], task), task, part, chosen)
        search, confidence = {**search, CALIBRATION: fitted.platt._asdict()}, fitted.report(part)
    manifest = Manifest(
        NAR if isinstance(model, BnbTransformer) else AUTOREGRESSIVE,
        str(task.cfg._name),
        str(getattr(task.cfg, "source_lang", None) or ""),
        str(getattr(task.cfg, "target_lang", None) or ""),
        model.options.to_json(),
        described.name or output.name,
    )
    with new_folder(output) as folder:
        _write_weights(weights, folder / WEIGHTS)
        for side, vocabulary in ((SOURCE, source), (TARGET, target)):
            (folder / side).mkdir()
            vocabulary.save(folder / side)
        write_search(folder, {**options, **search})
        if lm is not None:
            _compress_language_model(lm, folder / LANGUAGE_MODEL)
        if graph is not None:
            add_graph(folder, manifest, task, model.max_positions()[0], options, graph)
        manifest.write(folder)
        write_card(folder, manifest, described.licence, described.description, confidence)
    return Manifest.read(output)


def _checked_options(
    model: nn.Module, target: Vocabulary, search: Mapping[str, Any], lm: Path | None
) -> dict[str, Any]:
    """Return all options of the search; a ValueError names one that does not fit the model, the rest or ``lm``."""
    known = PARALLEL_OPTIONS if isinstance(model, BnbTransformer) else AUTOREGRESSIVE_OPTIONS
    check_values(search, known, "--search")
    options = {**known, **{name: value for name, value in search.items() if name != CALIBRATION}}
    if lm is not None:
        _check_language_model(lm, target, options)
    elif options.get("ctc_lm_weight"):
        raise ValueError(f"--search: ctc_lm_weight must be 0 without --lm, but is {options['ctc_lm_weight']}")
    try:
        if isinstance(model, BnbTransformer):
            check_search(model, target, 1, {**options, "ctc_lm_path": None if lm is None else str(lm)})
        else:
            check_beam(1, options)
    except ValueError as error:
        raise ValueError(f"--search: {error}") from error
    return options


def _stored(model: nn.Module, dtype: str) -> dict[str, Tensor]:
    """Return the weights in a type; a ValueError names one that has numbers too large for it."""
    weights = {name: tensor.to(DTYPES[dtype]).contiguous() for name, tensor in model.state_dict().items()}
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"--dtype {dtype} must hold all weights, but {name} has numbers beyond it, or no numbers")
    return weights


def _write_weights(weights: dict[str, Tensor], path: Path) -> None:
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(weights, path, metadata={"format": "pt"})
    except SafetensorError as error:  # what the library makes of an OSError
        raise OSError(str(error)) from error
    path.chmod(mode)  # the library lets nobody else read its files


def _check_language_model(lm: Path, target: Vocabulary, options: Mapping[str, Any]) -> None:
    """Refuse a language model without a weight, in another form, or over another vocabulary."""
    if options["ctc_lm_weight"] == 0:
        raise ValueError(f"--lm {lm} must stand beside --search with a ctc_lm_weight that is not 0")
    with lm.open("rb") as file:
        if file.read(len(BINARY)) == BINARY:
            raise ValueError(f"--lm must be an ARPA file, which KenLM checks when it reads it, but {lm} is binary")
    try:
        NgramScorer(str(lm), ngram_words(target), options["ctc_lm_weight"])
    except ValueError as error:
        raise ValueError(f"--lm {lm}: {error}") from error


def _compress_language_model(lm: Path, output: Path) -> None:
    """Write an ARPA file, perhaps a compressed one, with gzip; the same text gives the same file."""
    with lm.open("rb") as file:
        begin = file.read(len(BINARY))
    opener = next((opener for magic, opener in COMPRESSED.items() if begin.startswith(magic)), None)
    with (
        lm.open("rb") if opener is None else opener(lm) as text,
        output.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
    ):
        shutil.copyfileobj(text, packed)
