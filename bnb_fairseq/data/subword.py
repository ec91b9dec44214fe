"""Subword tokenizers behind one small interface: raw text to symbols and back.

A subword tokenizer knows its symbols in id order, the five special symbols, and the *surface form* of every symbol,
by which embedding rows of different vocabularies are matched.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sentencepiece
import tokenizers

from .detokenize import join_wordpieces

logger = logging.getLogger(__name__)

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
    def save(self, path: Path) -> None:
        """Write the tokenizer to one file.

        Args:
            path: the file to write.
        """


class WordPiece(SubwordTokenizer):
    """BERT's tokenizer, run by the fast ``tokenizers`` library; ids are BERT's.

    Args:
        tokenizer: a fast tokenizer with BERT's five special symbols.
        origin: where it came from, for messages.

    Raises:
        ValueError: if special symbols are missing or ids have gaps, that is, if it is not a BERT vocabulary.
    """

    suffix = ".wordpiece.json"

    def __init__(self, tokenizer: Any, origin: str) -> None:
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        own = tokenizer.get_vocab(with_added_tokens=False)  # transformers adds what a vocabulary lacks, at new ids
        missing = [symbol for symbol in BERT_SPECIALS if symbol not in own]
        if missing:
            raise ValueError(f"{origin}: not a BERT vocabulary, it has no {', '.join(missing)}")
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError(f"{origin}: the ids of its {len(vocabulary)} symbols are not 0..{len(vocabulary) - 1}")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.symbols = sorted(vocabulary, key=vocabulary.__getitem__)
        self._tokenizer = tokenizer
        self._ready()

    def _ready(self) -> None:
        # "[SEP]" in a user's text is five characters, not the end of the sentence; the library forgets this setting
        # when a tokenizer is pickled or saved.
        self._tokenizer.encode_special_tokens = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ready()

    @classmethod
    def load(cls, path: Path) -> "WordPiece":
        """Read a file that ``save`` wrote; a ValueError if it is damaged."""
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"{path}: not a tokenizer's file, preprocess the data again ({error})") from error
        return cls(tokenizer, str(path))

    def encode(self, text: str) -> list[int]:  # noqa: D102
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, symbols: Sequence[str]) -> str:  # noqa: D102
        return join_wordpieces(symbols)

    def surface(self, symbol: str) -> Surface:  # noqa: D102
        return Surface(symbol[2:], False) if symbol.startswith("##") and len(symbol) > 2 else Surface(symbol, True)

    def normalize(self, text: str) -> str:
        """Apply the vocabulary's own normalisation, lower-casing for an uncased BERT.

        Args:
            text: raw text.

        Returns:
            Normalised text.
        """
        return str(self._tokenizer.normalizer.normalize_str(text)) if self._tokenizer.normalizer else text

    def save(self, path: Path) -> None:  # noqa: D102
        self._tokenizer.save(str(path))


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

    def save(self, path: Path) -> None:  # noqa: D102
        path.write_bytes(self._processor.serialized_model_proto())


def load_wordpiece(origin: str) -> WordPiece:
    """Load the tokenizer of a BERT.

    Args:
        origin: a HuggingFace model name, a local BERT directory, or the ``vocab.txt`` in one.

    Returns:
        Its tokenizer.

    Raises:
        ValueError: if there is no such model or it has no BERT vocabulary.
    """
    from transformers import AutoTokenizer, BertTokenizerFast

    path = Path(origin)
    directory = path.parent if path.name == "vocab.txt" else path
    described = any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    try:
        if directory.is_dir() and not described:
            vocabulary = directory / "vocab.txt"
            if not vocabulary.is_file():
                raise ValueError(f"{origin}: the directory holds neither tokenizer.json nor vocab.txt")
            cased = any(line != line.lower() for line in _words(vocabulary))
            logger.info("%s: taken as %s, judged by its symbols", vocabulary, "cased" if cased else "uncased")
            fast = BertTokenizerFast(str(vocabulary), do_lower_case=not cased)
        else:
            fast = AutoTokenizer.from_pretrained(str(directory) if directory.is_dir() else origin)
    except (OSError, KeyError, ImportError) as error:
        raise ValueError(f"{origin}: neither a BERT directory nor a model name that can be loaded ({error})") from error
    if not hasattr(fast, "backend_tokenizer"):
        raise ValueError(f"{origin}: has no fast tokenizer, but {type(fast).__name__}")
    return WordPiece(fast.backend_tokenizer, origin)


def _words(vocabulary: Path) -> list[str]:
    lines = vocabulary.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not (line.startswith("[") and line.endswith("]"))]


LOADERS = {WordPiece.suffix: WordPiece.load, SentencePiece.suffix: SentencePiece}


def companion(dictionary: Path, suffix: str) -> Path:
    """Name the file in which the tokenizer of ``dict.LANG.txt`` is kept.

    Args:
        dictionary: path of the ``dict.LANG.txt``.
        suffix: the tokenizer's file name suffix.

    Returns:
        The path beside it, ``dict.LANG`` followed by the suffix.
    """
    return dictionary.with_name(dictionary.name.removesuffix(".txt") + suffix)


def remove_companions(dictionary: Path) -> None:
    """Delete tokenizers that an earlier run left beside ``dict.LANG.txt``."""
    for suffix in LOADERS:
        companion(dictionary, suffix).unlink(missing_ok=True)
