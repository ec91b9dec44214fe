"""fairseq dictionaries that take raw text: WordPiece with BERT's ids, SentencePiece, and plain ``dict.txt``."""

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
SEGMENT_BREAK = "\t"  # between the segments of a line, where a dictionary reads segments
COUNTED_LINES = 100_000  # of the training text, for spaces between words: half a minute at most
LOADERS = {WordPiece.suffix: WordPiece.load, SentencePiece.suffix: SentencePiece}


class BnbDictionary(Dictionary):
    """A plain fairseq dictionary (text already split at spaces) that also has a mask symbol, the last one.

    Attributes:
        reads_segments: True: a tab in a line ends a segment and becomes [SEP]; False: it is white space like any other.
            A task sets it; a saved dictionary does not remember it.
        takes_raw_text: True: a tokenizer of its own splits text and joins it again; False: others have split it.
        origin: file or name that it was loaded from, for messages; empty if it was counted.
        preprocessing: what goes with it where it is saved; None where no data-bin folder is being made.
        references: raw texts that take the place of targets.
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
        """Read a fairseq ``dict.txt``.

        Args:
            path: the file, one ``symbol count`` a line.

        Returns:
            The dictionary, ids as fairseq's own, with the mask symbol after them.
        """
        dictionary = cls()
        dictionary.add_from_file(str(path))
        dictionary.add_mask()
        return dictionary

    @classmethod
    def of_counts(cls, counted: Dictionary) -> "BnbDictionary":
        """Copy the symbols that fairseq counted in a text, and add the mask symbol.

        Args:
            counted: fairseq's dictionary.

        Returns:
            The dictionary.
        """
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
        """Return the id of the mask symbol."""
        return self.mask_index

    def specials(self) -> Specials:
        """Return the special symbols as text."""
        return Specials(self.bos_word, self.pad_word, self.eos_word, self.unk_word, self.mask_word)

    def surface(self, symbol: str) -> Surface:
        """Tell what an ordinary symbol stands for; in a plain dictionary every symbol is a word."""
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
        """Turn a line into ids; the signature is fairseq's.

        Args:
            line: text; surrounding white space does not count.
            line_tokenizer: splits already split text; a subword dictionary has its own tokenizer.
            add_if_not_exist: let a plain dictionary take up new words; a subword vocabulary is closed.
            consumer: called with every symbol and id; fairseq counts unknown ones with it.
            append_eos: end with [SEP], which stands between segments in any case.
            reverse_order: reverse the symbols of each segment.

        Returns:
            Ids, int32.
        """
        *ended, last = line.split(SEGMENT_BREAK) if self.reads_segments else [line]
        rules = (line_tokenizer, add_if_not_exist, consumer)
        parts = [self._encode_segment(segment, *rules, True, reverse_order) for segment in ended]
        return torch.cat([*parts, self._encode_segment(last, *rules, append_eos, reverse_order)])

    def _encode_segment(self, segment: str, *arguments: Any) -> Tensor:
        tokens: Tensor = super().encode_line(segment, *arguments)
        return tokens

    def digest(self) -> DictionaryDigest:
        """Return hashes, by which data and checkpoint are compared."""
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
        """Turn ids into symbols, as fairseq does, and leave out padding and masks too.

        Args:
            tensor: ids, any integer tensor of one or two dimensions or a sequence.
            bpe_symbol: fairseq's ``--post-process``; a subword dictionary leaves joining to ``decode``.
            escape_unk: the ids are a target's; its raw text takes their place where the data-bin folder has it.
            extra_symbols_to_ignore: further ids to leave out.
            unk_string: what to write for unknown symbols.
            include_eos: keep the end symbol.
            separator: text between symbols.

        Returns:
            The symbols in one string, or a target's raw text.
        """
        raw = self.references.take([int(i) for i in tensor]) if escape_unk else None
        if raw is not None:
            return RawText(raw) if self.takes_raw_text else post_process(raw, bpe_symbol)
        ignored = {self.pad(), self.mask(), *(extra_symbols_to_ignore or ())}
        bpe_symbol = None if self.takes_raw_text else bpe_symbol
        text = super().string(tensor, bpe_symbol, escape_unk, ignored, unk_string, include_eos, separator)
        return Symbols.of(text, self)

    def decode(self, text: str) -> str:
        """Detokenise a string of symbols; a plain dictionary leaves it alone."""
        return text

    def text(self, tokens: Tensor, unknown: str) -> str:
        """Turn ids into detokenised text.

        Args:
            tokens: ids, one sentence.
            unknown: what to write for unknown symbols.

        Returns:
            The text.
        """
        return self.decode(self.string(tokens.int().cpu(), unk_string=unknown))

    def save(self, f: str | Any) -> None:
        """Write ``dict.LANG.txt`` and what goes with it; a tokenizer that an earlier run left beside it goes.

        ``fairseq-preprocess`` shows a task the dictionaries alone: what else goes into the folder is written here. At
        any moment the folder has the old dictionary or the new one.

        Args:
            f: path of the ``dict.LANG.txt``, or an open file, into which the symbols alone are written.
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
            for name in sorted(
                written, key=lambda name: name == path.name
            ):  # what splits text decides, and comes first
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
    """A dictionary with the symbols of a subword tokenizer, which splits raw text and joins it again.

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
        """Tell what an ordinary symbol stands for, by the tokenizer's rules."""
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
        """Detokenise a string of symbols separated by spaces.

        Args:
            text: symbols as ``string`` writes them.

        Returns:
            Text as a reader expects it.
        """
        return self.tokenizer.decode(text.split(" ")) if text else ""

    def digest(self) -> DictionaryDigest:
        """Return hashes, by which data and checkpoint are compared."""
        return super().digest()._replace(tokenizer=self.tokenizer.digest(), spaces=self.tokenizer.spaces_digest())

    def save_tokenizer(self, dictionary: Path) -> None:
        """Write the tokenizer beside a ``dict.LANG.txt``, with the spaces that it counts in the training part."""
        text = None if self.preprocessing is None else self.preprocessing.training.get(dictionary.name)
        lines = None if text is None else evenly_spaced_lines(text)
        self.tokenizer.save(companion(dictionary, self.tokenizer.suffix), lines)


def load_dictionary(origin: str) -> BnbDictionary:
    """Load whatever ``--srcdict`` and ``--tgtdict`` accept, or the dictionary of a data-bin folder.

    Args:
        origin: ``dict.LANG.txt`` (with or without a tokenizer beside it), a SentencePiece ``.model``, a BERT
            directory or its ``vocab.txt``, or a HuggingFace model name.

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
    """Name the file in which the tokenizer of ``dict.LANG.txt`` is kept.

    Args:
        dictionary: path of the ``dict.LANG.txt``.
        suffix: the tokenizer's file name suffix.

    Returns:
        The path beside it, ``dict.LANG`` followed by the suffix.
    """
    return dictionary.with_name(dictionary.name.removesuffix(".txt") + suffix)


def companions(dictionary: Path) -> list[Path]:
    """Return the files that may belong to a tokenizer beside ``dict.LANG.txt``."""
    return [companion(dictionary, suffix) for suffix in (*LOADERS, WordPiece.spaces_suffix)]


def evenly_spaced_lines(path: Path, most: int = COUNTED_LINES) -> Iterator[str]:
    """Read a text, of a long one every second, third ... line.

    Args:
        path: the text, in UTF-8.
        most: about how many lines to read.

    Yields:
        Lines.
    """
    with path.open("rb") as lines:
        step = 1 + sum(1 for _ in lines) // most
    with path.open(encoding="utf-8") as text:
        yield from islice(text, 0, None, step)


def load_data_bin(folder: Path, languages: Iterable[str]) -> list[BnbDictionary]:
    """Load the dictionaries of a data-bin folder.

    Args:
        folder: the folder.
        languages: languages, in the order wanted.

    Returns:
        Their dictionaries.

    Raises:
        ValueError: if the folder lacks one of them.
    """
    dictionaries = []
    for language in languages:
        path = folder / f"dict.{language}.txt"
        if not path.is_file():
            raise ValueError(f"the data-bin folder has no {path}; was it made for another language pair?")
        dictionaries.append(load_dictionary(str(path)))
        logger.info("[%s] dictionary: %d types", language, len(dictionaries[-1]))
    return dictionaries
