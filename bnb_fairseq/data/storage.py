"""Storage formats of a data-bin folder's items: which of fairseq's are supported, and opening them."""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import data_utils, indexed_dataset
from torch import Tensor

from .dictionary import BnbDictionary
from .part_dictionary import SUFFIX, check_part

FORMATS = ("mmap", "cached", "lazy")
INDEXED = ("cached", "lazy")  # two ways of reading one format
MAPPED_HEADER, INDEXED_HEADER = struct.Struct("<9sQBQ"), struct.Struct("<8s5Q")  # at the start of fairseq's index files


class NoItems(Sequence[Tensor]):
    """A part without items, which fairseq's own data sets cannot open.

    Attributes:
        sizes: none, int64.
        supports_prefetch: True, so that other parts in a ``ConcatDataset`` are read ahead.
    """

    supports_prefetch = True

    def __init__(self) -> None:
        self.sizes = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: Any) -> Any:
        raise IndexError(f"there is no item {index} in an empty part")

    def prefetch(self, indices: Sequence[int]) -> None:
        """Read items ahead."""


def check_format(name: str | None) -> None:
    """Check the value of ``--dataset-impl`` (None: inferred); a ValueError names the supported formats."""
    if name is not None and str(name) not in FORMATS:
        raise ValueError(f"--dataset-impl must be one of {', '.join(FORMATS)}, but is {name}")


def open_items(prefix: str, dictionary: BnbDictionary, name: str | None = None) -> Sequence[Tensor] | None:
    """Open stored items.

    Args:
        prefix: their path, without suffix.
        dictionary: their dictionary.
        name: ``--dataset-impl``; None: inferred from the files.

    Returns:
        The items; None if there are none at the path.

    Raises:
        ValueError: if the format is not supported or is not the items', or they are not whole or have another
            dictionary.
    """
    name = None if str(name).startswith("${") else name  # an interpolation stays if no command owns the task's options
    check_format(name)
    if not indexed_dataset.IndexedDataset.exists(prefix):
        if left := [path for suffix in (".bin", ".idx", SUFFIX) if (path := Path(prefix + suffix)).exists()]:
            raise ValueError(f"{prefix} must have .bin and .idx, but has only {left[0].name}; preprocess it again")
        return None
    check_part(prefix, dictionary.digest)
    stored = indexed_dataset.infer_dataset_impl(prefix)
    if stored not in FORMATS:
        raise ValueError(f"{prefix}.idx must be an index of fairseq-preprocess, but is none; preprocess it again")
    if name is not None and (stored in INDEXED) != (str(name) in INDEXED):
        raise ValueError(f"--dataset-impl must be {stored}, the format of {prefix}, or be left out, but is {name}")
    if _check_whole(prefix, mapped=stored not in INDEXED) == 0:
        return NoItems()
    items: Sequence[Tensor] = data_utils.load_indexed_dataset(prefix, dictionary, name)
    if isinstance(items, indexed_dataset.IndexedCachedDataset):
        items.prefetch(range(len(items)))  # fairseq's trainer reads a first batch before it prefetches
    return items


def _check_whole(prefix: str, mapped: bool) -> int:
    """Check that index and items are as long as the index says; returns the number of bytes of the items."""
    index, data = (Path(f"{prefix}{suffix}") for suffix in (".idx", ".bin"))
    form = MAPPED_HEADER if mapped else INDEXED_HEADER
    length, needed = index.stat().st_size, form.size
    if length >= needed:
        with index.open("rb") as file:
            _, _, kind, *counts = form.unpack(file.read(form.size))
            if kind not in indexed_dataset._code_to_dtype:
                raise ValueError(f"{index} must name a type of numbers, but is damaged; preprocess it again")
            needed += 12 * counts[0] if mapped else 8 * (2 * (counts[1] + 1) + counts[2])
            if length == needed and mapped:
                width = indexed_dataset._code_to_dtype[kind]().itemsize
                expected = width * int(np.fromfile(file, np.int32, counts[0]).sum(dtype=np.int64))
            elif length == needed:
                file.seek(8 * (2 * counts[1] + 1), os.SEEK_CUR)
                expected = counts[0] * int(np.fromfile(file, np.int64, 1)[0])
    if length != needed:
        raise ValueError(f"{index} must have {needed:,} bytes, but has {length:,}; preprocess it again")
    if (found := data.stat().st_size) != expected:
        raise ValueError(f"{data} must have {expected:,} bytes, but has {found:,}; preprocess it again")
    return expected
