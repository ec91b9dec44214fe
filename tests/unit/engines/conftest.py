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

    def build(kind: str = "float32", shortlist: bool = False, **options: object) -> Engines:
        model, folder = make_model(**options), tmp_path_factory.mktemp("graph")
        with torch.no_grad():
            model.decoder.embeddings.positions.weight.mul_(3)  # so that positions say different things
            if model.options.canvas_tokens:
                _let_tokens_count(model)
        dictionaries = small_task.source_dictionary, small_task.target_dictionary
        source, target = (PlainVocabulary(each.symbols, PLAIN_SPECIALS) for each in dictionaries)
        longest = model.max_positions()[0]
        path = write_graph(folder, model.options, source, target, model.state_dict(), longest, kind, shortlist)
        return Engines(NarEngine(model, source, target), OnnxEngine(path, source, target, threads=1), path)

    return build


def _let_tokens_count(model: BnbTransformer) -> None:
    """Choose all symbols about equally often: a random model has a favourite, whatever it reads."""
    lengths = torch.tensor([9])
    gold = None if model.control.has_alignments else lengths
    logits = model(torch.tensor([[0, *range(5, 12), 2]]), lengths, target_lengths=gold).logits
    model.decoder.head.bias.sub_(logits.mean(dim=(0, 1)))


@pytest.fixture(scope="session")
def ctc(engines_of: Callable[..., Engines]) -> Engines:
    return engines_of(length_control="ctc")


@pytest.fixture(scope="session")
def classified(engines_of: Callable[..., Engines]) -> Engines:
    return engines_of(length_control="length", length_range=9)


@pytest.fixture(scope="session")
def refining_ctc(engines_of: Callable[..., Engines]) -> Engines:
    return engines_of(length_control="ctc", canvas_tokens=True)


@pytest.fixture(scope="session")
def refining_classified(engines_of: Callable[..., Engines]) -> Engines:
    return engines_of(length_control="length", length_range=9, canvas_tokens=True)
