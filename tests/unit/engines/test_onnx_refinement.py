"""Refinement in ONNX Runtime against torch's: the same texts, scores and canvases after each pass."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bnb_fairseq.engines import graphs, onnx
from bnb_fairseq.engines.batches import translate_ids
from bnb_fairseq.folder.search import PARALLEL_OPTIONS
from bnb_fairseq.folder.shortlist import Shortlist

from .conftest import Engines
from .test_onnx import assert_same, sources

KINDS = ("refining_ctc", "refining_classified")
LENGTHS = [len(source) for source in sources()]


def search(passes: int, force: bool = False, **more: Any) -> dict[str, Any]:
    given = {"iter_decode_max_iter": passes, "iter_decode_force_max_iter": force}
    return {**PARALLEL_OPTIONS, **given, **more}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("force", [False, True])
def test_texts_as_torch(kind: str, force: bool, request: pytest.FixtureRequest) -> None:
    engines: Engines = request.getfixturevalue(kind)
    texts = []
    for passes in range(5):
        expected = engines.torch.hypotheses(sources(), 1, search(passes, force))
        assert_same(engines.onnx.hypotheses(sources(), 1, search(passes, force)), expected)
        texts.append([one.tokens for (one,) in expected])
    assert any(before != after for before, after in pairwise(texts)), "else this test shows nothing of the passes"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("force", [False, True])
def test_canvases_as_torch(kind: str, force: bool, request: pytest.FixtureRequest) -> None:
    engines: Engines = request.getfixturevalue(kind)
    expected = engines.torch.canvases(sources(), search(4, force))
    found = engines.onnx.canvases(sources(), search(4, force))
    assert found is not None and expected is not None
    for passes, others in zip(found, expected, strict=True):
        for one, other in zip(passes, others, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=1e-4)
            assert one._replace(scores=[]) == other._replace(scores=[])
    counts = {len(passes) for passes in found}
    assert counts == {5} if force else 1 < min(counts) < 5
    assert any(any(one.again) for passes in found for one in passes[1:])


@pytest.mark.parametrize("penalty", [0.8, -0.5])
def test_a_blank_penalty_as_torch(penalty: float, refining_ctc: Engines) -> None:
    options = search(3, True, ctc_blank_penalty=penalty)
    expected = refining_ctc.torch.hypotheses(sources(), 1, options)
    assert expected != refining_ctc.torch.hypotheses(sources(), 1, search(3, True))
    assert_same(refining_ctc.onnx.hypotheses(sources(), 1, options), expected)


@pytest.mark.parametrize(("nbest", "more"), [(1, {"ctc_beam": 6, "ctc_token_bonus": 1.5}), (4, {})])
def test_the_search_of_one_pass_as_torch(nbest: int, more: dict[str, Any], refining_ctc: Engines) -> None:
    expected = refining_ctc.torch.hypotheses(sources(), nbest, search(0, **more))
    assert_same(refining_ctc.onnx.hypotheses(sources(), nbest, search(0, **more)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_the_graphs_are_joined(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: Engines = request.getfixturevalue(kind)
    expected, canvases = engines.onnx.hypotheses(sources(), 1, search(3)), engines.onnx.canvases(sources(), search(3))
    monkeypatch.setattr(graphs, "GRAPH_TOKENS", 24)
    assert len(graphs.in_cache(np.array(LENGTHS))) > 3
    assert_same(engines.onnx.hypotheses(sources(), 1, search(3)), expected)
    found = engines.onnx.canvases(sources(), search(3))
    assert found is not None and canvases is not None
    assert [[one.tokens for one in passes] for passes in found] == [
        [one.tokens for one in passes] for passes in canvases
    ]


def test_batches_side_by_side(refining_ctc: Engines) -> None:
    one, several = (
        onnx.OnnxEngine(refining_ctc.graph, refining_ctc.onnx.source, refining_ctc.onnx.target, threads)
        for threads in (1, 3)
    )
    texts = [ids for ids in sources() for _ in range(3)]
    assert translate_ids(several, texts, search(2), most_texts=2) == translate_ids(one, texts, search(2), most_texts=2)


@pytest.mark.parametrize("options", [{"length_control": "ctc"}, {"length_control": "length", "length_range": 9}])
def test_int8_of_a_sentence_does_not_depend_on_the_others(
    options: dict[str, Any], engines_of: Callable[..., Engines]
) -> None:
    engine = engines_of("int8", canvas_tokens=True, **options).onnx
    together = engine.hypotheses(sources(), 1, search(3, True))
    alone = [engine.hypotheses([one], 1, search(3, True))[0] for one in sources()]
    assert_same(together, alone)
    assert together != engine.hypotheses(sources(), 1, search(0))


def test_all_symbols_in_the_shortlist(engines_of: Callable[..., Engines], refining_ctc: Engines) -> None:
    """Its graph looks up what the decoder reads in rows of the table, not in columns of the output layer."""
    engine = engines_of(shortlist=True, length_control="ctc", canvas_tokens=True).onnx
    expected = refining_ctc.torch.hypotheses(sources(), 1, search(2, True))
    assert_same(engine.hypotheses(sources(), 1, search(2, True)), expected)
    total = engine._facts.symbols
    engine._shortlist = Shortlist(np.zeros(total, np.int64), np.zeros(0, np.int64), np.array([4, 5, 6]))
    few = engine.hypotheses(sources(), 1, search(2, True))
    assert {token for (one,) in few for token in one.tokens} <= {0, 1, 2, 4, 5, 6}


def test_options_that_do_not_fit(refining_ctc: Engines) -> None:
    for nbest, options, message in (
        (2, search(1), "--nbest must be at most --ctc-beam, 0, but is 2"),
        (1, search(1, ctc_beam=4), "--iter-decode-max-iter must be 0 beside --ctc-beam, which searches one pass, .*1"),
        (1, search(1, iter_decode_with_beam=3), "--iter-decode-with-beam must be 1 for the ONNX graph, but is 3"),
        (1, search(-1), "--iter-decode-max-iter must not be negative, but is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            refining_ctc.onnx.check(nbest, options)


def test_an_encoder_without_its_decoder(refining_ctc: Engines, tmp_path: Any) -> None:
    path = tmp_path / refining_ctc.graph.name
    path.write_bytes(refining_ctc.graph.read_bytes())
    with pytest.raises(ValueError, match=rf"^{tmp_path}/decoder.float32.onnx: cannot be read"):
        onnx.OnnxEngine(path, refining_ctc.onnx.source, refining_ctc.onnx.target)
