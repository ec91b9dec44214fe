"""The formats in which fairseq stores a data-bin folder's items: which of them work here, and opening them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import data_utils, indexed_dataset
from torch import Tensor

from .dictionary import BnbDictionary

FORMATS = ("mmap", "cached", "lazy")
INDEXED = ("cached", "lazy")  # two ways of reading one format


class NoItems(Sequence[Tensor]):
    """A part without items, which fairseq's own data sets cannot open.

    Attributes:
        sizes: none, int64.
        supports_prefetch: True, so that parts beside it in a ``ConcatDataset`` are read ahead.
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
    """Check ``--dataset-impl``.

    Args:
        name: its value; None: the format is found out.

    Raises:
        ValueError: if the format does not work here.
    """
    if name is not None and str(name) not in FORMATS:
        raise ValueError(f"--dataset-impl must be one of {', '.join(FORMATS)}, but is {name}")


def open_items(prefix: str, dictionary: BnbDictionary, name: str | None = None) -> Sequence[Tensor] | None:
    """Open stored items.

    Args:
        prefix: their path, without suffix.
        dictionary: their dictionary.
        name: ``--dataset-impl``; None: the format is found out.

    Returns:
        The items; None where the path has none.

    Raises:
        ValueError: if the format does not work here, or the items are stored in another one.
    """
    name = None if str(name).startswith("${") else name  # the task's options belong to no command
    check_format(name)
    if not indexed_dataset.IndexedDataset.exists(prefix):
        return None
    stored = indexed_dataset.infer_dataset_impl(prefix)
    if name is not None and (stored in INDEXED) != (str(name) in INDEXED):
        raise ValueError(f"--dataset-impl must be {stored}, the format of {prefix}, or be left out, but is {name}")
    if Path(indexed_dataset.data_file_path(prefix)).stat().st_size == 0:
        return NoItems()
    items: Sequence[Tensor] = data_utils.load_indexed_dataset(prefix, dictionary, name)
    if isinstance(items, indexed_dataset.IndexedCachedDataset):
        items.prefetch(range(len(items)))  # fairseq's trainer reads a first batch before it would read ahead
    return items
