"""Numbered parts of a data-bin folder, ``train``, ``train1``, ``train2`` ..., read as one."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TypeVar

from fairseq.data import ConcatDataset
from torch import Tensor

Part = TypeVar("Part")


def load_parts(load: Callable[[str], Part], split: str, combine: bool) -> dict[str, Part]:
    """Open a part, and as fairseq's ``translation`` does those that have its name and a number.

    Args:
        load: opens the part of a name; raises a FileNotFoundError if there is none.
        split: name of the part.
        combine: fairseq's flag: True: open numbered ones, too, from 1 up to the first that does not exist.

    Returns:
        What was opened, by name.

    Raises:
        FileNotFoundError: if ``split`` itself does not exist.
    """
    parts = {split: load(split)}
    try:
        for number in count(1) if combine else ():
            parts[f"{split}{number}"] = load(f"{split}{number}")
    except FileNotFoundError:
        pass  # there is no further one
    return parts


def in_all(kind: str, parts: Mapping[str, Part | None]) -> list[Part] | None:
    """See that parts that are to be read as one all have something, or none of them.

    Args:
        kind: what to call it in the message.
        parts: what each has, by name.

    Returns:
        What they have, in order; None if they have nothing.

    Raises:
        ValueError: naming the parts without it, where others have it.
    """
    found = [part for part in parts.values() if part is not None]
    if found and len(found) < len(parts):
        missing = ", ".join(name for name, part in parts.items() if part is None)
        raise ValueError(f"{', '.join(parts)} are read as one and need {kind} each, but there are none of {missing}")
    return found or None


def joined(parts: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """Put parts one after another.

    Args:
        parts: data sets with ``sizes``; at least one.

    Returns:
        One data set.
    """
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


def taken_apart(name: str, items: Sequence[Tensor]) -> dict[str, Sequence[Tensor]]:
    """Return the parts that ``joined`` put one after another, by name; the first has ``name``, the second a 1 added."""
    parts = items.datasets if isinstance(items, ConcatDataset) else [items]
    return {f"{name}{number or ''}": part for number, part in enumerate(parts)}
