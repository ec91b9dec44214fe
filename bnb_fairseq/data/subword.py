"""Subword tokenizers behind one small interface: raw text to symbols and back.

A subword tokenizer knows its symbols in id order, the five special symbols, and the *surface form* of every symbol,
by which embedding rows of different vocabularies are matched.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import sentencepiece

WORD_START = "\u2581"  # SentencePiece's mark of a word-initial piece


class Specials(NamedTuple):
    """The special symbols of a vocabulary, as text."""

    bos: str
    pad: str
    eos: str
    unk: str
    mask: str


BERT_SPECIALS = Specials(bos="[CLS]", pad="[PAD]", eos="[SEP]", unk="[UNK]", mask="[MASK]")


class Surface(NamedTuple):
    """What a symbol stands for in the text: its characters, and whether it begins a word."""

    text: str
    word_initial: bool


class SubwordTokenizer(ABC):
    """A tokenizer whose symbols are the entries of a fairseq dictionary.

    Attributes:
        symbols: every symbol, in the order of the dictionary's ids.
        suffix: file name suffix under which the tokenizer is kept beside ``dict.*.txt``.
    """

    symbols: list[str]
    suffix: str

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Split raw text into symbol ids, without [CLS] and [SEP].

        Args:
            text: one line of raw text.

        Returns:
            Ids into ``symbols``.
        """

    @abstractmethod
    def decode(self, symbols: Sequence[str]) -> str:
        """Join symbols into text.

        Args:
            symbols: symbols, special ones left out.

        Returns:
            Detokenised text.
        """

    @abstractmethod
    def surface(self, symbol: str) -> Surface:
        """Tell what a symbol stands for.

        Args:
            symbol: an ordinary (not special) symbol.

        Returns:
            Its characters and whether it begins a word.
        """

    @abstractmethod
    def word_numbers(self, text: str) -> list[int]:
        """Return, for each of the symbols of a text, in which of its words it lies; white space separates words."""

    @abstractmethod
    def save(self, path: Path, lines: Iterable[str] | None = None) -> None:
        """Write the tokenizer to a file, and what goes with it beside it.

        Args:
            path: the file, whose name ends in ``suffix``.
            lines: text in which a tokenizer that forgets spaces counts them, unless it has; None: there is none.
        """

    @abstractmethod
    def digest(self) -> str:
        """Return a sha256 of how text becomes symbols, beside the symbols themselves."""

    def spaces_digest(self) -> str:
        """Return a sha256 of its counts of spaces; empty if it needs none."""
        return ""


class SentencePiece(SubwordTokenizer):
    """A SentencePiece model; ids are [PAD], [UNK], [CLS], [SEP], [MASK], then the model's ordinary pieces.

    Args:
        path: the ``.model`` file.

    Raises:
        ValueError: if the file is no SentencePiece model.
    """

    suffix = ".sentencepiece.model"

    def __init__(self, path: Path) -> None:
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(path.read_bytes())
        except RuntimeError as error:
            raise ValueError(f"{path}: not a SentencePiece model ({error})") from error
        processor = self._processor
        ordinary = [
            i for i in range(processor.GetPieceSize()) if not (processor.IsControl(i) or processor.IsUnknown(i))
        ]
        specials = [BERT_SPECIALS.pad, BERT_SPECIALS.unk, BERT_SPECIALS.bos, BERT_SPECIALS.eos, BERT_SPECIALS.mask]
        pieces = [processor.IdToPiece(i) for i in ordinary]
        if clash := sorted(set(pieces) & set(specials)):
            raise ValueError(f"{path}: pieces {clash} are reserved for special symbols")
        self.symbols = specials + pieces
        self._ids = {piece_id: len(specials) + i for i, piece_id in enumerate(ordinary)}
        self._unk = specials.index(BERT_SPECIALS.unk)

    def encode(self, text: str) -> list[int]:  # noqa: D102
        return [self._ids.get(i, self._unk) for i in self._processor.EncodeAsIds(text)]

    def decode(self, symbols: Sequence[str]) -> str:  # noqa: D102
        return str(self._processor.DecodePieces(list(symbols)))

    def surface(self, symbol: str) -> Surface:  # noqa: D102
        return Surface(symbol.removeprefix(WORD_START), symbol.startswith(WORD_START))

    def word_numbers(self, text: str) -> list[int]:  # noqa: D102
        starts = [piece.startswith(WORD_START) for piece in self._processor.EncodeAsPieces(text)]
        numbers = [number - 1 for number in accumulate(starts)]
        return [min(max(number, 0), max(len(text.split()) - 1, 0)) for number in numbers]

    def save(self, path: Path, lines: Iterable[str] | None = None) -> None:  # noqa: D102
        path.write_bytes(self._processor.serialized_model_proto())

    def digest(self) -> str:  # noqa: D102
        return hashlib.sha256(self._processor.serialized_model_proto()).hexdigest()
