"""The search against sums over every alignment, and against a search written with dictionaries and loops."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from bnb_fairseq.generation.ctc_beam import Array, CanvasSymbols, ctc_beam_search

from ...facts import names
from .slow_ctc import PAD, Text, assert_same, best_of, every_text, listed, random_log_probs, sentence_of, slow_search


class TableScorer:
    """A bigram table; the state is the last token, 0 at the beginning."""

    def __init__(self, symbols: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.table = 3 * generator.standard_normal((symbols + 1, symbols))
        self.ends = 3 * generator.standard_normal(symbols + 1)
        self.asked = 0
        self.most = math.inf

    def start(self) -> int:
        return 0

    def extend(self, states: Array, tokens: Array, wanted: Array) -> tuple[Array, Array]:
        self.asked += int(wanted.sum())
        gains = np.where(wanted, self.table[states[:, :, None], tokens[:, None, :]], 0)
        return gains, np.broadcast_to(tokens[:, None, :] + 1, gains.shape)

    def finish(self, states: Array) -> Array:
        return self.ends[states]

    def gain(self, text: Text, token: int) -> float:
        state = text[-1] + 1 if text else 0
        return float(self.ends[state] if token < 0 else self.table[state, token])


@pytest.mark.parametrize("blank", [0, 2, 3])
@pytest.mark.parametrize("canvas", [1, 2, 3, 5])
def test_wide_beam_finds_every_text_with_its_probability(canvas: int, blank: int) -> None:
    log_probs = random_log_probs(3, canvas, 4, seed=canvas)
    expected = [every_text(sentence, blank) for sentence in log_probs]
    found = ctc_beam_search(best_of(log_probs, blank, 3), np.full(3, canvas), 250, PAD)
    for i, texts in enumerate(expected):
        ranked = sorted(texts.items(), key=lambda item: -item[1])
        assert_same(listed(found, i), {text: (score, score) for text, score in ranked})
    assert found.counts.tolist() == [len(texts) for texts in expected]
    assert np.allclose(np.exp(found.ctc_scores).sum(axis=1), 1, rtol=0, atol=1e-12)


def test_probabilities_worked_out_by_hand() -> None:
    """Two positions, one token: p(a) is 0.6 in the first and 0.3 in the second, else blank."""
    symbols = CanvasSymbols(np.log([[[0.6], [0.3]]]), np.full((1, 2, 1), 7), np.log([[0.4, 0.7]]))
    found = ctc_beam_search(symbols, np.array([2]), 3, PAD)
    assert found.tokens[0].tolist() == [[7], [PAD], [PAD]]
    assert np.exp(found.ctc_scores[0, :2]).tolist() == pytest.approx([0.72, 0.28], abs=1e-6)
    assert found.counts.tolist() == [2]


def test_a_double_token_needs_a_blank_between() -> None:
    never = -np.inf
    certain = np.array([[[0.0], [never], [0.0]]])
    symbols = CanvasSymbols(certain, np.full((1, 3, 1), 5), np.array([[never, 0.0, never]]))
    assert listed(ctc_beam_search(symbols, np.array([3]), 4, PAD), 0) == {(5, 5): (0.0, 0.0)}
    symbols = symbols._replace(scores=np.zeros((1, 3, 1)), blank_scores=np.full((1, 3), never))
    assert listed(ctc_beam_search(symbols, np.array([3]), 4, PAD), 0) == {(5,): (0.0, 0.0)}


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("beam", [1, 2, 5, 12])
def test_narrow_beam_against_slow_search(beam: int, k: int) -> None:
    """Few symbols on a long canvas: texts leave the beam, come back and meet what they had grown into."""
    symbols = best_of(random_log_probs(8, 14, 7, seed=beam, spread=1.0), 4, k)
    lengths = np.array([14, 3, 9, 0, 14, 1, 12, 7])
    found = ctc_beam_search(symbols, lengths, beam, PAD)
    for i, length in enumerate(lengths.tolist()):
        sentence = sentence_of(symbols, i)
        assert_same(listed(found, i), slow_search(sentence, length, beam))


@pytest.mark.parametrize("beam", [1, 3, 8, 40])
def test_impossible_symbols(beam: int) -> None:
    """Texts become impossible, keep their place where nothing else needs it, and come back."""
    log_probs = random_log_probs(60, 7, 4, seed=beam)
    log_probs[np.random.default_rng(beam).random(log_probs.shape) < 0.4] = -np.inf
    symbols = best_of(log_probs, 0, 3)
    found = ctc_beam_search(symbols, np.full(60, 7), beam, PAD, scorer := TableScorer(4, seed=beam))
    for i in range(60):
        sentence = sentence_of(symbols, i)
        assert_same(listed(found, i), slow_search(sentence, 7, beam, scorer.gain))


@pytest.mark.parametrize("beam", [1, 3, 10])
def test_scorer_against_slow_search(beam: int) -> None:
    symbols = best_of(random_log_probs(6, 11, 6, seed=7 + beam, spread=1.5), 0, 4)
    lengths = np.array([11, 5, 0, 11, 8, 2])
    scorer = TableScorer(6, seed=beam)
    found = ctc_beam_search(symbols, lengths, beam, PAD, scorer)
    for i, length in enumerate(lengths.tolist()):
        sentence = sentence_of(symbols, i)
        assert_same(listed(found, i), slow_search(sentence, length, beam, scorer.gain))
    assert 0 < scorer.asked < 6 * 11 * beam * 4


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("beam", [1, 4, 9])
def test_a_bound_saves_questions_and_changes_nothing(beam: int, seed: int) -> None:
    """As when all is asked, where the bound is exact; impossible symbols and short sentences are among them."""
    log_probs = random_log_probs(7, 13, 9, seed=seed, spread=2.0)
    log_probs[np.random.default_rng(seed).random(log_probs.shape) < 0.2] = -np.inf
    symbols = best_of(log_probs, 0, 6)
    lengths = np.array([13, 5, 0, 13, 8, 2, 12])
    scorer = TableScorer(9, seed)
    scorer.table -= 2.0
    expected = ctc_beam_search(symbols, lengths, beam, PAD, scorer)
    without, scorer.asked = scorer.asked, 0
    scorer.most = float(scorer.table.max())
    found = ctc_beam_search(symbols, lengths, beam, PAD, scorer)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert 0 < scorer.asked < without


def test_scorer_decides_between_texts() -> None:
    """A scorer that loves one token brings it in where CTC alone would not."""
    log_probs = np.log([[[0.5, 0.3, 0.2]]])  # blank, 1, 2
    symbols = best_of(log_probs, 0, 2)
    scorer = TableScorer(3, seed=1)
    scorer.table[:] = scorer.ends[:] = 0
    scorer.table[0, 2] = 4.0
    found = listed(ctc_beam_search(symbols, np.array([1]), 3, PAD, scorer), 0)
    assert list(found) == [(2,), (), (1,)]
    assert found[(2,)] == pytest.approx((math.log(0.2), math.log(0.2) + 4), abs=1e-6)


def test_batch_mates_do_not_matter() -> None:
    symbols = best_of(random_log_probs(9, 20, 30, seed=3), 29, 5)
    symbols = CanvasSymbols(symbols.scores.astype(np.float32), symbols.tokens, symbols.blank_scores.astype(np.float32))
    lengths = np.array([20, 4, 17, 0, 11, 20, 1, 9, 13])
    scorer = TableScorer(30, seed=3)
    together = ctc_beam_search(symbols, lengths, 6, PAD, scorer)
    for i, length in enumerate(lengths.tolist()):
        alone = CanvasSymbols(*(part[i : i + 1, : max(length, 1)] for part in symbols))
        one = listed(ctc_beam_search(alone, lengths[i : i + 1], 6, PAD, scorer), 0)
        assert one == listed(together, i)


def test_what_lies_beyond_the_canvas_is_not_read() -> None:
    symbols = best_of(random_log_probs(2, 6, 5), 0, 3)
    lengths = np.array([4, 6])
    expected = ctc_beam_search(symbols, lengths, 4, PAD)
    for part in (symbols.scores, symbols.blank_scores):
        part[0, 4:] = np.nan
    found = ctc_beam_search(symbols, lengths, 4, PAD)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("canvas", [0, 3])
def test_no_canvas_is_the_empty_text(canvas: int) -> None:
    symbols = best_of(random_log_probs(2, canvas, 4), 0, 2)
    found = ctc_beam_search(symbols, np.zeros(2, np.int64), 3, PAD)
    assert found.tokens.shape == (2, 3, 0)
    assert listed(found, 0) == listed(found, 1) == {(): (0.0, 0.0)}
    assert found.means[:, 0].tolist() == [0.0, 0.0]


def test_no_sentences() -> None:
    symbols = best_of(random_log_probs(0, 5, 4), 0, 2)
    assert ctc_beam_search(symbols, np.zeros(0, np.int64), 3, PAD).tokens.shape == (0, 3, 0)


def test_float32_is_close_on_a_long_canvas() -> None:
    log_probs = random_log_probs(4, 120, 50, seed=5, spread=4.0)
    lengths = np.full(4, 120)
    exact = ctc_beam_search(best_of(log_probs, 0, 8), lengths, 5, PAD)
    found = ctc_beam_search(best_of(log_probs.astype(np.float32), 0, 8), lengths, 5, PAD)
    assert found.scores.dtype == np.float32
    assert np.array_equal(found.tokens[:, 0], exact.tokens[:, 0])
    assert np.allclose(found.scores[:, 0], exact.scores[:, 0], rtol=1e-6, atol=0)


def test_means_divide_by_the_number_of_tokens() -> None:
    found = ctc_beam_search(best_of(random_log_probs(1, 4, 4), 0, 3), np.array([4]), 5, PAD)
    expected: Sequence[float] = [
        score / max(1, length)
        for score, length in zip(found.scores[0].tolist(), found.lengths[0].tolist(), strict=True)
    ]
    assert found.means[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("beam", [0, -3])
def test_beam_must_be_positive(beam: int) -> None:
    symbols = best_of(random_log_probs(1, 2, 3), 0, 2)
    with pytest.raises(ValueError, match=names("--ctc-beam", "1", beam)):
        ctc_beam_search(symbols, np.array([2]), beam, PAD)
