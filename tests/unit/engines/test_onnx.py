"""The engine of ONNX Runtime and numpy against torch's: the same texts, the same scores."""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnb_fairseq.engines import graphs, onnx
from bnb_fairseq.engines.batches import translate_ids
from bnb_fairseq.engines.interface import AskedTerms, Hypothesis
from bnb_fairseq.folder.search import PARALLEL_OPTIONS
from bnb_fairseq.generation.ctc_beam import Array, CanvasSymbols
from bnb_fairseq.generation.glossary import Glossary, SpeltVocabulary

from .conftest import Engines


def sources() -> list[list[int]]:
    numbers = random.Random(1)
    return [[0, *(numbers.randrange(4, 14) for _ in range(length)), 2] for length in (5, 1, 9, 3, 13, 7, 2)]


def assert_same(found: Sequence[Sequence[Hypothesis]], expected: Sequence[Sequence[Hypothesis]]) -> None:
    assert [[one.tokens for one in of_source] for of_source in found] == [
        [one.tokens for one in of_source] for of_source in expected
    ]
    for of_source, wanted in zip(found, expected, strict=True):
        for one, other in zip(of_source, wanted, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.scores == pytest.approx(other.scores, abs=1e-4)
            assert all(type(token) is int for token in one.tokens)
            assert all(type(score) is float for score in (*one.scores, one.score))


@pytest.mark.parametrize(
    ("nbest", "search"),
    [
        (1, {}),
        (4, {}),
        (1, {"ctc_beam": 6}),
        (3, {"ctc_beam": 6, "ctc_token_bonus": 1.5, "ctc_beam_symbols": 3}),
        (2, {"ctc_beam": 30, "ctc_beam_symbols": 99}),
        (1, {"ctc_blank_penalty": 0.8}),
        (1, {"ctc_blank_penalty": -0.5}),
        (3, {"ctc_beam": 6, "ctc_blank_penalty": 0.8, "ctc_token_bonus": -0.5}),
    ],
)
def test_ctc_as_torch(nbest: int, search: dict[str, Any], ctc: Engines) -> None:
    options = {**PARALLEL_OPTIONS, **search}
    expected = ctc.torch.hypotheses(sources(), nbest, options)
    assert len({tuple(one[0].tokens) for one in expected}) > 4
    assert_same(ctc.onnx.hypotheses(sources(), nbest, options), expected)
    assert_same([ctc.onnx.hypotheses([one], nbest, options)[0] for one in sources()], expected)


@pytest.mark.parametrize("search", [{}, {"ctc_beam": 6, "ctc_token_bonus": 1.5}, {"ctc_blank_penalty": 0.8}])
def test_runs_of_the_graph_are_joined(search: dict[str, Any], ctc: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**PARALLEL_OPTIONS, **search}
    expected = ctc.onnx.hypotheses(sources(), 1, options)
    monkeypatch.setattr(graphs, "GRAPH_TOKENS", 24)
    assert len(graphs.in_cache(np.array([len(one) for one in sources()]))) > 3
    assert_same(ctc.onnx.hypotheses(sources(), 1, options), expected)


@pytest.mark.parametrize("search", [{}, {"ctc_beam": 6, "ctc_token_bonus": 1.5}])
def test_batches_side_by_side(search: dict[str, Any], ctc: Engines) -> None:
    alone, several = (onnx.OnnxEngine(ctc.graph, ctc.onnx.source, ctc.onnx.target, threads) for threads in (1, 3))
    texts = [ids for ids in sources() for _ in range(3)]
    assert translate_ids(several, texts, search, most_texts=2) == translate_ids(alone, texts, search, most_texts=2)
    assert alone.side_by_side(search) == (alone, 1)
    single, at_once = several.side_by_side(search)
    assert single is several.side_by_side(search)[0] and at_once == (4 if search else 3)


def test_a_run_has_at_least_one_source_and_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "GRAPH_TOKENS", 10)
    parts = graphs.in_cache(np.array([3, 3, 3, 4, 5, 30, 2]))
    assert parts == [slice(0, 3), slice(3, 5), slice(5, 6), slice(6, 7)]


@pytest.mark.parametrize("penalty", [0.5, 3.0, 30.0, -3.0])
@pytest.mark.parametrize("blank", [0.0, 8.0, 25.0])
def test_a_blank_penalty_without_logits(blank: float, penalty: float) -> None:
    """Also where the blank is certain, so that 1 - P(blank) is 0 in float32."""
    logits = np.random.default_rng(1).normal(size=(2, 3, 7))
    logits[:, :, 6] += blank

    def log_probabilities(values: Array) -> Array:
        return values - np.logaddexp.reduce(values, axis=2, keepdims=True)

    before, lowered = log_probabilities(logits), logits - penalty * (np.arange(7) == 6)
    ids = np.argsort(-logits[:, :, :6], axis=2)[:, :, :4]
    best = CanvasSymbols(np.take_along_axis(before, ids, 2).astype(np.float32), ids, before[:, :, 6].astype(np.float32))
    found, after = onnx.with_blank_penalty(best, penalty), log_probabilities(lowered)
    # Beside a certain blank, the other probabilities are known as far as the best ones go: four of six.
    close = 1e-4 if blank < 25 else 0.5
    assert np.allclose(found.scores, np.take_along_axis(after, ids, 2), rtol=0, atol=close)
    assert np.allclose(found.blank_scores, after[:, :, 6], rtol=0, atol=close)
    assert found.scores.dtype == found.blank_scores.dtype == np.float32
    assert np.array_equal(found.tokens, ids)
    assert onnx.with_blank_penalty(best, 0.0) is best


def test_lengths_as_torch(classified: Engines) -> None:
    expected = classified.torch.hypotheses(sources(), 1, PARALLEL_OPTIONS)
    assert len({len(one[0].tokens) for one in expected}) > 2
    assert_same(classified.onnx.hypotheses(sources(), 1, PARALLEL_OPTIONS), expected)


@pytest.mark.parametrize(
    ("kind", "search"), [("ctc", {}), ("classified", {}), ("ctc", {**PARALLEL_OPTIONS, "ctc_blank_penalty": 1.0})]
)
def test_canvases_as_torch(kind: str, search: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """With the blank penalty, the canvas has the text that is written with it."""
    engines: Engines = request.getfixturevalue(kind)
    expected = engines.torch.canvases(sources(), search)
    found = engines.onnx.canvases(sources(), search)
    assert found is not None and expected is not None
    for (one,), (other,) in zip(found, expected, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
        assert one._replace(scores=[]) == other._replace(scores=[])
        assert all(
            type(value) in (int, bool, type(None)) for part in (one.tokens, one.again, one.kept) for value in part
        )
    assert any(not all(one.kept) for (one,) in found) == (kind == "ctc")
    if search:
        unseen = {*engines.onnx._silent, engines.onnx.target.eos()}
        for (one,), (text, *_) in zip(found, engines.onnx.hypotheses(sources(), 1, search), strict=True):
            kept = [token for token, keep in zip(one.tokens, one.kept, strict=True) if keep]
            assert [token for token in kept if token not in unseen] == [i for i in text.tokens if i not in unseen]
        assert found != engines.onnx.canvases(sources(), {})
    with pytest.raises(ValueError, match="iter-decode-max-iter must be 0 for an ONNX graph of one pass, but is 1"):
        engines.onnx.canvases(sources(), {"iter_decode_max_iter": 1})


def test_a_language_model_as_torch(ctc: Engines, tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    words = ctc.onnx.target.symbols[4:-1]
    rows = [f"{-0.1 - i / 5:.2f}\t{word}" for i, word in enumerate(words)]
    unigrams = "\n".join(["-9\t<unk>", "-99\t<s>\t0", "-1\t</s>", *rows])
    counts = f"ngram 1={len(rows) + 3}\nngram 2=1"
    path = tmp_path / "lm.arpa"
    text = f"\\data\\\n{counts}\n\n\\1-grams:\n{unigrams}\n\n\\2-grams:\n-2\t{words[0]} {words[1]}\n\n\\end\\\n"
    path.write_text(text, encoding="utf-8")
    options = {
        **PARALLEL_OPTIONS,
        "ctc_beam": 8,
        "ctc_token_bonus": 2.0,
        "ctc_lm_weight": 0.7,
        "ctc_lm_path": str(path),
    }
    expected = ctc.torch.hypotheses(sources(), 5, options)
    plain = ctc.torch.hypotheses(sources(), 5, {**PARALLEL_OPTIONS, "ctc_beam": 8})
    assert [one[0].tokens for one in plain] != [one[0].tokens for one in expected]
    assert_same(ctc.onnx.hypotheses(sources(), 5, options), expected)


@pytest.mark.parametrize(
    "search",
    [
        {"ctc_beam": 6, "ctc_beam_symbols": 2},
        {"ctc_beam": 5, "ctc_token_bonus": 1.5},
        {"ctc_beam": 6, "ctc_beam_symbols": 2, "ctc_blank_penalty": 0.8},
    ],
)
def test_a_glossary_as_torch(search: dict[str, Any], ctc: Engines) -> None:
    """Its symbols are read where they are not among the best ones, and decide some texts."""
    target = ctc.torch.target
    words = [symbol for symbol in target.symbols[4:] if symbol not in target.specials()]
    spelt = SpeltVocabulary(target.symbols, target.specials(), target.surface)
    glossary = Glossary({"one": words[0], "two": f"{words[3]} {words[5]}", "three": words[7]}, target.split, spelt)
    texts = ["one", "two one", "nothing", "three one two", "two", "three three", "one"]
    terms = AskedTerms(glossary, [glossary.find(text) for text in texts])
    options = {**PARALLEL_OPTIONS, **search}
    expected = ctc.torch.hypotheses(sources(), 3, options, terms)
    plain = ctc.torch.hypotheses(sources(), 3, options)
    changed = [one[0].tokens != other[0].tokens for one, other in zip(expected, plain, strict=True)]
    assert sum(changed) > 2 and not changed[2]
    assert_same(ctc.onnx.hypotheses(sources(), 3, options, terms), expected)


def test_where_a_glossary_has_no_search(ctc: Engines, classified: Engines) -> None:
    target = ctc.torch.target
    spelt = SpeltVocabulary(target.symbols, target.specials(), target.surface)
    terms = AskedTerms(Glossary({"one": target.symbols[5]}, target.split, spelt), [{0: 1}] * len(sources()))
    for engine in (classified.torch, classified.onnx):
        with pytest.raises(ValueError, match=r"^a glossary needs a model that was trained with --length-control ctc$"):
            engine.hypotheses(sources(), 1, PARALLEL_OPTIONS, terms)
    for engine in (ctc.torch, ctc.onnx):
        with pytest.raises(ValueError, match=r"^--glossary needs --ctc-beam, .*$"):
            engine.hypotheses(sources(), 1, PARALLEL_OPTIONS, terms)


def test_the_longest_source(ctc: Engines, classified: Engines) -> None:
    for engines in (ctc, classified):
        longest = engines.torch.longest
        assert engines.onnx.longest == longest
        source = [[0, *[5] * (longest - 2), 2]]
        expected = engines.torch.hypotheses(source, 1, PARALLEL_OPTIONS)
        assert_same(engines.onnx.hypotheses(source, 1, PARALLEL_OPTIONS), expected)


@pytest.mark.parametrize(
    ("nbest", "search", "message"),
    [
        (1, {"iter_decode_max_iter": 2}, "--iter-decode-max-iter must be 0 for an ONNX graph of one pass, but is 2"),
        (1, {"iter_decode_with_beam": 3}, "--iter-decode-with-beam must be 1 for the ONNX graph, but is 3"),
        (4, {"ctc_beam": 3}, "--nbest must be at most --ctc-beam, 3, but is 4"),
        (1, {"ctc_token_bonus": 1.0}, "--ctc-token-bonus must stand beside --ctc-beam"),
    ],
)
def test_options_that_do_not_fit(nbest: int, search: dict[str, Any], message: str, ctc: Engines) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ctc.onnx.hypotheses(sources(), nbest, {**PARALLEL_OPTIONS, **search})


def test_lengths_have_nothing_to_search(classified: Engines) -> None:
    with pytest.raises(ValueError, match="--ctc-beam must be 0 for a model trained with --length-control length"):
        classified.onnx.hypotheses(sources(), 1, {**PARALLEL_OPTIONS, "ctc_beam": 4})
    with pytest.raises(ValueError, match="--ctc-blank-penalty must be 0 for a model trained with --length-control"):
        classified.onnx.hypotheses(sources(), 1, {**PARALLEL_OPTIONS, "ctc_blank_penalty": 0.5})
    with pytest.raises(ValueError, match="--nbest must be at most --ctc-beam"):
        classified.onnx.hypotheses(sources(), 2, PARALLEL_OPTIONS)


def test_a_damaged_graph(tmp_path: Path, ctc: Engines) -> None:
    path = tmp_path / "model.int8.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: cannot be read"):
        onnx.OnnxEngine(path, ctc.onnx.source, ctc.onnx.target)
