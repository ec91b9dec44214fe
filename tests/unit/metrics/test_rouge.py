"""ROUGE worked out by hand, and beside rouge-score's own tokenizer where a text is ASCII."""

import random
import sys
from collections.abc import Callable

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from bnb_fairseq.metrics.rouge import ROUGE_TYPES, Rouge, WordTokenizer

ASCII = [chr(code) for code in range(128)]


@pytest.fixture(scope="module")
def rouge() -> Rouge:
    return Rouge()


@pytest.fixture(scope="module")
def english(small_data: Callable[[str, int], list[tuple[str, str]]]) -> list[str]:
    """Real sentences, those with no character beyond ASCII."""
    lines = [source for source, _ in small_data("train", 600) if source.isascii()]
    assert len(lines) > 400
    return lines


@pytest.mark.parametrize(
    ("hypothesis", "reference", "f1"),
    [
        # 5 of 6 words on either side ("the" twice); the-cat, on-the, the-mat of 5 pairs; the cat on the mat.
        ("The cat sat on the mat.", "the cat is on the mat", (5 / 6, 3 / 5, 5 / 6)),
        # P 4/5 and R 4/4; pairs 2/4 and 2/3; "police killed" or "the gunman": 2/5 and 2/4. F1 = 2 common / (m + n).
        ("police killed the gunman now", "the gunman police killed", (8 / 9, 4 / 7, 4 / 9)),
        # Four times "a" against two: only two count, of 4 and 2; one pair of 3 and 1.
        ("a a a a", "a a", (4 / 6, 2 / 4, 4 / 6)),
        # Stems: run dog; "his" is too short to become "hi".
        ("running dogs", "run dog", (1, 1, 1)),
        ("his", "hi", (0, 0, 0)),
        # One word has no pair.
        ("open", "Open!", (1, 0, 1)),
        ("", "a b", (0, 0, 0)),
        ("a b", "", (0, 0, 0)),
        ("...", "-", (0, 0, 0)),
        # Umlauts are letters: none of the words is the other.
        ("Bär", "Bar", (0, 0, 0)),
        ("die Größe", "Die GRÖSSE", (1 / 2, 0, 1 / 2)),
        ("die Gro\u0308ße", "die Größe", (1, 1, 1)),  # the same letter, composed and not
    ],
)
def test_by_hand(hypothesis: str, reference: str, f1: tuple[float, ...], rouge: Rouge) -> None:
    (found,) = rouge.scores([hypothesis], [reference])
    assert found.tolist() == pytest.approx([100 * value for value in f1], abs=1e-9)


def test_one_row_for_each_text(rouge: Rouge) -> None:
    found = rouge.scores(["a b", "a", ""], ["a b", "b a", "a"])
    assert found.dtype == np.float64
    assert found.tolist() == [pytest.approx(row) for row in ([100, 100, 100], [200 / 3, 0, 200 / 3], [0, 0, 0])]
    assert rouge.scores([], []).shape == (0, 3)
    with pytest.raises(ValueError, match="longer than"):
        rouge.scores(["a"], ["a", "b"])


def test_words_of_every_script() -> None:
    words = WordTokenizer(lambda word: f"<{word}>").tokenize
    assert words("Über 3,5 Mio. Gäste/„так“ हिन्दी\n日本 x_y") == [
        *("<über>", "3", "5", "mio", "<gäste>", "так", "<हिन्दी>", "日本", "x", "y")
    ]
    assert DefaultTokenizer().tokenize("Größe") == ["gr", "e"], "rouge-score keeps umlauts now: use its own tokenizer"


def test_on_ascii_words_are_those_of_rouge_score(english: list[str]) -> None:
    from nltk.stem.porter import PorterStemmer

    ours, theirs = WordTokenizer(PorterStemmer().stem), DefaultTokenizer(use_stemmer=True)
    chance = random.Random(1)
    noise = ["".join(chance.choices(ASCII, k=60)) for _ in range(2000)]
    letters = ["".join(chance.choices("aeiousdlyng -'3", k=60)) for _ in range(2000)]
    words = 0
    for text in [*english, *noise, *letters]:
        assert ours.tokenize(text) == theirs.tokenize(text), repr(text)
        words += len(ours.tokenize(text))
    assert words > 30_000


def test_on_ascii_scores_are_those_of_rouge_score(rouge: Rouge, english: list[str]) -> None:
    theirs = RougeScorer(list(ROUGE_TYPES), use_stemmer=True)
    hypotheses, references = english[:-1], english[1:]
    found = rouge.scores(hypotheses, references)
    expected = [
        [100 * theirs.score(reference, text)[kind].fmeasure for kind in ("rouge1", "rouge2", "rougeL")]
        for text, reference in zip(hypotheses, references, strict=True)
    ]
    assert found.tolist() == expected
    assert all(0 < mean < 100 for mean in found.mean(axis=0))


def test_signature_names_what_figures_depend_on(rouge: Rouge) -> None:
    assert rouge.signature.startswith("nrefs:1|score:f1|stem:porter|tok:unicode-words|version:rouge-score-0.")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(ImportError, match=r"^ROUGE needs rouge-score: pip install rouge-score$"):
        Rouge()
