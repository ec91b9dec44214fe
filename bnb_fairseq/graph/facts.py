"""A graph's file: inputs and outputs by name, and metadata."""

from collections.abc import Mapping
from typing import NamedTuple

FORMAT = "2"  # of inputs, outputs, facts and int8 matrices; a reader refuses another
PREFIX = "bnb_fairseq."
SOURCE, ASKED, SYMBOLS = ("src_tokens", "src_lengths"), "asked", "k"
CANDIDATES = "candidates"  # input of a graph with a shortlist
CANVAS_TOKENS = "canvas_tokens"  # input of a decoder
ENCODED, LENGTHS = ("states", "padding", "content", "canvas_padding"), "lengths"  # of the canvases
DECODED = ("symbols", "scores", "blank_scores", "asked_scores")
OUTPUTS = (*DECODED[:3], LENGTHS, DECODED[3])  # of one pass
# Inputs and outputs that are no int64
TYPES = {
    **dict.fromkeys(("states", "content", "scores", "blank_scores", "asked_scores"), "float"),
    **dict.fromkeys(("padding", "canvas_padding"), "bool"),
}


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
    def read(cls, found: Mapping[str, str], origin: str, words: int) -> "Facts":
        """The inverse of ``write``.

        Args:
            found: metadata of the file.
            origin: start of messages.
            words: size of the target vocabulary.

        Returns:
            The facts.

        Raises:
            ValueError: if they are missing, or those of another vocabulary.
        """
        version = found.get(f"{PREFIX}format")
        if version != FORMAT:
            raise ValueError(f"{origin}: format must be {FORMAT}, but is {version!r}; bnb-export writes such graphs")
        try:
            values = [int(found[f"{PREFIX}{name}"]) for name in cls._fields]
        except (KeyError, ValueError) as error:
            raise ValueError(f"{origin}: must say what it decodes, but has no number for {error}") from error
        longest, symbols, blank, has_alignments = values
        if not 0 <= blank <= words or symbols != max(words, blank + 1):
            raise ValueError(
                f"{origin}: must be made for a target vocabulary of {words:,} symbols, but scores {symbols:,}, with "
                f"symbol {blank:,} as the blank"
            )
        return cls(longest, symbols, blank, bool(has_alignments))
