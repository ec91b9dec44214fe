"""The vocabulary of one side of a model folder: raw text to ids and back, by the folder's tokenizer."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from ..checkpoints.files import require_file
from ..data.spaces import Spaces
from ..data.subword import BERT_SPECIALS, SentencePiece, Specials, SubwordTokenizer, Surface
from ..data.wordpiece import WordPiece, read_tokenizer

SEGMENT_BREAK = "\t"  # between the segments of a line, if the task has two
WORDPIECE, SENTENCEPIECE, PLAIN = "tokenizer.json", "sentencepiece.model", "dict.txt"
SPACES = "spaces.tsv"
PLAIN_SPECIALS = Specials(bos="<s>", pad="<pad>", eos="</s>", unk="<unk>", mask="<mask>")


class Vocabulary(ABC):
    """Symbols with the ids of the data-bin folder's dictionary, and the splitting of text into them.

    Args:
        symbols: in the order of their ids, including the special ones.
        specials: the special symbols.

    Attributes:
        symbols: the symbol of every id.
    """

    def __init__(self, symbols: Sequence[str], specials: Specials) -> None:
        self.symbols = list(symbols)
        self._specials = specials
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        self._bos, self._pad, self._eos, self._unk, self._mask = (self._ids[symbol] for symbol in specials)
        self._silent = {self._bos, self._pad, self._eos, self._mask}

    def __len__(self) -> int:
        return len(self.symbols)

    def bos(self) -> int:
        """Id of [CLS]."""
        return self._bos

    def pad(self) -> int:
        """Id of [PAD]."""
        return self._pad

    def eos(self) -> int:
        """Id of [SEP]."""
        return self._eos

    def unk(self) -> int:
        """Id of [UNK]."""
        return self._unk

    def mask(self) -> int:
        """Id of [MASK]."""
        return self._mask

    def specials(self) -> Specials:
        """The special symbols as text."""
        return self._specials

    def encode(self, line: str, has_segments: bool = False) -> list[int]:
        """Ids of a raw line: [CLS], then each segment and [SEP]; tabs separate segments if ``has_segments``."""
        segments = line.split(SEGMENT_BREAK) if has_segments else [line]
        return [self._bos, *(i for segment in segments for i in (*self.split(segment.strip()), self._eos))]

    def text(self, tokens: Sequence[int]) -> str:
        """Detokenised text of ids, without special symbols."""
        return self.join([self.symbols[token] for token in tokens if token not in self._silent])

    def source_words(self, line: str, has_segments: bool = False) -> list[int | None]:
        """For each id of ``encode`` the number of its word in the line; None for special symbols."""
        numbers: list[int | None] = [None]
        before = 0
        for segment in line.split(SEGMENT_BREAK) if has_segments else [line]:
            numbers += [before + number for number in self.word_numbers(segment.strip())]
            numbers.append(None)
            before += len(segment.split())
        return numbers

    def target_words(self, tokens: Sequence[int]) -> list[int]:
        """Return, for each id of a text, in which word of the detokenised text its last character lies."""
        ends = list(accumulate(map(len, self.text(tokens).split())))  # characters up to the end of each word
        counts = [sum(map(len, self.text(tokens[: i + 1]).split())) for i in range(len(tokens))]
        return [max(min(bisect_left(ends, count), len(ends) - 1), 0) for count in counts]

    @abstractmethod
    def split(self, text: str) -> list[int]:
        """Ids of raw text, without special symbols."""

    @abstractmethod
    def join(self, symbols: Sequence[str]) -> str:
        """Text of symbols; the caller leaves out special ones."""

    @abstractmethod
    def surface(self, symbol: str) -> Surface:
        """Characters of an ordinary symbol, and whether it begins a word."""

    @abstractmethod
    def word_numbers(self, text: str) -> list[int]:
        """For each id of ``split`` the number of its word in the text; white space separates words."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the tokenizer's standard file and those beside it into a folder."""


class SubwordVocabulary(Vocabulary):
    """WordPiece or SentencePiece.

    Args:
        tokenizer: the tokenizer; its order of symbols gives the ids.
    """

    def __init__(self, tokenizer: SubwordTokenizer) -> None:
        super().__init__(tokenizer.symbols, BERT_SPECIALS)
        self.tokenizer = tokenizer

    def split(self, text: str) -> list[int]:  # noqa: D102
        return self.tokenizer.encode(text)

    def join(self, symbols: Sequence[str]) -> str:  # noqa: D102
        return self.tokenizer.decode(symbols) if symbols else ""

    def surface(self, symbol: str) -> Surface:  # noqa: D102
        return self.tokenizer.surface(symbol)

    def word_numbers(self, text: str) -> list[int]:  # noqa: D102
        return self.tokenizer.word_numbers(text)

    def save(self, folder: Path) -> None:  # noqa: D102
        if isinstance(self.tokenizer, WordPiece):
            (folder / WORDPIECE).write_text(self.tokenizer.json(), encoding="utf-8")
            self.tokenizer.spaces.save(folder / SPACES)
        else:
            self.tokenizer.save(folder / SENTENCEPIECE)


class PlainVocabulary(Vocabulary):
    """Words of text that comes split at spaces.

    Args:
        symbols: in the order of their ids, including the special ones.
        specials: the special symbols.
    """

    def split(self, text: str) -> list[int]:  # noqa: D102
        return [self._ids.get(word, self._unk) for word in text.split()]

    def join(self, symbols: Sequence[str]) -> str:  # noqa: D102
        return " ".join(symbols)

    def surface(self, symbol: str) -> Surface:  # noqa: D102
        return Surface(symbol, True)

    def word_numbers(self, text: str) -> list[int]:  # noqa: D102
        return list(range(len(text.split())))

    def save(self, folder: Path) -> None:  # noqa: D102
        (folder / PLAIN).write_text("".join(f"{symbol}\n" for symbol in self.symbols), encoding="utf-8", newline="\n")


def load_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary in ``source`` or ``target`` of a model folder; a ValueError if a file is missing or damaged."""
    try:
        return _load(folder)
    except UnicodeDecodeError as error:
        raise ValueError(f"{folder}: its files must be UTF-8, but one is not ({error})") from error


def _load(folder: Path) -> Vocabulary:
    if (folder / WORDPIECE).is_file():
        tokenizer = WordPiece(read_tokenizer(folder / WORDPIECE), str(folder / WORDPIECE))
        tokenizer.spaces, tokenizer.has_own_spaces = Spaces.load(require_file(folder / SPACES)), True
        return SubwordVocabulary(tokenizer)
    if (folder / SENTENCEPIECE).is_file():
        return SubwordVocabulary(SentencePiece(require_file(folder / SENTENCEPIECE)))
    path = require_file(folder / PLAIN)
    symbols = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    missing = sorted(set(PLAIN_SPECIALS) - set(symbols))
    if missing or len(set(symbols)) != len(symbols):
        fault = f"lacks {', '.join(missing)}" if missing else "has a symbol twice"
        raise ValueError(f"{path}: must have each symbol once, and the special ones, but {fault}")
    return PlainVocabulary(symbols, PLAIN_SPECIALS)
