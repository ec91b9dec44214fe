"""Calibration against arithmetic by hand and slow searches."""

import itertools
import math
import random

import numpy as np
import pytest
from scipy.special import expit, logit  # type: ignore[import-untyped]

from bnb_fairseq.evaluation.calibration import (
    calibration_error,
    discrimination,
    fit_platt,
    rank_correlation,
    right_tokens,
)


@pytest.mark.parametrize(
    ("tokens", "reference", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], "111"),
        ([2, 3, 4], [1, 2, 3, 4], "111"),  # a missing token makes no other one wrong
        ([1, 9, 3], [1, 2, 3], "101"),
        ([3, 1, 2], [1, 2, 3], "011"),
        ([1, 1, 1], [1], "100"),
        ([1, 2, 1, 2], [1, 2], "1100"),
        ([2, 1], [1, 2], "10"),
        ([], [1], ""),
        ([1, 2], [], "00"),
    ],
)
def test_right_tokens(tokens: list[int], reference: list[int], expected: str) -> None:
    assert right_tokens(tokens, reference) == [mark == "1" for mark in expected]


def is_subsequence(tokens: tuple[int, ...], reference: list[int]) -> bool:
    rest = iter(reference)
    return all(token in rest for token in tokens)


def test_right_tokens_against_every_subsequence() -> None:
    """The longest one; of those the one whose places come first."""
    drawn = random.Random(1)
    for _ in range(300):
        tokens = [drawn.randrange(3) for _ in range(drawn.randint(0, 7))]
        reference = [drawn.randrange(3) for _ in range(drawn.randint(0, 6))]
        best: tuple[int, ...] = ()
        for size in range(len(tokens) + 1):
            for places in itertools.combinations(range(len(tokens)), size):
                if size > len(best) and is_subsequence(tuple(tokens[i] for i in places), reference):
                    best = places
        assert right_tokens(tokens, reference) == [i in best for i in range(len(tokens))]


def test_calibration_error_by_hand() -> None:
    """Tokens in order of confidence: 0.2 wrong, 0.4, 0.6 and 0.9 right."""
    confidences, right = [0.9, 0.2, 0.6, 0.4], [True, False, True, True]
    # Two bins: mean 0.3 with 0.5 right, mean 0.75 with 1.0 right.
    assert calibration_error(confidences, right, bins=2) == pytest.approx((2 * 0.2 + 2 * 0.25) / 4)
    # One bin: mean 0.525, 0.75 right.
    assert calibration_error(confidences, right, bins=1) == pytest.approx(0.225)
    # More bins than tokens: each token for itself.
    assert calibration_error(confidences, right, bins=15) == pytest.approx((0.1 + 0.2 + 0.4 + 0.6) / 4)


def test_bins_have_equal_mass() -> None:
    """Five tokens in two bins are three and two."""
    confidences = [0.1, 0.2, 0.3, 0.8, 1.0]
    right = [False, False, True, True, True]
    expected = 3 / 5 * abs(0.2 - 1 / 3) + 2 / 5 * abs(0.9 - 1)
    assert calibration_error(confidences, right, bins=2) == pytest.approx(expected)


def test_fit_finds_the_line_that_made_the_marks() -> None:
    generator = np.random.default_rng(1)
    confidences = generator.uniform(0.02, 0.98, 200_000)
    right = generator.random(confidences.size) < expit(0.6 * logit(confidences) - 0.4)
    fitted = fit_platt(confidences, right.tolist())
    assert fitted == pytest.approx((0.6, -0.4), abs=0.02)
    before = calibration_error(confidences, right.tolist())
    assert before > 0.1
    assert calibration_error(fitted.calibrated(confidences), right.tolist()) < 0.01


def test_fit_with_one_confidence_meets_the_share() -> None:
    """All of one confidence, 3 of 4 right: aims 4/5 and 1/3 give (3 x 4/5 + 1/3) / 4."""
    fitted = fit_platt([0.6] * 4, [True, True, True, False])
    assert fitted.calibrated([0.6]) == pytest.approx([(3 * 4 / 5 + 1 / 3) / 4], abs=1e-4)


def test_fit_where_a_threshold_divides_the_tokens_is_finite() -> None:
    """Symmetric about one half, aims 1/4 and 3/4: the slope takes 0.8 to 3/4, log 3 / log 4."""
    fitted = fit_platt([0.2, 0.2, 0.8, 0.8], [False, False, True, True])
    assert fitted == pytest.approx((math.log(3) / math.log(4), 0.0), abs=1e-4)


@pytest.mark.parametrize("right", [True, False])
def test_tokens_of_one_kind(right: bool) -> None:
    count = 3 if right else 0
    for function in (fit_platt, discrimination):
        with pytest.raises(ValueError, match=f"^some tokens must be right and some wrong, but of 3 {count} are right$"):
            function([0.5, 0.9, 0.7], [right] * 3)


def test_discrimination_by_hand() -> None:
    """Right 0.9, 0.5, 0.4 and wrong 0.5, 0.2: of six pairs 0.4 < 0.5 is lost and 0.5 = 0.5 is half won."""
    confidences = [0.9, 0.5, 0.4, 0.5, 0.2]
    assert discrimination(confidences, [True, True, True, False, False]) == pytest.approx(4.5 / 6)
    assert discrimination([0.3] * 4, [True, False, True, False]) == 0.5


def test_no_increasing_function_fits() -> None:
    with pytest.raises(ValueError, match=r"^right tokens must be more confident than wrong ones, but the fitted slope"):
        fit_platt([0.1, 0.2, 0.8, 0.9], [True, True, False, False])


@pytest.mark.parametrize(("confidences", "right"), [([], []), ([0.5], [True, False])])
def test_tokens_must_match(confidences: list[float], right: list[bool]) -> None:
    with pytest.raises(ValueError, match=f"but are {len(confidences)} and {len(right)}$"):
        calibration_error(confidences, right)


def test_rank_correlation_by_hand() -> None:
    """Ranks 1 2 3 4 against 1 2 4 3: 1 - 6 x 2 / (4 x 15)."""
    references = ["abcdefgh"] * 4
    translations = ["", "abc", "abcdefgh", "abcdef"]
    assert rank_correlation([-math.inf, -3.0, -2.0, -1.0], translations, references) == pytest.approx(0.8)
    with pytest.warns(RuntimeWarning, match="constant"):
        assert math.isnan(rank_correlation([-1.0] * 4, translations, references))
