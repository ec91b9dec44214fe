"""GLUE's metrics, in percent."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import pearsonr, spearmanr  # type: ignore[import-untyped]
from sklearn.metrics import f1_score, matthews_corrcoef

POSITIVE = "1"  # the class whose F1 GLUE reports for MRPC and QQP
Labels = Sequence[str]
Numbers = Sequence[float]


def accuracy(predicted: Labels, gold: Labels) -> float:
    """Share of correct examples."""
    return 100 * float(np.mean(np.asarray(predicted) == np.asarray(gold)))


def f1(predicted: Labels, gold: Labels) -> float:
    """F1 of class 1."""
    return 100 * float(f1_score(np.asarray(gold), np.asarray(predicted), pos_label=POSITIVE, zero_division=0))


def matthews(predicted: Labels, gold: Labels) -> float:
    """Matthews' correlation (1975); 0 if all predictions are the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sklearn, where there is only one class
        return 100 * float(matthews_corrcoef(np.asarray(gold), np.asarray(predicted)))


def pearson(predicted: Numbers, gold: Numbers) -> float:
    """Pearson's correlation; 0 if one side is constant, where it is undefined."""
    return _correlation(pearsonr, predicted, gold)


def spearman(predicted: Numbers, gold: Numbers) -> float:
    """Spearman's rank correlation; 0 if one side is constant, where it is undefined."""
    return _correlation(spearmanr, predicted, gold)


def _correlation(function: Callable[..., tuple[float, float]], predicted: Numbers, gold: Numbers) -> float:
    if len(set(predicted)) < 2 or len(set(gold)) < 2:
        return 0.0
    return 100 * float(function(predicted, gold)[0])


class Metric(NamedTuple):
    """A metric's title in tables, and its function of predictions and truth."""

    title: str
    compute: Callable[..., float]


METRICS = {
    "accuracy": Metric("accuracy", accuracy),
    "f1": Metric("F1", f1),
    "matthews": Metric("Matthews", matthews),
    "pearson": Metric("Pearson", pearson),
    "spearman": Metric("Spearman", spearman),
}


def majority_accuracy(train: Labels, gold: Labels) -> float:
    """Accuracy of always predicting the most frequent training label (of equals, the first)."""
    most_frequent = Counter(train).most_common(1)[0][0]
    return accuracy([most_frequent] * len(gold), gold)
