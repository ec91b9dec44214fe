"""``shortlist.npz`` of a model folder: the target symbols that each source token may need; no others are scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ("offsets", "symbols", "common")
Integers = NDArray[np.int64]


class Shortlist:
    """Target symbols by source token.

    Args:
        offsets: S + 1, where the symbols of each source token begin in ``symbols``, and where the last ones end.
        symbols: ids.
        common: ids that every sentence may need.

    Raises:
        ValueError: if the offsets do not divide the symbols, or an id is negative.
    """

    def __init__(self, offsets: Integers, symbols: Integers, common: Integers) -> None:
        ordered = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(symbols) and (np.diff(offsets) >= 0).all()
        if not ordered or min(symbols.min(initial=0), common.min(initial=0)) < 0:
            raise ValueError("offsets must rise from 0 to the number of symbols, and ids must not be negative")
        self.offsets, self.symbols, self.common = offsets, symbols, common

    @property
    def largest(self) -> int:
        """The largest id; -1 if there is none."""
        return int(max(self.symbols.max(initial=-1), self.common.max(initial=-1)))

    def candidates(self, sources: Sequence[Sequence[int]], total: int, also: Sequence[int]) -> Integers:
        """Collect the symbols that a batch may need.

        Args:
            sources: ids of each source.
            total: V, symbols of the output.
            also: ids that must be among them.

        Returns:
            The ids, in order.
        """
        needed = np.zeros(total, np.bool_)
        needed[self.common] = True
        needed[list(also)] = True
        for token in {token for source in sources for token in source}:
            needed[self.symbols[self.offsets[token] : self.offsets[token + 1]]] = True
        return np.flatnonzero(needed)

    def save(self, path: Path) -> None:
        """Write the file."""
        arrays = {name: getattr(self, name).astype(np.int32) for name in NAMES}
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path, source_symbols: int, symbols: int) -> "Shortlist":
        """Read the file.

        Args:
            path: the file.
            source_symbols: S, of the source vocabulary.
            symbols: V, of the output.

        Returns:
            The shortlist.

        Raises:
            ValueError: if it is damaged, or made for other vocabularies.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found: list[Any] = [file[name] for name in NAMES]
            if any((each.dtype, each.ndim) != (np.int32, 1) for each in found):
                raise ValueError(f"{', '.join(NAMES)} must be int32, in one dimension")
            shortlist = cls(*(each.astype(np.int64) for each in found))
        except Exception as error:  # zipfile, zlib and numpy have many for a damaged or absurd file
            raise ValueError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
        sizes = len(shortlist.offsets) - 1, shortlist.largest
        if sizes[0] != source_symbols or sizes[1] >= symbols:
            raise ValueError(
                f"{path}: must be made for {source_symbols:,} source tokens and {symbols:,} symbols, but is for "
                f"{sizes[0]:,} and has symbol {sizes[1]:,}"
            )
        return shortlist
