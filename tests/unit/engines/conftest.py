"""A random model behind both engines."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from bnb_fairseq.engines.nar import NarEngine
from bnb_fairseq.engines.onnx import OnnxEngine
from bnb_fairseq.folder.vocabulary import PLAIN_SPECIALS, PlainVocabulary
from bnb_fairseq.graph.writing import write_graph
from bnb_fairseq.models.bnb_transformer import BnbTransformer


class Engines(NamedTuple):
    """The same model twice."""

    torch: NarEngine
    onnx: OnnxEngine
    graph: Path


@pytest.fixture(scope="session")
def engines_of(
    make_model: Callable[..., BnbTransformer],
    small_task: SimpleNamespace,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Engines]:
    """Build the engines of a model with the given options."""
    pytest.importorskip("onnxscript")

    def build(**options: object) -> Engines:
        model, path = make_model(**options), tmp_path_factory.mktemp("graph") / "model.float32.onnx"
        with torch.no_grad():
            model.decoder.embeddings.positions.weight.mul_(3)  # so that positions say different things
        dictionaries = small_task.source_dictionary, small_task.target_dictionary
        source, target = (PlainVocabulary(each.symbols, PLAIN_SPECIALS) for each in dictionaries)
        write_graph(path, model.options, source, target, model.state_dict(), model.max_positions()[0], "float32")
        return Engines(NarEngine(model, source, target), OnnxEngine(path, source, target, threads=1), path)

    return build


@pytest.fixture(scope="session")
def ctc(engines_of: Callable[..., Engines]) -> Engines:
    return engines_of(length_control="ctc", canvas_tokens=True)


@pytest.fixture(scope="session")
def classified(engines_of: Callable[..., Engines]) -> Engines:
    return engines_of(length_control="length", length_range=9)
