"""Batches that leave out no item."""

from typing import NamedTuple

import numpy as np
from fairseq.data import FairseqDataset
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Shard(NamedTuple):
    """One of the parts that a data set's batches are divided into.

    Attributes:
        total: number of parts.
        number: of this part, from 0.
    """

    total: int = 1
    number: int = 0


WHOLE = Shard()


class WholeBatches(FairseqDataset):
    """A data set whose every item is in a batch.

    fairseq drops the last batch if its size is no multiple of ``required_batch_size_multiple`` (8 by default). A
    translation would lack sentences, and a metric would leave out items.

    Attributes:
        shard: whose batches ``batch_by_size`` returns.
    """

    shard = WHOLE

    def batch_by_size(
        self,
        indices: Indices,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[Indices]:
        """The shard's batches of ordered items, each of fewer than ``required_batch_size_multiple`` or a multiple."""
        if len(indices) == 0:  # fairseq would index the last batch
            return []
        batches: list[Indices] = super().batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple)
        dropped = indices[sum(map(len, batches)) :]
        if len(dropped):
            batches = [*batches, dropped]
        return batches[self.shard.number :: self.shard.total]
