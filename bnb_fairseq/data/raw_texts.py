"""Raw texts beside the ids of a data-bin folder.

Targets of validation and test parts keep their raw text, for scores and ``T-`` lines: ids lose unknown words, and
capitals and spaces that the vocabulary lacks.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

SUFFIX = ".txt"  # appended to the path of the binarized targets


class RawText(str):
    """Text that needs no detokenising."""


class Preprocessing(NamedTuple):
    """Files to write beside dictionaries, by a dictionary's file name, such as ``dict.de.txt``.

    Attributes:
        parts: paths of the parts with its ids, without suffix.
        training: the text of the training part.
        references: for the target dictionary, the texts of validation and test parts, and the paths to keep them at.
    """

    parts: Mapping[str, Sequence[Path]]
    training: Mapping[str, Path]
    references: Mapping[str, Sequence[tuple[Path, Path]]]


class References:
    """Raw texts of a batch's targets, found by ids: fairseq gives a dictionary a target's ids, not its number."""

    def __init__(self) -> None:
        self._texts: dict[tuple[int, ...], deque[str]] = {}

    def expect(self, targets: Iterable[Tensor], texts: Sequence[str], pad: int) -> None:
        """Replace the texts by those of a batch: targets B x T ids, B texts."""
        self._texts = {}
        for target, text in zip(targets, texts, strict=True):
            self._texts.setdefault(tuple(target[target != pad].tolist()), deque()).append(text)

    def take(self, target: Sequence[int]) -> str | None:
        """The text of a target, of equal ones the next; None if there is none."""
        texts = self._texts.get(tuple(target))
        return texts.popleft() if texts else None


def load_references(path: Path, sentences: int) -> list[str] | None:
    """Raw texts of a part of a data-bin folder, by the path of its targets without suffix; None if there are none.

    Raises a ValueError unless there are as many as ``sentences``.
    """
    file = path.with_name(path.name + SUFFIX)
    if not file.is_file():
        return None
    with file.open(encoding="utf-8") as lines:
        texts = [line.strip() for line in lines]
    if len(texts) != sentences:
        raise ValueError(f"{file} must have {sentences:,} lines, one for each target, but has {len(texts):,}")
    return texts
