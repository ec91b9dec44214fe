"""What metrics have in common whose figure is the mean of a score of each sentence."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class SentenceMetric(Protocol):
    """Scores texts one by one; one metric, or several of one kind.

    Attributes:
        names: of M metrics, as a training log shows them.
    """

    names: tuple[str, ...]

    def scores(self, hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
        """Score texts.

        Args:
            hypotheses: N texts.
            references: N texts.

        Returns:
            N x M, percent.
        """

    @property
    def signature(self) -> str:
        """What the figures depend on, in the manner of sacrebleu's signatures."""
