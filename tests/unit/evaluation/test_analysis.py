"""Where systems differ: figures worked out by hand."""

import math

import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU

from bnb_fairseq.evaluation import analysis


def lines_of(lengths: list[int]) -> list[str]:
    return [" ".join("abcdefghijklmnopqrstuvwxyz"[:length]) for length in lengths]


def test_tokens_are_those_of_bleu() -> None:
    text = analysis.read_tokens(["So, so!", "", "1,5 &amp; Co."])
    assert text.lines == ["So, so!", "", "1,5 &amp; Co."]
    assert text.tokens == [["So", ",", "so", "!"], [], ["1,5", "&", "Co", "."]]


def test_borders_of_buckets_lie_where_the_length_changes() -> None:
    """In the order of length 1 2 2 3 4 5; the ideal borders are 2, between equal lengths, and 4."""
    buckets = analysis.length_buckets(analysis.read_tokens(lines_of([3, 1, 2, 2, 5, 4])), 3)
    assert buckets == [(1, 1, [1]), (2, 3, [0, 2, 3]), (4, 5, [4, 5])]


@pytest.mark.parametrize(
    ("lengths", "count", "bounds"),
    [
        ([4, 4, 4], 5, [(4, 4)]),
        ([7], 5, [(7, 7)]),
        ([2, 9, 2, 9], 5, [(2, 2), (9, 9)]),
        ([0, 1, 2], 1, [(0, 2)]),
        ([1] * 9 + [2, 3], 2, [(1, 1), (2, 3)]),
        ([3] + [5] * 8, 3, [(3, 3), (5, 5)]),
        (list(range(1, 26)), 5, [(1, 5), (6, 10), (11, 15), (16, 20), (21, 25)]),
    ],
)
def test_bounds_of_buckets(lengths: list[int], count: int, bounds: list[tuple[int, int]]) -> None:
    buckets = analysis.length_buckets(analysis.read_tokens(lines_of(lengths)), count)
    assert [bucket[:2] for bucket in buckets] == bounds
    assert sorted(number for bucket in buckets for number in bucket.numbers) == list(range(len(lengths)))
    for bucket in buckets:
        assert all(bucket.shortest <= lengths[i] <= bucket.longest for i in bucket.numbers)


def test_two_buckets_are_as_equal_as_can_be() -> None:
    lengths = sorted([1, 1, 1, 2, 3, 3, 3, 3, 5, 8])
    found = analysis.length_buckets(analysis.read_tokens(lines_of(lengths)), 2)
    allowed = [edge for edge in range(1, 10) if lengths[edge - 1] < lengths[edge]]
    best = min(max(edge, 10 - edge) for edge in allowed)
    assert max(len(bucket.numbers) for bucket in found) == best == 6


def test_bleu_of_chosen_sentences() -> None:
    references = analysis.read_tokens(["a b c d e", "f g h i j", "k l m n o"])
    translations = analysis.read_tokens(["a b c d e", "x x", "k l m n"])
    score = analysis.bleu(translations, references, [0, 2])
    assert score.score == pytest.approx(100 * math.exp(1 - 10 / 9), abs=1e-9)  # every n-gram is right
    assert analysis.length_ratio(score) == 9 / 10
    whole = BLEU().corpus_score(translations.lines, [references.lines])
    assert analysis.bleu(translations, references).score == whole.score
    assert (
        analysis.bleu_signature(references)
        == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    )
    assert analysis.length_ratio(analysis.bleu(translations, analysis.read_tokens(["", "", ""]))) is None


def test_factors_of_bleu() -> None:
    """5/6, 3/5, 2/4 and 1/3 against a system whose every n-gram is right, but with a token too few."""
    reference = analysis.read_tokens(["the cat sat on a mat"])
    system = analysis.bleu(analysis.read_tokens(["the cat sat on the mat"]), reference)
    base = analysis.bleu(analysis.read_tokens(["the cat sat on a"]), reference)
    factors = analysis.bleu_factors(system, base)
    expected = [(5 / 6) ** 0.25, (3 / 5) ** 0.25, (2 / 4) ** 0.25, (1 / 3) ** 0.25, 1 / math.exp(1 - 6 / 5)]
    assert factors == pytest.approx(expected, abs=1e-9)
    assert math.prod(factors or []) == pytest.approx(system.score / base.score, abs=1e-9)
    assert analysis.bleu_factors(base, base) == pytest.approx([1] * 5, abs=1e-12)
    nothing = analysis.bleu(analysis.read_tokens([""]), reference)
    assert analysis.bleu_factors(nothing, base) is None
    assert analysis.bleu_factors(base, nothing) is None


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (0, "unseen"),
        (1, "1-10"),
        (10, "1-10"),
        (11, "11-100"),
        (100, "11-100"),
        (101, "101-1,000"),
        (1000, "101-1,000"),
        (1001, "more"),
    ],
)
def test_classes_of_frequency(count: int, name: str) -> None:
    assert analysis.FREQUENCIES[analysis.frequency_class(count)][0] == name


def test_words_of_the_training_text() -> None:
    counts = analysis.count_words(["Ein Wort, ein Wort.\n", "Wort\n", "und Worte"], {"Wort", "ein", "."})
    assert counts == {"Wort": 3, "ein": 1, ".": 1}


def test_recall() -> None:
    """Of a a b c | d e, with c twice where it is wanted once, and a word in the wrong sentence."""
    references = analysis.read_tokens(["a a b c", "d e"])
    counts = {"a": 5, "b": 10, "c": 11, "e": 2000}
    assert analysis.words_by_frequency(references, counts) == [1, 3, 1, 0, 1]  # d | a a b | c | | e
    translations = analysis.read_tokens(["a c c x", "e b a"])
    found = analysis.recall_by_frequency(translations, references, counts)
    assert found == [0, pytest.approx(100 / 3), 100, None, 100]


def test_shares() -> None:
    """Bounds count as neither: 4 of 5 tokens, 5 of 4; the reference without a token has no translation too short."""
    references = ["a b c d e", "a b c d e", "a b c d", "a b c d", "A, b", "", "", "a b"]
    translations = ["a b c d", "a b c", "a a c c e", "a b c d e f", "A , b", "", "x", " "]
    found = analysis.shares(analysis.read_tokens(translations), analysis.read_tokens(references))
    # of 8 sentences; 2 of 4 + 3 + 5 + 6 + 3 + 0 + 1 + 0 tokens are repeated
    assert found == pytest.approx((100 * 2 / 22, 100 * 2 / 8, 100 * 2 / 8, 100 * 2 / 8, 100 * 2 / 8), abs=1e-9)
    assert found._fields == ("repeated", "empty", "right", "short", "long")


@pytest.mark.parametrize(("tokens", "short", "long"), [(12, 0, 0), (27, 100, 0), (28, 0, 0), (43, 0, 0), (44, 0, 100)])
def test_bounds_of_length(tokens: int, short: float, long: float) -> None:
    """80% and 125% of 35 tokens are 28 and 43.75; 12 tokens stand against 15."""
    wanted = 15 if tokens == 12 else 35
    texts = [analysis.read_tokens(["x " * count]) for count in (tokens, wanted)]
    found = analysis.shares(*texts)
    assert (found.short, found.long) == (short, long)
