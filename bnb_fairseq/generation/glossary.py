"""A glossary: which of its terms a source text has, and how their translations are spelt in target symbols.

A source term matches whole words, in the case it is written in or else in any; ``file*`` matches every word that begins
with ``file``. A target term ``Datei*`` asks for a word that begins with ``Datei``, so that inflected forms count.
"""

import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .term_automaton import Term

STAR = "*"
SPACE = " "
# Scripts without spaces between words, by the names of their letters: each letter is a word of its own.
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
# Character classes that the automaton tells apart beside the letters of terms.
NO_CHARACTER, OTHER_IN_WORD, OTHER_OUTSIDE, FIRST_LETTER = range(4)
LONGER_SYMBOLS = 64  # that a search reads for one inflected term, the shortest first
FAULTS_SHOWN = 5


def in_word(character: str) -> bool:
    """Whether a character joins its neighbours into a word: letters, marks, digits and the underscore."""
    if character == "_":
        return True
    if unicodedata.category(character)[0] not in "LNM":
        return False
    return character.isascii() or not unicodedata.name(character, "").startswith(UNSPACED)


def split_words(text: str) -> list[str]:
    """Split a text into words and single other characters, without white space."""
    pieces: list[str] = []
    for inside, characters in groupby(unicodedata.normalize("NFC", text), key=in_word):
        run = "".join(characters)
        pieces += [run] if inside else [character for character in run if not character.isspace()]
    return pieces


class SpeltVocabulary:
    """The characters of every symbol of a target vocabulary; one serves many glossaries.

    Args:
        symbols: of every id.
        silent: special symbols, which are not printed.
        surface: of an ordinary symbol, its characters and whether it begins a word.

    Attributes:
        spellings: characters of every id, a space in front where it begins a word; empty for special symbols.
        characters: all that occur.
        spelt: V x longest spelling, int32, 1 + index of each character; 0 behind the last.
    """

    def __init__(
        self, symbols: Sequence[str], silent: Collection[str], surface: Callable[[str], tuple[str, bool]]
    ) -> None:
        surfaces = (("", False) if symbol in silent else surface(symbol) for symbol in symbols)
        self.spellings = [f"{SPACE * begins}{text}" for text, begins in surfaces]
        self.characters = sorted(set().union(*self.spellings))
        numbers = {character: 1 + i for i, character in enumerate(self.characters)}
        longest = max(map(len, self.spellings), default=0)
        rows = [[*map(numbers.__getitem__, spelling), *[0] * (longest - len(spelling))] for spelling in self.spellings]
        self.spelt = np.array(rows, np.int32).reshape(len(rows), longest)
        self._sorted = sorted((spelling, i) for i, spelling in enumerate(self.spellings) if spelling)

    def beginning_with(self, text: str) -> list[int]:
        """List the ids whose spelling begins with a text."""
        found = []
        for spelling, i in islice(self._sorted, bisect_left(self._sorted, (text, -1)), None):
            if not spelling.startswith(text):
                break
            found.append(i)
        return found


class SourceTerm(NamedTuple):
    """A term to look for.

    Attributes:
        words: as ``split_words`` gives them, the star left out.
        inflected: the last word may be longer.
        target: index of its translation.
    """

    words: tuple[str, ...]
    inflected: bool
    target: int

    def fit(self, words: Sequence[str]) -> tuple[int, bool, bool, int] | None:
        """Rank how well the term fits the beginning of a text; None if it does not."""
        begin = words[: len(self.words)]
        if not self._equals(self.words, begin):
            folded = tuple(word.casefold() for word in self.words)
            if not self._equals(folded, [word.casefold() for word in begin]):
                return None
            return len(begin), False, not self.inflected, len(self.words[-1])
        return len(begin), True, not self.inflected, len(self.words[-1])

    def _equals(self, own: Sequence[str], words: Sequence[str]) -> bool:
        if len(own) != len(words) or list(own[:-1]) != list(words[:-1]):
            return False
        return words[-1].startswith(own[-1]) if self.inflected else words[-1] == own[-1]


class TargetTerm(NamedTuple):
    """A translation that the search prefers.

    Attributes:
        spelling: its characters, a space where a symbol begins a word, none around it.
        inflected: the last word may be longer.
        symbols: ids, as the tokenizer writes the term.
        asked: ids that the search reads for it at every position.
    """

    spelling: str
    inflected: bool
    symbols: tuple[int, ...]
    asked: tuple[int, ...]


class Glossary:
    """Terms and their translations.

    The same translation of several source terms is one target term.

    Args:
        terms: source term -> target term.
        encode: splits text into ids of the target vocabulary.
        vocabulary: the target vocabulary.

    Attributes:
        targets: the different translations.
        alphabet: class of each character that occurs in a translation.
        outside: of each class, whether its characters stand outside words.
        spelt: V x longest spelling, int16, classes of the characters of each id.

    Raises:
        ValueError: if a term is empty, or the target vocabulary cannot write it; lists the first five.
    """

    def __init__(
        self, terms: Mapping[str, str], encode: Callable[[str], list[int]], vocabulary: SpeltVocabulary
    ) -> None:
        self._encode, self._vocabulary = encode, vocabulary
        self.targets: list[TargetTerm] = []
        self._begun_by: dict[str, list[SourceTerm]] = defaultdict(list)
        self._stems: dict[str, list[SourceTerm]] = defaultdict(list)
        known: dict[tuple[str, bool], int] = {}
        faults = []
        for source, target in terms.items():
            try:
                self._add(source, target, known)
            except ValueError as error:
                faults.append(f"{source!r} -> {target!r} {error}")
        if faults:
            raise ValueError(f"--glossary: {len(faults)} of {len(terms)} terms: {'; '.join(faults[:FAULTS_SHOWN])}")
        letters = sorted({character for target in self.targets for character in target.spelling})
        self.alphabet = {character: FIRST_LETTER + i for i, character in enumerate(letters)}
        self.outside = [False, False, True, *(not in_word(character) for character in letters)]
        kinds = np.array([NO_CHARACTER, *self._classes(vocabulary.characters)], np.int16)
        self.spelt = kinds[vocabulary.spelt]

    def _add(self, source: str, target: str, known: dict[tuple[str, bool], int]) -> None:
        words = split_words(source.removesuffix(STAR))
        inflected = source.endswith(STAR)
        stem = target.strip().removesuffix(STAR)
        if not words or not stem.strip():
            raise ValueError("must have a word on both sides")
        term = self._target(stem, target.strip().endswith(STAR))
        number = known.setdefault((term.spelling, term.inflected), len(self.targets))
        if number == len(self.targets):
            self.targets.append(term)
        key = words[0].casefold()
        index = self._stems if inflected and len(words) == 1 else self._begun_by
        index[key].append(SourceTerm(tuple(words), inflected, number))

    def _target(self, stem: str, inflected: bool) -> TargetTerm:
        symbols = self._encode(stem)
        spellings = self._vocabulary.spellings
        pieces = [spellings[i] for i in symbols]
        if not symbols or "" in pieces:
            raise ValueError("must be one that the target vocabulary can write")
        spelling = "".join(pieces).strip(SPACE)
        bracketed = [i for i in self._encode(f"({stem}") if (text := spellings[i].strip()) and text in spelling]
        asked = [*symbols, *bracketed]
        if inflected:
            asked += self._longer(["".join(pieces[i:]) for i in range(len(pieces))])
        return TargetTerm(spelling, inflected, tuple(symbols), tuple(dict.fromkeys(asked)))

    def _longer(self, rests: Sequence[str]) -> list[int]:
        """List symbols that write the rest of a term and more: ``Dateien`` for ``Datei*``."""
        found = [i for rest in rests for i in self._vocabulary.beginning_with(rest)]
        return sorted(found, key=lambda i: (len(self._vocabulary.spellings[i]), i))[:LONGER_SYMBOLS]

    def find(self, text: str) -> dict[int, int]:
        """Find the terms of a source text, from left to right, the longest first; none overlap.

        Args:
            text: a source text.

        Returns:
            How often each target term is asked for, by its index, in order of first occurrence.
        """
        words, place = split_words(text), 0
        found: Counter[int] = Counter()
        while place < len(words):
            term = self._best(words[place:])
            if term is not None:
                found[term.target] += 1
            place += 1 if term is None else len(term.words)
        return dict(found)

    def _best(self, words: Sequence[str]) -> SourceTerm | None:
        """Choose the term with which a text begins: more words, then its own case, then without a star."""
        first = words[0].casefold()
        candidates = list(self._begun_by.get(first, ()))
        for length in range(1, len(first) + 1):
            candidates += self._stems.get(first[:length], ())
        ranked = [(rank, term) for term in candidates if (rank := term.fit(words)) is not None]
        return max(ranked, key=lambda pair: pair[0])[1] if ranked else None

    def _classes(self, text: Iterable[str]) -> list[int]:
        """Return the class of each character."""
        return [
            self.alphabet.get(character, OTHER_IN_WORD if in_word(character) else OTHER_OUTSIDE) for character in text
        ]

    def term(self, target: int) -> Term:
        """Return a target term for the automaton."""
        return Term(self._classes(self.targets[target].spelling), self.targets[target].inflected)


def read_glossary(path: Path) -> dict[str, str]:
    """Read terms and their translations.

    Args:
        path: UTF-8 text; on each line a source term, a tab and its translation. Blank lines do not count.

    Returns:
        The translation of each term.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if a line is something else, or a term has two translations.
    """
    terms: dict[str, str] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"--glossary {path} must be UTF-8: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        source, *targets = (part.strip() for part in line.split("\t"))
        if not source or len(targets) != 1 or not targets[0]:
            raise ValueError(f"--glossary {path}, line {number} must be a term, a tab and its translation: {line!r}")
        if terms.setdefault(source, targets[0]) != targets[0]:
            raise ValueError(
                f"--glossary {path}, line {number}: {source!r} has a translation already, {terms[source]!r}"
            )
    return terms
