"""Values that the terms of the loss log; each term declares its own."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from fairseq.logging import metrics

PER = {"token": "sample_size", "sentence": "nsentences"}  # names of fairseq's counts


class Average(NamedTuple):
    """A logged value: the average of a sum over batches and workers.

    Attributes:
        name: in the log.
        total: name of the sum in the criterion's statistics.
        per: divide the sum by target tokens or by sentences.
        bits: the sum is in nats, the log shows bits.
        meaning: for the documentation.
    """

    name: str
    total: str
    per: Literal["token", "sentence"]
    bits: bool
    meaning: str

    @property
    def unit(self) -> str:
        """The value's unit, for the documentation."""
        return f"{'bits' if self.bits else 'mean'} per {self.per}"


class Derived(NamedTuple):
    """A logged value that a term computes by itself; the attributes are ``Average``'s."""

    name: str
    unit: str
    meaning: str


def log_averages(averages: Iterable[Average], statistics: Sequence[Mapping[str, Any]]) -> None:
    """Log the averages whose sums occur in the statistics of batches or workers."""
    for average in averages:
        if not any(average.total in each for each in statistics):
            continue
        total, count = (
            sum(float(each.get(name, 0)) for each in statistics) for name in (average.total, PER[average.per])
        )
        factor = 1 / math.log(2) if average.bits else 1.0
        metrics.log_scalar(average.name, factor * total / max(count, 1), count, round=3)
