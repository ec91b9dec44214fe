"""Subword tokenizers behind one small interface: raw text to symbols and back.

A subword tokenizer has its symbols in id order, the five special symbols, and the *surface form* of every symbol, which
matches embedding rows of different vocabularies.
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
    """A symbol in the text: its characters, and whether it begins a word."""

    text: str
    word_initial: bool


class SubwordTokenizer(ABC):
    """A tokenizer whose symbols are the entries of a fairseq dictionary.

    Attributes:
        symbols: every symbol, in the order of the dictionary's ids.
        suffix: suffix of the tokenizer's file beside ``dict.*.txt``.
    """

    symbols: list[str]
    suffix: str

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Symbol ids of a line of raw text, without [CLS] and [SEP]."""

    @abstractmethod
    def decode(self, symbols: Sequence[str]) -> str:
        """Detokenised text of symbols; the caller leaves out special ones."""

    @abstractmethod
    def surface(self, symbol: str) -> Surface:
        """Surface form of an ordinary (not special) symbol."""

    @abstractmethod
    def word_numbers(self, text: str) -> list[int]:
        """For each symbol of a text, the number of its word; white space separates words."""

    @abstractmethod
    def save(self, path: Path, lines: Iterable[str] | None = None) -> None:
        """Write the tokenizer to a file, and further files beside it.

        Args:
            path: the file, whose name ends in ``suffix``.
            lines: text in which a tokenizer that loses spaces counts them, unless it has counts; None: no text.
        """

    @abstractmethod
    def digest(self) -> str:
        """A sha256 of how text becomes symbols; the symbols themselves are not part of it."""

    def spaces_digest(self) -> str:
        """A sha256 of its counts of spaces; empty if it needs none."""
        return ""


class SentencePiece(SubwordTokenizer):
    """A SentencePiece model; ids are [PAD], [UNK], [CLS], [SEP], [MASK], then the model's ordinary pieces.

    Args:
        path: the ``.model`` file.

    Raises:
        ValueError: if the file is not a SentencePiece model.
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
