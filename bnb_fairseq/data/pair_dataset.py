"""Pairs of source and target sentences, each side with its own special symbols."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset, data_utils
from numpy.typing import NDArray
from torch import Tensor

from .dictionary import BnbDictionary

Sample = dict[str, Any]


class SentencePairDataset(FairseqDataset):
    """Sentence pairs as [CLS] ... [SEP], padded on the right.

    Unlike fairseq's ``LanguagePairDataset``, the two dictionaries may have different ids for padding and the other
    special symbols, as two BERTs do.

    Args:
        source: source sentences, items ending in [SEP].
        source_dictionary: their dictionary.
        target: target sentences in the same order, or None.
        target_dictionary: their dictionary.
        target_bos: True: targets begin with [CLS], and there is no ``prev_output_tokens`` (non-autoregressive);
            False: targets do not, and ``prev_output_tokens`` is the target shifted right behind [CLS].
        shuffle: shuffle sentences of equal length.
    """

    def __init__(
        self,
        source: Sequence[Tensor],
        source_dictionary: BnbDictionary,
        target: Sequence[Tensor] | None,
        target_dictionary: BnbDictionary,
        target_bos: bool = True,
        shuffle: bool = True,
    ) -> None:
        self.source, self.target = source, target
        self.source_dictionary, self.target_dictionary = source_dictionary, target_dictionary
        self.target_bos = target_bos
        self.shuffle = shuffle
        self.source_sizes = _sizes(source) + 1
        self.target_sizes = None if target is None else _sizes(target) + int(target_bos)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        item: Sample = {"id": index, "source": _prepend(self.source_dictionary.bos(), self.source[index])}
        if self.target is not None:
            target = self.target[index].long()
            item["target"] = _prepend(self.target_dictionary.bos(), target) if self.target_bos else target
        return item

    def collater(self, samples: list[Sample]) -> Sample:
        """Make a batch.

        Args:
            samples: items of this data set.

        Returns:
            fairseq's sample: ``id`` B, ``net_input`` with ``src_tokens`` B x S and ``src_lengths`` B, ``target`` B x T
            or None, ``ntokens`` and ``nsentences``; empty for no items.
        """
        if not samples:
            return {}
        sources = [item["source"] for item in samples]
        net_input = {
            "src_tokens": data_utils.collate_tokens(sources, self.source_dictionary.pad()),
            "src_lengths": torch.tensor([len(source) for source in sources]),
        }
        batch: Sample = {
            "id": torch.tensor([item["id"] for item in samples]),
            "nsentences": len(samples),
            "ntokens": sum(map(len, sources)),
            "net_input": net_input,
            "target": None,
        }
        if self.target is not None:
            targets = [item["target"] for item in samples]
            batch["target"] = data_utils.collate_tokens(targets, self.target_dictionary.pad())
            batch["ntokens"] = sum(map(len, targets))
            if not self.target_bos:
                shifted = [_prepend(self.target_dictionary.bos(), target[:-1]) for target in targets]
                net_input["prev_output_tokens"] = data_utils.collate_tokens(shifted, self.target_dictionary.pad())
        return batch

    def num_tokens(self, index: int) -> int:
        """Return the longer side's length, by which ``--max-tokens`` limits a batch."""
        return int(self.num_tokens_vec(np.asarray([index]))[0])

    def num_tokens_vec(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return ``num_tokens`` of many items at once."""
        sizes = self.source_sizes[indices]
        return sizes if self.target_sizes is None else np.maximum(sizes, self.target_sizes[indices])

    def size(self, index: int) -> tuple[int, int]:
        """Return the lengths of source and target (0 without one)."""
        return int(self.source_sizes[index]), 0 if self.target_sizes is None else int(self.target_sizes[index])

    def ordered_indices(self) -> NDArray[np.int64]:
        """Return the items sorted by source, then target length, ties in random or original order."""
        indices = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        if self.target_sizes is not None:
            indices = indices[np.argsort(self.target_sizes[indices], kind="stable")]
        return indices[np.argsort(self.source_sizes[indices], kind="stable")]

    def filter_indices_by_size(
        self, indices: NDArray[np.int64], max_sizes: tuple[int, int]
    ) -> tuple[NDArray[np.int64], list[int]]:
        """Leave out items that are too long.

        Args:
            indices: items.
            max_sizes: largest source and target length.

        Returns:
            The items that fit, and those that do not.
        """
        kept, ignored = data_utils.filter_paired_dataset_indices_by_size(
            self.source_sizes, self.target_sizes, indices, max_sizes
        )
        return kept, list(ignored)

    @property
    def supports_prefetch(self) -> bool:
        """Whether the underlying data can be read ahead."""
        sides = [self.source] if self.target is None else [self.source, self.target]
        return all(getattr(side, "supports_prefetch", False) for side in sides)

    def prefetch(self, indices: Sequence[int]) -> None:
        """Read items ahead."""
        for side in (self.source, self.target):
            if side is not None:
                side.prefetch(indices)  # type: ignore[attr-defined]


def _sizes(items: Sequence[Tensor]) -> NDArray[np.int64]:
    sizes = getattr(items, "sizes", None)
    return np.asarray([len(item) for item in items] if sizes is None else sizes, dtype=np.int64)


def _prepend(symbol: int, tokens: Tensor) -> Tensor:
    return torch.cat([torch.tensor([symbol]), tokens.long()])
