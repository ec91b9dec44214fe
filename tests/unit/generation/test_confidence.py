"""Confidence against arithmetic by hand."""

import math

import numpy as np
import pytest

from bnb_fairseq.generation.confidence import Platt, line_confidence


def test_platt_by_hand() -> None:
    assert Platt().calibrated([0.2, 0.9]) == pytest.approx([0.2, 0.9])
    # logit(0.8) is log 4; half of it log 2, whose logistic is 2/3.
    assert Platt(0.5, 0.0).calibrated([0.8]) == pytest.approx([2 / 3])
    assert Platt(1.0, math.log(3)).calibrated([0.5]) == pytest.approx([0.75])
    assert np.isfinite(Platt(2.0, 1.0).calibrated([0.0, 1.0])).all()


def test_line_confidence() -> None:
    assert line_confidence([-1.0, -2.0, -6.0]) == -3.0
    assert line_confidence([]) == -math.inf
