"""Raw texts beside the ids of a data-bin folder.

Those of the targets of validation and test parts are kept: outputs are scored against them and ``T-`` lines show them,
since ids do not tell unknown words, capitals and spaces that a vocabulary does not have.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

SUFFIX = ".txt"  # behind the path of the binarized targets


class RawText(str):
    """Text that needs no detokenising."""


class Preprocessing(NamedTuple):
    """What goes with a dictionary that is saved, by the dictionary's file name, such as ``dict.de.txt``.

    Attributes:
        parts: paths of the parts that will be written with its ids, without suffix.
        training: the text of the training part.
        references: of the target dictionary the validation and test parts, and where their raw text is to be kept.
    """

    parts: Mapping[str, Sequence[Path]]
    training: Mapping[str, Path]
    references: Mapping[str, Sequence[tuple[Path, Path]]]


class References:
    """The texts of targets that are about to be written as text, by their ids.

    fairseq shows a dictionary the ids of a target, not its number.
    """

    def __init__(self) -> None:
        self._texts: dict[tuple[int, ...], deque[str]] = {}

    def expect(self, targets: Iterable[Tensor], texts: Sequence[str], pad: int) -> None:
        """Note the texts of a batch, in place of those of the batch before.

        Args:
            targets: B x T ids.
            texts: B texts.
            pad: id of padding.
        """
        self._texts = {}
        for target, text in zip(targets, texts, strict=True):
            self._texts.setdefault(tuple(target[target != pad].tolist()), deque()).append(text)

    def take(self, target: Sequence[int]) -> str | None:
        """Return the text of a target, of equal ones the next; None if there is none."""
        texts = self._texts.get(tuple(target))
        return texts.popleft() if texts else None


def load_references(path: Path, sentences: int) -> list[str] | None:
    """Read the raw texts of a part of a data-bin folder.

    Args:
        path: the binarized targets, without suffix.
        sentences: how many there must be.

    Returns:
        The texts; None where the folder has none.

    Raises:
        ValueError: if there are more or fewer.
    """
    file = path.with_name(path.name + SUFFIX)
    if not file.is_file():
        return None
    with file.open(encoding="utf-8") as lines:
        texts = [line.strip() for line in lines]
    if len(texts) != sentences:
        raise ValueError(f"{file} must have {sentences:,} lines, one for each target, but has {len(texts):,}")
    return texts
