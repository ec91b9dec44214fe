"""Graphs of small random models."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bnb_fairseq.graph.writing import write_graph
from bnb_fairseq.models.bnb_transformer import BnbTransformer

Write = Callable[..., tuple[BnbTransformer, Path]]


@pytest.fixture
def graph_of(make_model: Callable[..., BnbTransformer], small_task: SimpleNamespace, tmp_path: Path) -> Write:
    """Write the graph of a model with the given options; returns both. Of two graphs the path is the encoder's."""
    pytest.importorskip("onnxscript")

    def write(kind: str, shortlist: bool = False, **options: object) -> tuple[BnbTransformer, Path]:
        model = make_model(**options)
        dictionaries = small_task.source_dictionary, small_task.target_dictionary
        longest = model.max_positions()[0]
        path = write_graph(tmp_path, model.options, *dictionaries, model.state_dict(), longest, kind, shortlist)
        return model, path

    return write
