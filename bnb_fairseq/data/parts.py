"""Numbered parts of a data-bin folder, ``train``, ``train1``, ``train2`` ..., read as one."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TypeVar

from fairseq.data import ConcatDataset
from torch import Tensor

Part = TypeVar("Part")


def load_parts(load: Callable[[str], Part], split: str, combine: bool) -> dict[str, Part]:
    """Open a part, and like fairseq's ``translation`` those with its name and a number.

    Args:
        load: opens the part of a name; raises a FileNotFoundError if there is none.
        split: name of the part.
        combine: fairseq's flag: also open numbered parts, from 1 up to the first that does not exist.

    Returns:
        The parts by name.

    Raises:
        FileNotFoundError: if ``split`` itself does not exist.
    """
    parts = {split: load(split)}
    try:
        for number in count(1) if combine else ():
            parts[f"{split}{number}"] = load(f"{split}{number}")
    except FileNotFoundError:
        pass  # the last part
    return parts


def in_all(kind: str, parts: Mapping[str, Part | None]) -> list[Part] | None:
    """Content of parts that are read as one, in order; None if no part has it.

    Args:
        kind: name of the content in messages.
        parts: content of each part by name; None: it has none.

    Returns:
        The content, or None.

    Raises:
        ValueError: naming the parts without it, if others have it.
    """
    found = [part for part in parts.values() if part is not None]
    if found and len(found) < len(parts):
        missing = ", ".join(name for name, part in parts.items() if part is None)
        raise ValueError(f"{', '.join(parts)} are read as one and must all have {kind}; missing in {missing}")
    return found or None


def joined(parts: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """One data set of at least one part, each with ``sizes``."""
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


def taken_apart(name: str, items: Sequence[Tensor]) -> dict[str, Sequence[Tensor]]:
    """The parts of ``joined`` by name: the first has ``name``, the second a 1 appended."""
    parts = items.datasets if isinstance(items, ConcatDataset) else [items]
    return {f"{name}{number or ''}": part for number, part in enumerate(parts)}
