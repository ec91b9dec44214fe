"""Blocks of plain text as sentence pairs, with new noise in every epoch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .dictionary import BnbDictionary
from .noise import Noise
from .pair_dataset import Sample, SentencePairDataset, prepend


class PretrainingDataset(SentencePairDataset):
    """Blocks of a corpus under a pretraining strategy.

    The noise of a block depends only on the seed, the epoch and the block, not on workers or batches. Without
    ``set_epoch``, which fairseq calls for training data only, it never changes.

    Args:
        blocks: the blocks, see ``DocumentBlocks``.
        dictionary: of source and target.
        noise: the strategy.
        seed: of the noise.
        target_bos: True: the model writes [CLS], too (non-autoregressive), see ``SentencePairDataset``.
        shuffle: shuffle blocks of equal length.
    """

    def __init__(
        self,
        blocks: Sequence[Tensor],
        dictionary: BnbDictionary,
        noise: Noise,
        seed: int,
        target_bos: bool = True,
        shuffle: bool = True,
    ) -> None:
        super().__init__(blocks, dictionary, blocks, dictionary, target_bos, shuffle)
        self._blocks = blocks
        self._noise = noise
        self._seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64)  # in shared memory, since fairseq's workers outlive an epoch
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Choose the noise of an epoch."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Sample:
        block = self._blocks[index].long()
        text, end = block[:-1], block[-1:]
        source, target = self._noise(text, np.random.default_rng((self._seed, int(self._epoch), index)))
        begin = self.source_dictionary.bos()
        return {
            "id": index,
            "source": prepend(begin, torch.cat([source, end])),
            "target": torch.cat([target, end]),
        }
