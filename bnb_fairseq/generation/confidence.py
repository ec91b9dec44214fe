"""Confidence in tokens and lines, from the log-probabilities that a generator gives."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SMALLEST = 1e-6  # probabilities are kept this far from 0 and 1, where the logit is infinite

Floats = NDArray[np.float64]


class Platt(NamedTuple):
    """Platt's calibration (1999): probability -> logistic(slope x logit(probability) + intercept).

    It keeps the order of probabilities, since the slope is positive. Slope 1 and intercept 0 change nothing.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def calibrated(self, confidences: Sequence[float] | Floats) -> Floats:
        """Calibrate N probabilities."""
        logit = self.slope * logits(confidences) + self.intercept
        return np.asarray((1 + np.tanh(logit / 2)) / 2)  # the logistic function, without overflow


def logits(confidences: Sequence[float] | Floats) -> Floats:
    """Return log(p / (1 - p)) of N probabilities, finite for 0 and 1 too."""
    inside = np.clip(np.asarray(confidences, np.float64), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def line_confidence(scores: Sequence[float] | Floats) -> float:
    """Return the mean log-probability of a line's tokens; -inf for a line without any."""
    return float(np.mean(scores)) if len(scores) else -math.inf
