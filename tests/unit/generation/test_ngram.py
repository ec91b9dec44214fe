"""The scorer against an ARPA file read by its definition."""

import gzip
import math
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.generation import ngram
from bnb_fairseq.generation.ctc_beam import Array, CanvasSymbols, ctc_beam_search
from bnb_fairseq.generation.ngram import NgramScorer, ngram_words

from ...facts import names
from .slow_ctc import PAD, Text, assert_same, best_of, listed, random_log_probs, sentence_of, slow_search
from .slow_ngram import SlowNgrams

WORDS = ["<unk>", "▁a", "b", "▁ça", "d", "▁a"]  # 4 is no word of the model; 5 is spelt like 1
ARPA = """\\data\\
ngram 1=6
ngram 2=5
ngram 3=3

\\1-grams:
-99\t<s>\t-0.5
-0.9\t</s>
-1.7\t<unk>\t-0.1
-0.4\t▁a\t-0.3
-0.8\tb\t-0.6
-1.1\t▁ça\t-0.2

\\2-grams:
-0.2\t<s> ▁a\t-0.25
-0.7\t▁a b\t-0.15
-0.3\tb ▁ça\t-0.05
-0.6\tb </s>
-0.35\t▁a ▁a\t-0.45

\\3-grams:
-0.1\t<s> ▁a b
-0.22\t▁a b ▁ça
-0.5\t▁a b </s>

\\end\\
"""


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "model.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


def gain_of(path: Path, weight: float, bonus: float, end: bool = True) -> Callable[[Text, int], float]:
    slow = SlowNgrams(path)

    def gain(text: Text, token: int) -> float:
        context = ["<s>", *(WORDS[i] for i in text)]
        if token < 0:
            return weight * math.log(10) * slow.score(context, "</s>") if end else 0.0
        return weight * math.log(10) * slow.score(context, WORDS[token]) + bonus

    return gain


@pytest.mark.parametrize(("weight", "bonus", "end"), [(1.0, 0.0, True), (0.3, 0.7, True), (0.5, -0.2, False)])
def test_scores_of_texts(arpa: Path, weight: float, bonus: float, end: bool) -> None:
    pytest.importorskip("kenlm")
    scorer = NgramScorer(str(arpa), WORDS, weight, bonus, end)
    gain = gain_of(arpa, weight, bonus, end)
    texts = np.random.default_rng(1).integers(0, len(WORDS), (40, 9))
    states = np.full((40, 1), scorer.start())
    for i in range(9):
        scores, behind = scorer.extend(states, np.tile(np.arange(6), (40, 1)), np.ones((40, 1, 6), bool))
        for row, found in zip(texts[:, :i].tolist(), scores[:, 0].tolist(), strict=True):
            assert found == pytest.approx([gain(tuple(row), token) for token in range(6)], abs=1e-5)
        states = np.take_along_axis(behind[:, 0], texts[:, i : i + 1], axis=1)
        ends = [gain(tuple(row), -1) for row in texts[:, : i + 1].tolist()]
        assert scorer.finish(states)[:, 0].tolist() == pytest.approx(ends, abs=1e-5)


def test_scores_worked_out_by_hand(arpa: Path) -> None:
    """P(▁a | <s>) is in the file; so is b behind it; d is unknown, and neither of its contexts has it."""
    pytest.importorskip("kenlm")
    scorer = NgramScorer(str(arpa), WORDS, 2.0, 10.0)
    state, logs = np.array([[scorer.start()]]), []
    for token in (1, 2, 4):
        scores, behind = scorer.extend(state, np.array([[token]]), np.ones((1, 1, 1), bool))
        logs.append((float(scores[0, 0, 0]) - 10) / 2 / math.log(10))
        state = behind[:, :, 0]
    assert logs == pytest.approx([-0.2, -0.1, -0.15 - 0.6 - 1.7], abs=1e-6)
    assert float(scorer.finish(state)[0, 0]) == pytest.approx(2 * math.log(10) * (-0.1 - 0.9), abs=1e-5)


def test_what_is_not_wanted_is_not_asked(arpa: Path) -> None:
    pytest.importorskip("kenlm")
    scorer = NgramScorer(str(arpa), WORDS, 1.0)
    asked = count_questions(scorer)
    wanted = np.array([[[True, False, False], [False, False, False]]])
    scores, states = scorer.extend(np.full((1, 2), scorer.start()), np.array([[1, 2, 3]]), wanted)
    assert asked == ["▁a"]
    assert scores[~wanted].tolist() == [0.0] * 5
    assert states[~wanted].tolist() == [0] * 5
    nothing = scorer.extend(states[:, :, 0], np.array([[1, 2, 3]]), np.zeros_like(wanted))
    assert [part.shape for part in nothing] == [(1, 2, 3), (1, 2, 3)]
    assert asked == ["▁a"]


def test_equal_contexts_share_a_state(arpa: Path) -> None:
    pytest.importorskip("kenlm")
    scorer = NgramScorer(str(arpa), WORDS, 1.0)
    tokens, wanted = np.arange(6)[None], np.ones((1, 1, 6), bool)
    _, first = scorer.extend(np.array([[scorer.start()]]), tokens, wanted)
    _, second = scorer.extend(first[:, :, 3], tokens, wanted)
    assert int(first[0, 0, 4]) == int(second[0, 0, 4]) == int(second[0, 0, 0])  # "<s> d", "<s> ▁ça d", ... <unk>
    assert int(first[0, 0, 1]) == int(first[0, 0, 5])
    assert len({int(first[0, 0, i]) for i in (1, 2, 3, 4)} | {0}) == 5


def count_questions(scorer: NgramScorer) -> list[str]:
    """Note each word that the model is asked for from now on."""
    model, asked = scorer._model, []

    def ask(state: Any, word: str, behind: Any) -> float:
        asked.append(word)
        return float(model.BaseScore(state, word, behind))

    scorer._model = SimpleNamespace(BaseScore=ask, BeginSentenceWrite=model.BeginSentenceWrite)
    return asked


def searched(scorer: NgramScorer, beam: int = 8) -> tuple[CanvasSymbols, Array, list[dict[Text, tuple[float, float]]]]:
    symbols = best_of(random_log_probs(5, 12, 7, seed=2, spread=1.0), 6, 4)
    lengths = np.array([12, 3, 0, 12, 7])
    found = ctc_beam_search(symbols, lengths, beam, PAD, scorer)
    return symbols, lengths, [listed(found, i) for i in range(5)]


@pytest.mark.parametrize("beam", [1, 4, 15])
def test_search_against_slow_search(arpa: Path, beam: int) -> None:
    pytest.importorskip("kenlm")
    symbols, lengths, found = searched(NgramScorer(str(arpa), WORDS, 0.4, 0.8), beam)
    for i, length in enumerate(lengths.tolist()):
        expected = slow_search(sentence_of(symbols, i), length, beam, gain_of(arpa, 0.4, 0.8))
        assert_same(found[i], expected, tolerance=2e-5)


def test_each_pair_is_looked_up_once(arpa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kenlm")
    scorer = NgramScorer(str(arpa), WORDS, 0.4, 0.8)
    asked = count_questions(scorer)
    *_, first = searched(scorer)
    pairs = len(scorer._known.pairs)
    assert 20 < len(asked) == pairs + len(scorer._known.ends)
    *_, second = searched(scorer)
    assert len(asked) == pairs + len(scorer._known.ends)
    monkeypatch.setattr(ngram, "CACHED_PAIRS", 5)
    *_, third = searched(scorer)
    assert len(asked) == 2 * (pairs + len(scorer._known.ends))
    assert first == second == third


def test_no_token_adds_more_than_the_bound(arpa: Path) -> None:
    """With a negative weight, improbable tokens add most, and there is no bound."""
    pytest.importorskip("kenlm")
    scorer = NgramScorer(str(arpa), WORDS, 0.4, 0.8)
    assert scorer.most == 0.8
    states = np.array([[scorer.start()]])
    for _ in range(3):
        tokens = np.arange(len(WORDS))[None]
        gains, behind = scorer.extend(states, tokens, np.ones((1, states.shape[1], len(WORDS)), np.bool_))
        assert gains.max() <= np.float32(0.8)
        states = behind.reshape(1, -1)[:, :20]
    assert NgramScorer(str(arpa), WORDS, -0.4, 0.8).most == math.inf


def test_words_of_a_dictionary() -> None:
    dictionary = BnbDictionary()
    for symbol in ("a", "b c", "[SEP]", "▁d"):
        dictionary.add_symbol(symbol)
    dictionary.add_mask()
    assert ngram_words(dictionary) == ["<unk>"] * 4 + ["a", "<unk>", "[SEP]", "▁d", "<unk>"]


def test_without_kenlm(arpa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ImportError, match=names("--ctc-lm-path", "KenLM")):
        NgramScorer(str(arpa), WORDS, 1.0)


@pytest.mark.parametrize("broken", ["", "this is no model\n", ARPA[:200], ARPA.replace("ngram 3=3", "ngram 3=4")])
def test_broken_file(arpa: Path, broken: str) -> None:
    pytest.importorskip("kenlm")
    arpa.write_text(broken, encoding="utf-8")
    with pytest.raises(ValueError, match=names("--ctc-lm-path", arpa)):
        NgramScorer(str(arpa), WORDS, 1.0)


@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        ("ngram 1=6", "ngram 1=-6", ["ngram 1=-6"]),
        ("ngram 3=3", "ngram 3=-3", ["ngram 3=-3"]),
        ("ngram 2=5", "ngram 2=1000000000000", ["ngram 2=1000000000000"]),
    ],
)
@pytest.mark.parametrize("opener", [open, gzip.open])
def test_counts_that_cannot_be_true(old: str, new: str, facts: list[str], opener: Any, tmp_path: Path) -> None:
    """KenLM would end the process, or ask for as much memory."""
    path = tmp_path / "x.arpa"
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(ARPA.replace(old, new))
    with pytest.raises(ValueError, match=names("--ctc-lm-path", *facts)):
        NgramScorer(str(path), WORDS, 1.0)


def test_a_pickle_by_that_name(tmp_path: Path) -> None:
    path = tmp_path / "x.arpa"
    path.write_bytes(pickle.dumps({"ngram": 1}))
    with pytest.raises(ValueError, match=names("--ctc-lm-path", path)):
        NgramScorer(str(path), WORDS, 1.0)


def test_a_compressed_file_is_the_same_model(arpa: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.arpa.gz"
    path.write_bytes(gzip.compress(arpa.read_bytes()))
    assert NgramScorer(str(path), WORDS, 1.0).start() == 0


@pytest.mark.parametrize("name", ["missing.arpa", "."])
def test_missing_file(tmp_path: Path, name: str) -> None:
    pytest.importorskip("kenlm")
    with pytest.raises(FileNotFoundError, match=names("--ctc-lm-path", tmp_path / name)):
        NgramScorer(str(tmp_path / name), WORDS, 1.0)


def test_model_of_other_words(arpa: Path) -> None:
    pytest.importorskip("kenlm")
    with pytest.raises(ValueError, match=names("--ctc-lm-path", "3")):
        NgramScorer(str(arpa), ["<unk>", "x", "y"], 1.0)


@pytest.mark.parametrize(("weight", "bonus"), [(math.nan, 0.0), (1.0, math.inf)])
def test_weights_must_be_finite(arpa: Path, weight: float, bonus: float) -> None:
    with pytest.raises(ValueError, match=names("--ctc-lm-weight", "finite")):
        NgramScorer(str(arpa), WORDS, weight, bonus)


def test_scorers_of_one_file_share_the_model(arpa: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kenlm")
    read, load = [], ngram.load_ngram_model

    def load_and_note(path: str) -> Any:
        read.append(path)
        return load(path)

    monkeypatch.setattr(ngram, "load_ngram_model", load_and_note)
    first, second = (NgramScorer(str(arpa), WORDS, weight) for weight in (1.0, 2.0))
    assert len(read) == 1
    assert first._model is second._model
    other = tmp_path / "other.arpa"
    other.write_text(arpa.read_text(encoding="utf-8"), encoding="utf-8")
    NgramScorer(str(other), WORDS, 1.0)
    NgramScorer(str(other), WORDS, 1.0)  # the one before is gone, and its model with it
    assert read[1:] == [str(other)] * 2
    arpa.write_text(arpa.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    third = NgramScorer(str(arpa), WORDS, 1.0)
    assert len(read) == 4
    assert third._model is not first._model


def test_each_thread_has_states_of_its_own(arpa: Path) -> None:
    pytest.importorskip("kenlm")
    scorer = NgramScorer(str(arpa), WORDS, 1.0)
    tokens, wanted = np.array([[1, 2]]), np.ones((1, 1, 2), bool)
    scores, states = scorer.extend(np.array([[scorer.start()]]), tokens, wanted)

    def forget_and_ask() -> None:
        scorer.forget()
        scorer.extend(np.array([[scorer.start()]]), np.array([[4, 3]]), wanted)

    thread = threading.Thread(target=forget_and_ask)
    thread.start()
    thread.join()
    known = dict(scorer._known.pairs)
    assert len(known) == 2
    again, same = scorer.extend(np.array([[scorer.start()]]), tokens, wanted)
    assert again.tolist() == scores.tolist()
    assert same.tolist() == states.tolist()
    assert scorer._known.pairs == known
