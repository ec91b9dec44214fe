"""Batches that leave out nothing."""

from typing import NamedTuple

import numpy as np
from fairseq.data import FairseqDataset
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Shard(NamedTuple):
    """One of several parts that a data set's batches fall into, each batch in one of them.

    Attributes:
        total: how many there are.
        number: which one this is, from 0.
    """

    total: int = 1
    number: int = 0


WHOLE = Shard()


class WholeBatches(FairseqDataset):
    """A data set whose every item is in a batch.

    fairseq drops the last batch where its size is no multiple of ``required_batch_size_multiple`` (8 by default):
    sentences would be missing from a translation, and a metric would be one of other items than those of the file.

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
        """Cut ordered items into batches, every item in one of them.

        Args:
            indices: ordered items.
            max_tokens: largest number of tokens in a batch, padding included.
            max_sentences: largest number of items in a batch.
            required_batch_size_multiple: batches have fewer items than this, or a multiple of it.

        Returns:
            The shard's batches.
        """
        if len(indices) == 0:  # fairseq looks at the last batch
            return []
        batches: list[Indices] = super().batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple)
        dropped = indices[sum(map(len, batches)) :]
        if len(dropped):
            batches = [*batches, dropped]
        return batches[self.shard.number :: self.shard.total]
