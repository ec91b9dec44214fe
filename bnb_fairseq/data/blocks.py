"""Documents cut into blocks of tokens."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Integers = NDArray[np.int64]


class DocumentBlocks(Sequence[Tensor]):
    """Blocks of a corpus; no block crosses the end of a document.

    Blocks of a document are equally long, up to one token. With room for 128, a document of 130 tokens gives two blocks
    of 65; a rest of 2 would teach nothing.

    Args:
        lines: the lines of a corpus, items ending in [SEP]; [SEP] alone is an empty line.
        longest: tokens that fit into a block without [SEP], at least 1.
        by_line: every line is a document; False: documents consist of lines and end at empty ones.

    Attributes:
        sizes: length of every block, including [SEP].
        first_lines: for every block the first line of its document, counted from 1.
        supports_prefetch: False, blocks cannot be read ahead.

    Raises:
        ValueError: naming the first empty document.
    """

    supports_prefetch = False

    def __init__(self, lines: Sequence[Tensor], longest: int, by_line: bool) -> None:
        self._lines = lines
        tokens = np.asarray(lines.sizes, dtype=np.int64) - 1  # type: ignore[attr-defined]  # every line ends in [SEP]
        self._line_ends = tokens.cumsum()
        first, last = _documents(tokens, by_line)
        starts = self._line_ends[first] - tokens[first]
        lengths = self._line_ends[last] - starts
        pieces = -(-lengths // longest)
        number = _counting(pieces)
        short, longer = np.repeat(lengths // pieces, pieces), np.repeat(lengths % pieces, pieces)
        self._starts = np.repeat(starts, pieces) + number * short + np.minimum(number, longer)
        self.sizes = short + (number < longer) + 1
        self.first_lines = np.repeat(first + 1, pieces)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # no slices, as in fairseq's data sets
        start, missing = int(self._starts[index]), int(self.sizes[index]) - 1
        number = int(np.searchsorted(self._line_ends, start, side="right"))
        parts = []
        while missing:
            line = self._lines[number]
            skipped = start - (int(self._line_ends[number]) - len(line) + 1)  # already in the previous block
            part = line[skipped : min(len(line) - 1, skipped + missing)]
            parts.append(part)
            start, missing, number = start + len(part), missing - len(part), number + 1
        return torch.cat([*parts, line[-1:]])


def _documents(tokens: Integers, by_line: bool) -> tuple[Integers, Integers]:
    """First and last line of every document, from the number of tokens in every line."""
    empty = tokens == 0
    if by_line:
        if empty.any():
            raise ValueError(
                f"line {empty.argmax() + 1} is empty, but --sample-break-mode eos makes every line a document; with "
                f"complete_doc empty lines end documents"
            )
        return np.arange(len(tokens)), np.arange(len(tokens))
    after_empty = np.concatenate([[True], empty[:-1]])
    if (empty & after_empty).any():
        line = (empty & after_empty).argmax() + 1
        raise ValueError(
            f"line {line} ends an empty document; with --sample-break-mode complete_doc one empty line ends a document"
        )
    before_empty = np.concatenate([empty[1:], [True]])
    return (~empty & after_empty).nonzero()[0], (~empty & before_empty).nonzero()[0]


def _counting(pieces: Integers) -> Integers:
    """Count the pieces of every document from 0: 2, 3 gives 0 1 0 1 2."""
    return np.arange(pieces.sum()) - np.repeat(pieces.cumsum() - pieces, pieces)
