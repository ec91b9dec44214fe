"""Graphs that are damaged, made for something else, or hostile: one error that names the file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnb_fairseq.engines.onnx import OnnxEngine
from bnb_fairseq.folder.search import PARALLEL_OPTIONS

from .conftest import Engines
from .test_onnx import sources

ENCODER, DECODER = "encoder.float32.onnx", "decoder.float32.onnx"
Change = Callable[[Any], None]


def fact(**values: int) -> Change:
    """Change what a graph says of itself."""

    def change(graph: Any) -> None:
        for one in graph.metadata_props:
            one.value = str(values.get(one.key.removeprefix("bnb_fairseq."), one.value))

    return change


def renamed(old: str, new: str) -> Change:
    """Rename an input or output."""

    def change(graph: Any) -> None:
        for each in (*graph.graph.input, *graph.graph.output):
            each.name = new if each.name == old else each.name
        for node in graph.graph.node:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    return change


def replaced(output: str, operator: str, *others: Any, **attributes: Any) -> Change:
    """Give in an output's place what an operator makes of it."""

    def change(graph: Any) -> None:
        onnx = pytest.importorskip("onnx")
        renamed(output, "before")(graph)
        (place,) = (each for each in graph.graph.output if each.name == "before")
        place.name = output
        place.type.tensor_type.ClearField("shape")
        names = [f"other{i}" for i in range(len(others))]
        graph.graph.initializer.extend(map(onnx.numpy_helper.from_array, map(np.array, others), names))
        graph.graph.node.append(onnx.helper.make_node(operator, ["before", *names], [output], **attributes))

    return change


def as_double(graph: Any) -> None:
    """Scores of another type."""
    replaced("scores", "Cast", to=11)(graph)
    next(each for each in graph.graph.output if each.name == "scores").type.tensor_type.elem_type = 11


def engine_of(engines: Engines, folder: Path, change: Change, name: str) -> OnnxEngine:
    """The engine of the graphs with a change of one of them."""
    onnx = pytest.importorskip("onnx")
    for path in engines.graph.parent.glob("*.onnx"):
        graph = onnx.load(path)
        if path.name == name:
            change(graph)
        onnx.save(graph, folder / path.name)
    return OnnxEngine(folder / engines.graph.name, engines.onnx.source, engines.onnx.target, threads=1)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            DECODER,
            fact(symbols=10**13),
            "must be made for a target vocabulary of 17 symbols, but scores 10,000,000,000",
        ),
        (
            DECODER,
            fact(symbols=-3),
            "must be made for a target vocabulary of 17 symbols, but scores -3, with symbol 17",
        ),
        (DECODER, fact(blank=99), "must be made for a target vocabulary of 17 symbols, but scores 18, with symbol 99"),
        (DECODER, fact(blank=-1), "must be made for a target vocabulary of 17 symbols, but scores 18, with symbol -1"),
        (DECODER, renamed("scores", "others"), "must have outputs symbols, scores, .*, but has no scores (float)"),
        (DECODER, renamed("canvas_tokens", "ids"), "must have inputs .*, but has no canvas_tokens (int64)"),
        (DECODER, as_double, "must have outputs symbols, .*, but has no scores (float)"),
        (ENCODER, renamed("padding", "mask"), "must have outputs states, .*, but has no padding (bool)"),
        (ENCODER, renamed("lengths", "sizes"), "must have outputs states, .*, but has no lengths (int64)"),
    ],
)
def test_refused(name: str, change: Change, said: str, refining_ctc: Engines, tmp_path: Path) -> None:
    message = re.escape(f"{tmp_path / name}: {said}").replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=f"^{message}"):
        engine_of(refining_ctc, tmp_path, change, name)


@pytest.mark.parametrize("location", ["../secret", "beside", "/dev/zero", "no such file"])
def test_numbers_in_another_file(location: str, refining_ctc: Engines, tmp_path: Path) -> None:
    (tmp_path.parent / "secret").write_bytes(bytes(1 << 16))
    (tmp_path / "beside").write_bytes(bytes(1 << 16))

    def change(graph: Any) -> None:
        tensor = next(each for each in graph.graph.initializer if len(each.raw_data) > 16)
        tensor.ClearField("raw_data")
        tensor.data_location = 1  # external
        name = tensor.external_data.add()
        name.key, name.value = "location", location

    onnx = pytest.importorskip("onnx")
    for path in refining_ctc.graph.parent.glob("*.onnx"):
        graph = onnx.load(path)
        change(graph)
        (tmp_path / path.name).write_bytes(graph.SerializeToString())
    message = "cannot be read (it must hold all of its numbers, but names another file)"
    with pytest.raises(ValueError, match=re.escape(f"{ENCODER}: {message}")):
        OnnxEngine(tmp_path / ENCODER, refining_ctc.onnx.source, refining_ctc.onnx.target, threads=1)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (ENCODER, replaced("states", "Tile", [1, 1, 2]), "cannot be run ("),
        (ENCODER, replaced("lengths", "Mul", 2), "must give symbols and scores of a canvas"),
        (ENCODER, replaced("lengths", "Mul", 0), "must give symbols and scores of a canvas"),
        (DECODER, replaced("symbols", "Add", 18), "must give symbols and scores of a canvas"),
        (DECODER, replaced("symbols", "Neg"), "must give symbols and scores of a canvas"),
        (DECODER, replaced("symbols", "Tile", [1, 1, 2]), "must give symbols and scores of a canvas"),
        (DECODER, replaced("scores", "Sqrt"), "must give symbols and scores of a canvas"),  # NaN
        (DECODER, replaced("scores", "Unsqueeze", [0]), "must give symbols and scores of a canvas"),
        (DECODER, replaced("blank_scores", "Tile", [2, 1]), "must give symbols and scores of a canvas"),
    ],
)
def test_what_shows_in_use(name: str, change: Change, said: str, refining_ctc: Engines, tmp_path: Path) -> None:
    engine = engine_of(refining_ctc, tmp_path, change, name)
    for search in ({}, {"iter_decode_max_iter": 2}, {"ctc_beam": 4}):
        with pytest.raises(OSError, match="^" + re.escape(f"{tmp_path / DECODER}: {said}")) as refusal:
            engine.hypotheses(sources(), 1, {**PARALLEL_OPTIONS, **search})
        assert "\n" not in str(refusal.value)


def test_sources_longer_than_the_graph_reads(ctc: Engines, tmp_path: Path) -> None:
    engine = engine_of(ctc, tmp_path, fact(longest=10**9), ctc.graph.name)
    with pytest.raises(OSError, match="^" + re.escape(f"{tmp_path / ctc.graph.name}: cannot be run (")):
        engine.hypotheses([[0] + [5] * 4000], 1, PARALLEL_OPTIONS)
