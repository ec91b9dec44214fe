"""The glossary in the search against every alignment of a small canvas, and against the slow search."""

import math
import random
from functools import cache

import numpy as np
import pytest

from bnb_fairseq.generation.ctc_beam import Array, CanvasSymbols, ctc_beam_search
from bnb_fairseq.generation.glossary import Glossary
from bnb_fairseq.generation.glossary_scorer import NO_SYMBOL, Combined, GlossaryScorer
from bnb_fairseq.generation.scorer import TokenBonus

from .glossary_texts import SPELLINGS, bonus_of, make_glossary
from .slow_ctc import PAD, Text, assert_same, best_of, every_text, listed, random_log_probs, sentence_of, slow_search
from .test_ctc_beam import TableScorer

TERMS = {"one": "ab", "two": "ab*", "three": "a b", "four": "b*", "five": "aba", "six": "(ab"}
SOURCES = ["one three", "two two four", "nothing", "five one one six", "three* four"]
BONUS = 1.5
SYMBOLS = len(SPELLINGS)


@pytest.fixture
def glossary() -> Glossary:
    return make_glossary(TERMS)


def scorer_of(glossary: Glossary, *sources: str) -> GlossaryScorer:
    return GlossaryScorer(glossary, [glossary.find(source) for source in sources], BONUS)


def added_by(scorer: GlossaryScorer, row: int, tokens: Text) -> list[float]:
    """What a text has behind each of its tokens, and at its end."""
    rows = len(scorer.symbols)
    states, total = np.full((rows, 1), scorer.start()), 0.0
    totals = []
    for token in tokens:
        ids = np.full((rows, 1), token)
        gains, behind = scorer.extend(states, ids, np.ones((rows, 1, 1), np.bool_))
        total += float(gains[row, 0, 0])
        totals.append(total)
        states = behind[:, :, 0]
    return [*totals, total + float(scorer.finish(states)[row, 0])]


@pytest.mark.parametrize("row", range(len(SOURCES)))
def test_bonus_of_finished_texts(glossary: Glossary, row: int) -> None:
    scorer, drawn = scorer_of(glossary, *SOURCES), random.Random(row)
    asked, got_some = glossary.find(SOURCES[row]), 0
    for _ in range(200):
        tokens = tuple(drawn.randrange(SYMBOLS) for _ in range(drawn.randint(0, 8)))
        expected = bonus_of(glossary, asked, BONUS, tokens)
        got_some += expected > 0
        assert added_by(scorer, row, tokens)[-1] == pytest.approx(expected, abs=1e-5)
    assert got_some > 10 or not asked


def test_shares_worked_out_by_hand() -> None:
    """Half of the term has half of its bonus; what follows decides whether it stays."""
    ids = {spelling: i for i, spelling in enumerate(SPELLINGS)}
    glossary = make_glossary({"x": "aba-b"})  # four symbols: " ab", "a", "-", "b"
    scorer = GlossaryScorer(glossary, [glossary.find("x")], 1.0)
    text = tuple(ids[spelling] for spelling in (" a", "b", "a", "-", "b"))
    assert added_by(scorer, 0, text) == pytest.approx([0.8, 1.6, 2.4, 3.2, 4.0, 4.0])
    assert added_by(scorer, 0, (ids[" ab"], ids[" b"])) == pytest.approx([1.6, 0.0, 0.0])
    assert added_by(scorer, 0, (*text, ids["a"])) == pytest.approx([0.8, 1.6, 2.4, 3.2, 4.0, 0.0, 0.0])
    again = added_by(scorer, 0, (*text, *text))
    assert again[5:] == pytest.approx([4.0] * 6)  # it is not hoped for a second time


def test_bonus_is_given_once_for_each_occurrence() -> None:
    glossary = make_glossary({"x": "b*"})
    scorer = GlossaryScorer(glossary, [{0: 2}], 1.0)
    assert added_by(scorer, 0, (SPELLINGS.index(" b"),) * 4) == pytest.approx([1.0, 2.0, 2.0, 2.0, 2.0])


@pytest.mark.parametrize("source", SOURCES)
def test_search_over_every_alignment(source: str) -> None:
    """A wide beam finds every text of a canvas with its probability and its bonus."""
    glossary = make_glossary(TERMS)
    kept = [SPELLINGS.index(s) for s in ("", " ab", " a", "b", "a")]  # the first stands for the blank
    log_probs = np.full((1, 5, SYMBOLS), -np.inf)
    log_probs[:, :, kept] = random_log_probs(1, 5, len(kept), seed=len(source))
    scorer = scorer_of(glossary, source)
    found = listed(ctc_beam_search(best_of(log_probs, 0, 4), np.array([5]), 1500, PAD, scorer), 0)
    asked = glossary.find(source)
    texts = {tuple(kept[i] for i in text): score for text, score in every_text(log_probs[0][:, kept], blank=0).items()}
    assert set(found) == set(texts)
    for text, score in texts.items():
        expected = score + bonus_of(glossary, asked, BONUS, text)
        assert found[text] == pytest.approx((score, expected), abs=1e-5)
    assert max(found, key=lambda text: found[text][1]) == next(iter(found))


def batch() -> tuple[CanvasSymbols, Array]:
    log_probs = random_log_probs(len(SOURCES), 12, SYMBOLS, seed=4, spread=1.5)
    return best_of(log_probs, 0, 6), np.array([12, 7, 9, 12, 4])


def test_batch_mates_do_not_matter(glossary: Glossary) -> None:
    symbols, lengths = batch()
    together = ctc_beam_search(symbols, lengths, 5, PAD, scorer_of(glossary, *SOURCES))
    for i, length in enumerate(lengths.tolist()):
        alone = CanvasSymbols(*(part[i : i + 1, :length] for part in symbols))
        one = ctc_beam_search(alone, lengths[i : i + 1], 5, PAD, scorer_of(glossary, SOURCES[i]))
        assert listed(one, 0) == listed(together, i)


def test_narrow_beam_against_slow_search(glossary: Glossary) -> None:
    symbols, lengths = batch()
    scorer = scorer_of(glossary, *SOURCES)
    found = ctc_beam_search(symbols, lengths, 4, PAD, scorer)
    for i, length in enumerate(lengths.tolist()):

        @cache
        def totals(text: Text, i: int = i) -> list[float]:
            return [0.0, *added_by(scorer, i, text)]

        def gain(text: Text, token: int) -> float:
            behind = totals(text)[-1] if token < 0 else totals((*text, token))[-2]
            return behind - totals(text)[-2]

        expected = slow_search(sentence_of(symbols, i), length, 4, gain)
        assert_same(listed(found, i), expected, 1e-5)


def test_no_terms_in_the_source_change_nothing(glossary: Glossary) -> None:
    symbols, lengths = batch()
    plain = ctc_beam_search(symbols, lengths, 5, PAD)
    found = ctc_beam_search(symbols, lengths, 5, PAD, scorer_of(glossary, *["nothing"] * len(SOURCES)))
    assert all(np.array_equal(*pair) for pair in zip(found, plain, strict=True))
    mixed = ctc_beam_search(symbols, lengths, 5, PAD, scorer_of(glossary, *SOURCES))
    assert listed(mixed, 2) == listed(plain, 2)
    assert listed(mixed, 0) != listed(plain, 0)


def test_a_term_wins_where_it_is_nearly_as_probable() -> None:
    """Without the glossary " b" is better; with it " ab", by one symbol's bonus."""
    glossary = make_glossary({"x": "ab"})
    ids = [SPELLINGS.index(" b"), SPELLINGS.index(" ab")]
    symbols = CanvasSymbols(np.log([[[0.6, 0.3]]]), np.array([[ids]]), np.log([[0.1]]))
    found = ctc_beam_search(symbols, np.array([1]), 3, PAD, GlossaryScorer(glossary, [glossary.find("x")], 1.0))
    assert found.tokens[0].tolist() == [[ids[1]], [ids[0]], [PAD]]
    assert found.scores[0, 0].item() == pytest.approx(math.log(0.3) + 1, abs=1e-6)


def test_combined_adds_up(glossary: Glossary) -> None:
    symbols, lengths = batch()
    table, scorer = TableScorer(SYMBOLS, seed=2), scorer_of(glossary, *SOURCES)
    found = ctc_beam_search(symbols, lengths, 400, PAD, Combined(table, scorer, scorer.states))
    for i in range(len(SOURCES)):
        for text, (ctc_score, score) in list(listed(found, i).items())[:50]:
            by_table = sum(table.gain(text[:j], token) for j, token in enumerate(text)) + table.gain(text, -1)
            expected = ctc_score + by_table + bonus_of(glossary, glossary.find(SOURCES[i]), BONUS, text)
            assert score == pytest.approx(expected, abs=1e-4)


def test_combined_with_a_token_bonus(glossary: Glossary) -> None:
    symbols, lengths = batch()
    scorer = scorer_of(glossary, *SOURCES)
    alone = ctc_beam_search(symbols, lengths, 300, PAD, scorer)
    found = ctc_beam_search(symbols, lengths, 300, PAD, Combined(TokenBonus(0.25), scorer, scorer.states))
    with_both, with_one = listed(found, 0), listed(alone, 0)
    texts = set(with_both) & set(with_one)
    assert len(texts) > 100
    for text in texts:
        (ctc_score, score), (ctc_score_alone, score_alone) = with_both[text], with_one[text]
        assert score - ctc_score == pytest.approx(score_alone - ctc_score_alone + 0.25 * len(text), abs=1e-5)


def test_states_are_below_the_number_given(glossary: Glossary) -> None:
    scorer = scorer_of(glossary, *SOURCES)
    reached: set[int] = set()
    states = {scorer.start()}
    while states - reached:
        reached |= states
        column = np.tile(sorted(reached), (len(SOURCES), 1))
        known = column < scorer.states
        assert known.all()
        tokens = np.tile(np.arange(SYMBOLS), (len(SOURCES), 1))
        # A state of one sentence may be none of another; each goes on with its own.
        row = SOURCES.index("five one one six")
        wanted = np.zeros((len(SOURCES), column.shape[1], SYMBOLS), np.bool_)
        wanted[row] = True
        states = set(scorer.extend(column, tokens, wanted)[1][row].ravel().tolist())
    assert len(reached) > 20


def test_symbols_to_read(glossary: Glossary) -> None:
    scorer = scorer_of(glossary, "four", "nothing")
    four = glossary.targets[next(iter(glossary.find("four")))]
    assert scorer.symbols[0].tolist() == sorted(four.asked)
    assert (scorer.symbols[1] == NO_SYMBOL).all()


def test_a_sentence_with_more_terms_than_a_state_can_count(caplog: pytest.LogCaptureFixture) -> None:
    terms = {f"w{i}": "a" * (i + 1) for i in range(30)}
    glossary = make_glossary(terms)
    scorer = GlossaryScorer(glossary, [glossary.find(" ".join(terms))], 1.0)
    assert "asks for 30 glossary terms, and only the first 24 count" in caplog.text
    assert scorer.states < 1 << 40
    assert added_by(scorer, 0, (SPELLINGS.index(" a"), SPELLINGS.index(" b"))) == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("bonus", [-1.0, float("nan"), float("inf")])
def test_bonus_must_be_a_number(glossary: Glossary, bonus: float) -> None:
    with pytest.raises(ValueError, match=f"^--glossary-bonus must be a finite number from 0, but is {bonus}$"):
        GlossaryScorer(glossary, [{}], bonus)


def test_no_sentences(glossary: Glossary) -> None:
    symbols = best_of(random_log_probs(0, 5, 4), 0, 2)
    scorer = GlossaryScorer(glossary, [], BONUS)
    assert ctc_beam_search(symbols, np.zeros(0, np.int64), 3, PAD, scorer).tokens.shape == (0, 3, 0)
