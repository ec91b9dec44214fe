"""Scores of one system."""

import pytest

from bnb_fairseq.evaluation.scores import repetition, score


def test_scores_worked_out_by_hand() -> None:
    """N-gram precisions 5/6, 3/5, 2/4 and 1/3; no brevity penalty. The product's fourth root is 0.5373."""
    row, signatures = score(["the cat sat on the mat"], ["the cat sat on a mat"])
    assert row.bleu == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, abs=1e-9)
    assert row.length_ratio == 1.0
    assert "tok:13a" in signatures.split(", chrF ")[0]
    assert "nc:6" in signatures.split(", chrF ")[1]


def test_short_output() -> None:
    row, _ = score(["the cat sat on", "a"], ["the cat sat on a mat", "a b"])
    assert row.length_ratio == 5 / 8
    assert row.bleu == pytest.approx(100 * 2.718281828459045 ** (1 - 8 / 5), abs=1e-9)  # every n-gram is right
    assert row.chrf < 100


@pytest.mark.parametrize(
    ("lines", "percent"),
    [
        (["a a b", "b b b"], 100 * 3 / 6),  # the b at the border of two sentences does not count
        (["a b a b"], 0),
        (["so, so, so"], 0),  # so , so , so
        (["Ja ja ..."], 100 * 2 / 5),  # Ja ja . . .
        (["wait &amp; & see"], 100 * 1 / 4),  # 13a resolves &amp;
        (["", "   "], 0),
        ([], 0),
    ],
)
def test_repetition(lines: list[str], percent: float) -> None:
    assert repetition(lines) == pytest.approx(percent, abs=1e-12)
