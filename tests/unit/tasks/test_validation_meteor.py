"""METEOR from sums that come batch by batch and worker by worker."""

from typing import Any

import numpy as np
import pytest
from fairseq.logging import metrics
from numpy.typing import NDArray

from bnb_fairseq.tasks.validation_meteor import log_meteor, meteor_statistics

SCORES = [12.5, 100.0, 0.0, 33.3, 50.0]


class Fixed:
    """Gives each text the score that it spells."""

    def scores(self, hypotheses: list[str], references: list[str]) -> NDArray[np.float64]:
        assert references == ["?"] * len(hypotheses)
        return np.array([float(text) for text in hypotheses])


def batch(*chosen: int) -> dict[str, float]:
    meteor: Any = Fixed()
    return meteor_statistics(meteor, [str(SCORES[i]) for i in chosen], ["?"] * len(chosen))


def validate(batches: list[list[dict[str, Any]]]) -> dict[str, float]:
    with metrics.aggregate(new_root=True) as meters:
        for workers in batches:
            log_meteor(workers)
    return dict(meters.get_smoothed_values())


def test_statistics() -> None:
    found = batch(0, 1, 3)
    assert found == {"_meteor_sentences": 3.0, "_meteor": pytest.approx(145.8)}
    assert {type(value) for value in found.values()} == {float}, "fairseq adds up numbers, not arrays"


def test_batches_and_workers_give_the_mean_of_all_sentences() -> None:
    idle = dict.fromkeys(batch(0), 0.0)  # what fairseq makes of a worker that has no batch left
    for batches in (
        [[batch(0, 1, 2, 3, 4)]],
        [[batch(i)] for i in range(5)],
        [[batch(4), batch(0, 1, 2, 3)]],
        [[batch(0, 1), batch(2)], [batch(3, 4), idle]],
    ):
        assert validate(batches) == {"meteor": round(sum(SCORES) / 5, 2)}
    assert validate([[batch(2)]]) == {"meteor": 0.0}


def test_training_logs_no_meteor() -> None:
    assert validate([[{"loss": 1.0}]]) == {}
