"""From a string of symbols back to text."""

from typing import Protocol

from .raw_texts import RawText


class Decodes(Protocol):
    """What joins symbols: a dictionary."""

    def decode(self, text: str) -> str:
        """Join symbols into text."""


class Symbols(str):
    """Symbols with spaces between them, which know whose they are.

    fairseq gives one function the symbols of the target and, for its ``S-`` lines, those of the source.
    """

    dictionary: Decodes

    @classmethod
    def of(cls, text: str, dictionary: Decodes) -> "Symbols":
        """Mark a string.

        Args:
            text: the symbols.
            dictionary: that they are from.

        Returns:
            The same string.
        """
        symbols = cls(text)
        symbols.dictionary = dictionary
        return symbols


class Detokenizer:
    """What fairseq calls the BPE of a task: joins symbols in ``D-``, ``T-`` and ``S-`` lines.

    Args:
        dictionary: the target dictionary, which strings are taken to be of unless they say otherwise.
    """

    def __init__(self, dictionary: Decodes) -> None:
        self._dictionary = dictionary

    def encode(self, text: str) -> str:
        """Leave raw text alone; the source dictionary splits it."""
        return text

    def decode(self, text: str) -> str:
        """Join symbols into text; raw text stays as it is."""
        if isinstance(text, RawText):
            return text
        dictionary = text.dictionary if isinstance(text, Symbols) else self._dictionary
        return dictionary.decode(text)
