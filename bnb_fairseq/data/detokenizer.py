"""From a string of symbols back to text."""

from typing import Protocol

from .raw_texts import RawText


class Decodes(Protocol):
    """A dictionary that joins symbols."""

    def decode(self, text: str) -> str:
        """The text of symbols."""


class Symbols(str):
    """Symbols with spaces between them, and their dictionary.

    fairseq gives one function the symbols of the target and, for its ``S-`` lines, those of the source.
    """

    dictionary: Decodes

    @classmethod
    def of(cls, text: str, dictionary: Decodes) -> "Symbols":
        """The same string, with its dictionary."""
        symbols = cls(text)
        symbols.dictionary = dictionary
        return symbols


class Detokenizer:
    """The BPE of a task in fairseq's terms: joins symbols in ``D-``, ``T-`` and ``S-`` lines.

    Args:
        dictionary: the target dictionary, used for strings other than ``Symbols``.
    """

    def __init__(self, dictionary: Decodes) -> None:
        self._dictionary = dictionary

    def encode(self, text: str) -> str:
        """Raw text as it is; the source dictionary splits it."""
        return text

    def decode(self, text: str) -> str:
        """The text of symbols; raw text as it is."""
        if isinstance(text, RawText):
            return text
        dictionary = text.dictionary if isinstance(text, Symbols) else self._dictionary
        return dictionary.decode(text)
