"""Dictionaries of fairseq that take raw text: WordPiece with BERT's ids, SentencePiece, and plain ``dict.txt``."""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.data.data_utils import post_process
from fairseq.tokenizer import tokenize_line
from torch import Tensor

from .bert_tokenizer import load_wordpiece
from .detokenizer import Symbols
from .digest import DictionaryDigest
from .part_dictionary import begin_parts
from .raw_texts import Preprocessing, RawText, References
from .subword import BERT_SPECIALS, SentencePiece, Specials, SubwordTokenizer, Surface
from .wordpiece import WordPiece

logger = logging.getLogger(__name__)

PLAIN_MASK = "<mask>"
SEGMENT_BREAK = "\t"  # separates the segments of a line, if a dictionary reads segments
COUNTED_LINES = 100_000  # of the training text, to count spaces in: at most half a minute
LOADERS = {WordPiece.suffix: WordPiece.load, SentencePiece.suffix: SentencePiece}


class BnbDictionary(Dictionary):
    """A plain fairseq dictionary, for text split at spaces, with a mask symbol at the end.

    Attributes:
        reads_segments: True: a tab in a line ends a segment and becomes [SEP]; False: it is white space. The task sets
            this; it is not saved.
        takes_raw_text: True: its own tokenizer splits text and joins it again; False: text comes split.
        origin: file or name that it was loaded from, for messages; empty if it was counted.
        preprocessing: files to write beside the dictionary; None unless a data-bin folder is being made.
        references: raw texts that replace targets.
    """

    mask_index: int
    reads_segments = False
    takes_raw_text = False
    origin = ""
    preprocessing: Preprocessing | None = None
    references: References

    def __init__(self) -> None:
        super().__init__()
        self.mask_word = PLAIN_MASK
        self.references = References()

    @classmethod
    def load_plain(cls, path: Path) -> "BnbDictionary":
        """Read a fairseq ``dict.txt``, one ``symbol count`` a line; the mask symbol follows fairseq's ids."""
        dictionary = cls()
        dictionary.add_from_file(str(path))
        dictionary.add_mask()
        return dictionary

    @classmethod
    def of_counts(cls, counted: Dictionary) -> "BnbDictionary":
        """The symbols that fairseq counted in a text, and the mask symbol."""
        dictionary = cls()
        dictionary.update(counted)
        dictionary.add_mask()
        return dictionary

    def add_mask(self) -> None:
        """Append the mask symbol unless the dictionary has it."""
        if self.mask_word not in self:
            self.add_symbol(self.mask_word, n=0)
        self.mask_index = self.index(self.mask_word)

    def mask(self) -> int:
        """Id of the mask symbol."""
        return self.mask_index

    def specials(self) -> Specials:
        """The special symbols as text."""
        return Specials(self.bos_word, self.pad_word, self.eos_word, self.unk_word, self.mask_word)

    def surface(self, symbol: str) -> Surface:
        """Surface form of an ordinary symbol; in a plain dictionary every symbol is a word."""
        return Surface(symbol, True)

    def encode_line(
        self,
        line: str,
        line_tokenizer: Callable[[str], list[str]] = tokenize_line,
        add_if_not_exist: bool = True,
        consumer: Callable[[str, int], Any] | None = None,
        append_eos: bool = True,
        reverse_order: bool = False,
    ) -> Tensor:
        """Ids of a line, int32, with [SEP] after each segment.

        A subword vocabulary is closed and has its own tokenizer: ``line_tokenizer`` and ``add_if_not_exist`` are for
        plain ones. ``reverse_order`` reverses each segment; ``append_eos`` concerns the last one.
        """
        *ended, last = line.split(SEGMENT_BREAK) if self.reads_segments else [line]
        rules = (line_tokenizer, add_if_not_exist, consumer)
        parts = [self._encode_segment(segment, *rules, True, reverse_order) for segment in ended]
        return torch.cat([*parts, self._encode_segment(last, *rules, append_eos, reverse_order)])

    def _encode_segment(self, segment: str, *arguments: Any) -> Tensor:
        tokens: Tensor = super().encode_line(segment, *arguments)
        return tokens

    def digest(self) -> DictionaryDigest:
        """Hashes to compare data and checkpoint by."""
        symbols = hashlib.sha256("\n".join(self.symbols).encode()).hexdigest()
        return DictionaryDigest(len(self), symbols, "", "", self.origin)

    def string(
        self,
        tensor: Tensor | Iterable[int],
        bpe_symbol: str | None = None,
        escape_unk: bool = False,
        extra_symbols_to_ignore: Collection[int] | None = None,
        unk_string: str | None = None,
        include_eos: bool = False,
        separator: str = " ",
    ) -> str:
        """Symbols of ids as fairseq joins them, without padding and masks.

        With ``escape_unk`` the ids are a target's, and its raw text replaces them if the data-bin folder has it. A
        subword dictionary ignores ``bpe_symbol`` and leaves joining to ``decode``.
        """
        raw = self.references.take([int(i) for i in tensor]) if escape_unk else None
        if raw is not None:
            return RawText(raw) if self.takes_raw_text else post_process(raw, bpe_symbol)
        ignored = {self.pad(), self.mask(), *(extra_symbols_to_ignore or ())}
        bpe_symbol = None if self.takes_raw_text else bpe_symbol
        text = super().string(tensor, bpe_symbol, escape_unk, ignored, unk_string, include_eos, separator)
        return Symbols.of(text, self)

    def decode(self, text: str) -> str:
        """Detokenised text of a string of symbols; unchanged by a plain dictionary."""
        return text

    def text(self, tokens: Tensor, unknown: str) -> str:
        """Detokenised text of one sentence's ids, with ``unknown`` for unknown symbols."""
        return self.decode(self.string(tokens.int().cpu(), unk_string=unknown))

    def save(self, f: str | Any) -> None:
        """Write ``dict.LANG.txt`` and the files beside it, and remove a tokenizer that an earlier run left there.

        ``fairseq-preprocess`` gives a task only its dictionaries, so they write the folder's other files, too. At any
        moment the folder has the old dictionary or the new one. An open file ``f`` receives the symbols only.
        """
        if not isinstance(f, str):
            super().save(f)
            return
        path = Path(f)
        if self.preprocessing is not None:
            parts = self.preprocessing.parts.get(path.name, ())
            begin_parts(path, parts, self.digest(), lambda older: load_dictionary(str(older)).digest())
        unfinished = path.with_name(f".{path.name}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            super().save(str(unfinished / path.name))
            self.save_tokenizer(unfinished / path.name)
            written = {file.name for file in unfinished.iterdir()}
            # The tokenizer takes precedence over the dictionary, so it comes first.
            for name in sorted(written, key=lambda name: name == path.name):
                os.replace(unfinished / name, path.with_name(name))
        finally:
            shutil.rmtree(unfinished)
        for other in companions(path):
            if other.name not in written:
                other.unlink(missing_ok=True)
        if self.preprocessing is not None:
            for text, kept in self.preprocessing.references.get(path.name, ()):
                shutil.copyfile(text, kept)

    def save_tokenizer(self, dictionary: Path) -> None:
        """Write the tokenizer, if there is one, beside a ``dict.LANG.txt``."""


class SubwordDictionary(BnbDictionary):
    """Symbols of a subword tokenizer, which splits raw text and joins it again.

    Args:
        tokenizer: the tokenizer; its order of symbols gives the ids.
    """

    takes_raw_text = True

    def __init__(self, tokenizer: SubwordTokenizer) -> None:
        Dictionary.__init__(
            self,
            bos=BERT_SPECIALS.bos,
            pad=BERT_SPECIALS.pad,
            eos=BERT_SPECIALS.eos,
            unk=BERT_SPECIALS.unk,
            add_special_symbols=False,
        )
        self.tokenizer = tokenizer
        self.references = References()
        self.symbols = list(tokenizer.symbols)
        self.count = [1] * len(self.symbols)
        self.indices = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.mask_word = BERT_SPECIALS.mask
        ids = [self.indices[symbol] for symbol in BERT_SPECIALS]
        self.bos_index, self.pad_index, self.eos_index, self.unk_index, self.mask_index = ids
        self.nspecial = 0

    def surface(self, symbol: str) -> Surface:
        """Surface form of an ordinary symbol, by the tokenizer's rules."""
        return self.tokenizer.surface(symbol)

    def _encode_segment(self, segment: str, *arguments: Any) -> Tensor:
        _, _, consumer, append_eos, reverse_order = arguments
        ids = self.tokenizer.encode(segment.strip())
        if reverse_order:
            ids.reverse()
        if consumer is not None:
            for i in ids:
                consumer("" if i == self.unk_index else self.symbols[i], i)
        if append_eos:
            ids.append(self.eos_index)
        return torch.tensor(ids, dtype=torch.int32)

    def decode(self, text: str) -> str:
        """Detokenised text of symbols separated by spaces."""
        return self.tokenizer.decode(text.split(" ")) if text else ""

    def digest(self) -> DictionaryDigest:
        """Hashes to compare data and checkpoint by."""
        return super().digest()._replace(tokenizer=self.tokenizer.digest(), spaces=self.tokenizer.spaces_digest())

    def save_tokenizer(self, dictionary: Path) -> None:
        """Write the tokenizer beside a ``dict.LANG.txt``, with the spaces counted in the training part."""
        text = None if self.preprocessing is None else self.preprocessing.training.get(dictionary.name)
        lines = None if text is None else evenly_spaced_lines(text)
        self.tokenizer.save(companion(dictionary, self.tokenizer.suffix), lines)


def load_dictionary(origin: str) -> BnbDictionary:
    """Load what ``--srcdict`` and ``--tgtdict`` accept, or the dictionary of a data-bin folder.

    Args:
        origin: ``dict.LANG.txt`` (with or without a tokenizer beside it), a SentencePiece ``.model``, a BERT directory
            or its ``vocab.txt``, or a HuggingFace model name.

    Returns:
        The dictionary.

    Raises:
        ValueError: if it is none of these.
    """
    try:
        dictionary = _load(origin)
    except ValueError as error:
        raise ValueError(
            f"--srcdict and --tgtdict must each be a HuggingFace BERT name, a BERT directory or its vocab.txt, a "
            f"SentencePiece .model or a fairseq dict.txt, but {origin!r} cannot be read as one: {error}"
        ) from error
    dictionary.origin = origin
    return dictionary


def _load(origin: str) -> BnbDictionary:
    path = Path(origin)
    if not path.is_file() or path.name == "vocab.txt":
        return SubwordDictionary(load_wordpiece(origin))
    if path.suffix == ".model":
        return SubwordDictionary(SentencePiece(path))
    for suffix, load in LOADERS.items():
        if companion(path, suffix).is_file():
            return SubwordDictionary(load(companion(path, suffix)))
    return BnbDictionary.load_plain(path)


def companion(dictionary: Path, suffix: str) -> Path:
    """Path of the tokenizer of ``dict.LANG.txt``: beside it, ``dict.LANG`` followed by the tokenizer's suffix."""
    return dictionary.with_name(dictionary.name.removesuffix(".txt") + suffix)


def companions(dictionary: Path) -> list[Path]:
    """Files beside ``dict.LANG.txt`` that may belong to a tokenizer."""
    return [companion(dictionary, suffix) for suffix in (*LOADERS, WordPiece.spaces_suffix)]


def evenly_spaced_lines(path: Path, most: int = COUNTED_LINES) -> Iterator[str]:
    """Lines of a text in UTF-8, about ``most``: of a longer one every second, third ... line."""
    with path.open("rb") as lines:
        step = 1 + sum(1 for _ in lines) // most
    with path.open(encoding="utf-8") as text:
        yield from islice(text, 0, None, step)


def load_data_bin(folder: Path, languages: Iterable[str]) -> list[BnbDictionary]:
    """Dictionaries of a data-bin folder, in the order of ``languages``; a ValueError names a missing one."""
    dictionaries = []
    for language in languages:
        path = folder / f"dict.{language}.txt"
        if not path.is_file():
            raise ValueError(f"the data-bin folder has no {path}; was it made for another language pair?")
        dictionaries.append(load_dictionary(str(path)))
        logger.info("[%s] dictionary: %d types", language, len(dictionaries[-1]))
    return dictionaries
