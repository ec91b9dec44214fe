"""Metrics against numbers worked out by hand."""

import math

import pytest

from .conftest import Part

GOLD = ["1", "1", "1", "0", "0", "0", "0", "1"]
PREDICTED = ["1", "1", "0", "0", "0", "1", "0", "1"]  # 3 true positives, 3 true negatives, 1 of each error


def test_classes(part: Part) -> None:
    metrics = part("metrics")
    assert metrics.accuracy(PREDICTED, GOLD) == pytest.approx(100 * 6 / 8)
    assert metrics.f1(PREDICTED, GOLD) == pytest.approx(100 * 2 * 3 / (2 * 3 + 1 + 1))
    assert metrics.matthews(PREDICTED, GOLD) == pytest.approx(100 * (3 * 3 - 1 * 1) / math.sqrt(4 * 4 * 4 * 4))


def test_f1_is_that_of_class_1(part: Part) -> None:
    metrics = part("metrics")
    assert metrics.f1(["1", "0", "0", "0"], ["1", "1", "0", "0"]) == pytest.approx(100 * 2 / 3)  # of class 0: 80
    assert metrics.f1(["0", "0"], ["1", "0"]) == 0.0
    assert metrics.f1(["0", "0"], ["0", "0"]) == 0.0


def test_matthews_of_one_class(part: Part) -> None:
    metrics = part("metrics")
    assert metrics.matthews(["1", "1", "1"], ["1", "0", "1"]) == 0.0
    assert metrics.matthews(["1", "1"], ["1", "1"]) == 0.0
    assert metrics.matthews(["0", "1"], ["1", "0"]) == pytest.approx(-100)


def test_correlations(part: Part) -> None:
    metrics = part("metrics")
    predicted, gold = [1.0, 2.0, 3.0, 9.0], [1.0, 3.0, 2.0, 4.0]
    # Deviations from the means 3.75 and 2.5: products sum up to 11.5, squares to 38.75 and 5.
    assert metrics.pearson(predicted, gold) == pytest.approx(100 * 11.5 / math.sqrt(38.75 * 5))
    # Ranks 1 2 3 4 and 1 3 2 4: 1 - 6 * (1 + 1) / (4 * 15).
    assert metrics.spearman(predicted, gold) == pytest.approx(80.0)


def test_a_constant_has_no_correlation(part: Part) -> None:
    for name in ("pearson", "spearman"):
        assert part("metrics").METRICS[name].compute([2.0, 2.0], [1.0, 3.0]) == 0.0
        assert part("metrics").METRICS[name].compute([2.0, 1.0], [3.0, 3.0]) == 0.0


def test_majority(part: Part) -> None:
    metrics = part("metrics")
    assert metrics.majority_accuracy(["a", "b", "b"], ["a", "b", "b", "c"]) == pytest.approx(50.0)
    assert metrics.majority_accuracy(["a", "b"], ["a", "a", "a", "b"]) == pytest.approx(75.0)  # of equals, the first
