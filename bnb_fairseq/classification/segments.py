"""Texts and pairs of texts in BERT's form: ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq.data import data_utils
from numpy.typing import NDArray
from torch import Tensor

from ..data.pair_dataset import sizes_of
from ..data.whole_batches import WholeBatches

Sample = dict[str, Any]
Lengths = NDArray[np.int64]


def shortened_lengths(first: Lengths, second: Lengths, room: int) -> tuple[Lengths, Lengths]:
    """Shorten N pairs as BERT does (Devlin et al. 2019): the longer segment loses its last token, the second of equals.

    ``room`` is the tokens that both may have together; returns the tokens that each keeps, N and N.
    """
    kept = np.minimum(first, np.maximum(room - second, (room + 1) // 2))
    fits = first + second <= room
    return np.where(fits, first, kept), np.where(fits, second, room - kept)


class Segments(Sequence[Tensor]):
    """One or two texts an item, between BERT's special symbols.

    Args:
        first: texts, each ending in [SEP].
        second: as many second texts, or None.
        bos: id of [CLS].
        longest: shorten items to this many tokens, special ones counted; None: do not.

    Attributes:
        sizes: N, tokens of each item.
        shortened: number of items that lost tokens.

    Raises:
        ValueError: if first and second texts differ in number, or ``longest`` leaves no token to each text.
    """

    def __init__(
        self, first: Sequence[Tensor], second: Sequence[Tensor] | None, bos: int, longest: int | None = None
    ) -> None:
        if second is not None and len(first) != len(second):
            raise ValueError(
                f"input0 and input1 must have equally many items, but have {len(first):,} and {len(second):,}"
            )
        self._texts = [first] if second is None else [first, second]
        self._bos = bos
        special = 1 + len(self._texts)
        if longest is not None and longest < special + len(self._texts):
            raise ValueError(
                f"--shorten-method truncate needs {special} special symbols and a token of each text, but "
                f"--max-positions and the model allow {longest} tokens"
            )
        whole = [sizes_of(texts) - 1 for texts in self._texts]
        kept = whole
        if longest is not None:
            room = longest - special
            pair = len(whole) == 2
            kept = list(shortened_lengths(whole[0], whole[1], room)) if pair else [np.minimum(whole[0], room)]
        self._kept = kept
        self.sizes: Lengths = sum(kept, np.full(len(first), special))
        self.shortened = int((self.sizes < sum(whole, np.full(len(first), special))).sum())

    def __len__(self) -> int:
        return len(self._texts[0])

    def __getitem__(self, index: Any) -> Any:
        parts = [torch.tensor([self._bos])]
        for texts, kept in zip(self._texts, self._kept, strict=True):
            text = texts[index].long()
            parts += [text[: kept[index]], text[-1:]]
        return torch.cat(parts)


class SegmentsDataset(WholeBatches):
    """Texts or pairs of texts with their labels, in batches padded on the right.

    Args:
        segments: N items, see ``Segments``.
        pad: id of [PAD].
        targets: N classes (int64) or N x C numbers (float32), or None.
        shuffle: order items randomly, anew in each epoch; else by length.
    """

    def __init__(self, segments: Sequence[Tensor], pad: int, targets: Tensor | None, shuffle: bool) -> None:
        self.segments = segments
        self.sizes = sizes_of(segments)
        self.targets = targets
        self.shuffle = shuffle
        self._pad = pad

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> Sample:
        item: Sample = {"id": int(index), "source": self.segments[index]}
        if self.targets is not None:
            item["target"] = self.targets[index]
        return item

    def collater(self, samples: list[Sample]) -> Sample:
        """See fairseq; ``src_tokens`` B x S, ``src_lengths`` B, with labels ``target`` B or B x C; {} for no items."""
        if not samples:
            return {}
        sources = [item["source"] for item in samples]
        batch: Sample = {
            "id": torch.tensor([item["id"] for item in samples]),
            "nsentences": len(samples),
            "ntokens": sum(map(len, sources)),
            "net_input": {
                "src_tokens": data_utils.collate_tokens(sources, self._pad),
                "src_lengths": torch.tensor([len(source) for source in sources]),
            },
        }
        if self.targets is not None:
            batch["target"] = torch.stack([item["target"] for item in samples])
        return batch

    def num_tokens(self, index: int) -> int:
        """See fairseq; the item's length."""
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Lengths) -> Lengths:
        """See fairseq."""
        return self.sizes[indices]

    def size(self, index: int) -> int:
        """See fairseq; the item's length."""
        return int(self.sizes[index])

    def ordered_indices(self) -> Lengths:
        """See fairseq; a random order, or by length."""
        return np.random.permutation(len(self)) if self.shuffle else np.argsort(self.sizes, kind="stable")

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """See fairseq; True unless shuffled."""
        return not self.shuffle
