"""Digests of dictionaries, by which a checkpoint and a data-bin folder are compared."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)


class DictionaryDigest(NamedTuple):
    """Hashes of a dictionary.

    Attributes:
        size: number of its symbols.
        sha256: of the symbols, in order.
        tokenizer: sha256 of how text becomes symbols; empty without a tokenizer, None in older checkpoints.
        spaces: sha256 of its counts of spaces; empty without any, None in older checkpoints.
        origin: file that it was read from, empty if unknown; comparisons ignore it.
    """

    size: int
    sha256: str
    tokenizer: str | None = None
    spaces: str | None = None
    origin: str = ""

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "DictionaryDigest":
        """The digest in a checkpoint."""
        return cls(**{name: state[name] for name in cls._fields if name in state})

    def state(self) -> dict[str, Any]:
        """The digest for a checkpoint."""
        return dict(self._asdict())

    def __str__(self) -> str:
        hashes = [f"sha256 {self.sha256[:12]}"]
        hashes += [
            f"{name} {value[:12]}" for name, value in (("tokenizer", self.tokenizer), ("spaces", self.spaces)) if value
        ]
        return f"{self.origin or 'of unknown origin'} ({self.size:,} symbols, {', '.join(hashes)})"

    def differences(self, other: "DictionaryDigest") -> list[str]:
        """Differences between two dictionaries, if known to both: symbols, tokenizer, spaces."""
        found = [] if self[:2] == other[:2] else ["symbols"]
        for name in ("tokenizer", "spaces"):
            mine, its = getattr(self, name), getattr(other, name)
            if None not in (mine, its) and mine != its:
                found.append(name)
        return found


DIFFERENCES = {
    "symbols": "their symbols differ",
    "tokenizer": "their tokenizers split text differently, for example after lower-casing it",
    "spaces": "they put different spaces between words",
}


def check_same_dictionary(
    side: str, found: DictionaryDigest, trained: DictionaryDigest, text_may_differ: bool = False
) -> None:
    """Compare a dictionary with the one that a checkpoint was trained with.

    Args:
        side: ``source``, ``target`` or another name of the dictionary.
        found: of the data.
        trained: of the checkpoint.
        text_may_differ: only warn of different spaces between words, which change no id.

    Raises:
        ValueError: if they differ, naming the origin of both.
    """
    differences = found.differences(trained)
    reasons = " and ".join(DIFFERENCES[name] for name in differences)
    if differences == ["spaces"] and text_may_differ:
        logger.warning("the %s dictionaries of data and checkpoint differ: %s: %s; %s", side, reasons, found, trained)
    elif differences:
        raise ValueError(
            f"the {side} dictionary of the data, {found}, is not the one that the checkpoint was trained with, "
            f"{trained}: {reasons}; preprocess the data with --srcdict and --tgtdict from the training data-bin"
        )
    elif trained.tokenizer is None and found.tokenizer:
        logger.warning(
            "the checkpoint does not record its tokenizers: its %s symbols match %s, but its tokenizer may have split "
            "text differently",
            *(side, found.origin or "the data"),
        )
