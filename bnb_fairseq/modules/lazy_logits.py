"""Logits computed block by block where they are read: with a large vocabulary they would fill most of the memory."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Logits in a block. Smaller blocks slow down matrix products, larger ones exceed the CPU's cache.
CPU_BLOCK, DEVICE_BLOCK = 1 << 24, 1 << 26
KEPT = 4  # blocks whose log-probabilities a loss keeps for the gradient instead of computing them again


class LazyLogits(NamedTuple):
    """Logits ``states @ weight.T + bias``.

    Attributes:
        states: ... x D; without a weight the logits themselves, ... x V.
        weight: V x D, of the output layer.
        bias: V.
    """

    states: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None

    @property
    def symbols(self) -> int:
        """V."""
        return self.states.size(-1) if self.weight is None else len(self.weight)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the computed logits: autocast's where it is on."""
        kind = self.states.device.type
        if self.weight is not None and torch.is_autocast_enabled(kind):
            return torch.get_autocast_dtype(kind)
        return self.states.dtype

    def whole(self) -> Tensor:
        """All logits, ... x V."""
        return self.states if self.weight is None else F.linear(self.states, self.weight, self.bias)

    def flat(self) -> "LazyLogits":
        """The same logits with all positions in one dimension, N x V."""
        return self._replace(states=self.states.reshape(-1, self.states.size(-1)))

    def blocks(self) -> Iterator[slice]:
        """Slices that divide the N positions of ``flat``."""
        size = CPU_BLOCK if self.states.device.type == "cpu" else DEVICE_BLOCK
        rows = max(1, size // max(self.symbols, 1))
        return (slice(start, start + rows) for start in range(0, len(self.states), rows))
