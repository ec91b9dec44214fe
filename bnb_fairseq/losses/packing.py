"""Chosen positions of a batch as a flat list, and back."""

import torch
from torch import Tensor


class Packing:
    """N chosen positions in row-major order, any number of them in each sentence.

    Args:
        positions: B x L, True at chosen positions.

    Attributes:
        counts: B, chosen positions of each sentence.
        longest: P, the largest count.
    """

    def __init__(self, positions: Tensor) -> None:
        self._rows, self._columns = positions.nonzero().unbind(dim=1)
        self.counts = positions.sum(dim=1)
        starts = self.counts.cumsum(dim=0) - self.counts
        self._places = torch.arange(len(self._rows), device=positions.device) - starts[self._rows]
        self.longest = int(self.counts.max()) if len(self.counts) else 0

    def chosen(self, values: Tensor) -> Tensor:
        """Values at the positions: B x L -> N."""
        return values[self._rows, self._columns]

    def repeated(self, values: Tensor) -> Tensor:
        """Values of a sentence, repeated for each of its positions: B x ... -> N x ..."""
        return values[self._rows]

    def packed(self, values: Tensor) -> Tensor:
        """Values of the positions, moved to the left of their sentence's row, then 0: N x ... -> B x P x ..."""
        rows = values.new_zeros(len(self.counts), self.longest, *values.shape[1:])
        return rows.index_put((self._rows, self._places), values)

    def totals(self, values: Tensor) -> Tensor:
        """Sum over each sentence's positions: N -> B."""
        return values.new_zeros(len(self.counts)).index_add(0, self._rows, values)

    def placed(self, values: Tensor, others: Tensor) -> Tensor:
        """Values at their places, N x ..., among others at the rest, B x L x ...: B x L x ..."""
        return others.index_put((self._rows, self._columns), values)

    def means(self, values: Tensor) -> Tensor:
        """Mean over each sentence's positions, 0 if it has none: N -> B."""
        return self.totals(values) / self.counts.clamp(min=1)
