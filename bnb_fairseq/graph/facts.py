"""Metadata in a graph's file."""

from collections.abc import Mapping
from typing import NamedTuple

FORMAT = "2"  # of inputs, outputs, facts and int8 matrices; a reader refuses another
PREFIX = "bnb_fairseq."
CANDIDATES = "candidates"  # input of a graph with a shortlist
CANVAS_TOKENS = "canvas_tokens"  # input of a decoder


class Facts(NamedTuple):
    """Facts that decoding needs.

    Attributes:
        longest: the longest source, in tokens.
        symbols: V, of the output.
        blank: id of the symbol that stands for no text.
        has_alignments: the canvas is CTC's.
    """

    longest: int
    symbols: int
    blank: int
    has_alignments: bool

    def write(self) -> dict[str, str]:
        """The facts as text, by their names in the file."""
        values = {name: str(int(value)) for name, value in self._asdict().items()}
        return {f"{PREFIX}{name}": value for name, value in {"format": FORMAT, **values}.items()}

    @classmethod
    def read(cls, found: Mapping[str, str], origin: str) -> "Facts":
        """The inverse of ``write``; a ValueError, which begins with the origin, if it is something else."""
        version = found.get(f"{PREFIX}format")
        if version != FORMAT:
            raise ValueError(f"{origin}: format must be {FORMAT}, but is {version!r}; bnb-export writes such graphs")
        try:
            values = [int(found[f"{PREFIX}{name}"]) for name in cls._fields]
        except (KeyError, ValueError) as error:
            raise ValueError(f"{origin}: must say what it decodes, but has no number for {error}") from error
        longest, symbols, blank, has_alignments = values
        return cls(longest, symbols, blank, bool(has_alignments))
