"""Spaces between words, as a text has them.

BERT splits off every punctuation mark and CJK character and loses the spaces. Here they are counted in a text, for each
place between two words, in contexts from the words around it to their classes. The majority restores them, from left to
right.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from .subword import BERT_SPECIALS

HEADER = "# spaces between words, version 1: level, context, 1 for a space and 0 for none"
BEGIN, END, NEITHER = "<s>", "</s>", "-"
CACHED_WORDS = 1 << 16
QUOTES = "\"'`"  # the same mark opens and closes
CJK = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")
PRIOR, PRIOR_WEIGHT = 0.9, 1.0  # share of spaces in an unknown context; the number of places it counts as


class Place(NamedTuple):
    """A place between two words.

    Attributes:
        before: word in front of ``left``.
        left: word in front of the place.
        right: word behind the place.
        after: word behind ``right``.
        quotes: for ``left`` and ``right``, whether the quotation mark opens (1) or closes (0).
        spaced: whether a space stands between ``before`` and ``left``.
    """

    before: str
    left: str
    right: str
    after: str
    quotes: str
    spaced: str


class Spaces:
    """Counts of spaces between words, and the decision by them.

    Args:
        rules: for each level of ``contexts_of``, whether a context has a space; only contexts that deviate from the
            next level.
    """

    def __init__(self, rules: Sequence[Mapping[str, bool]]) -> None:
        self._rules = rules

    @classmethod
    def count(cls, lines: Iterable[tuple[Sequence[str], Sequence[bool]]]) -> "Spaces":
        """Count a text: for each line its N words, and whether a space stands behind each of the first N - 1."""
        seen = Counter((place, bool(spaces[i])) for words, spaces in lines for i, place in _places(words, spaces))
        totals: list[dict[str, list[int]]] = [{} for _ in contexts_of(Place(*["x"] * len(Place._fields)))]
        parents: list[dict[str, str]] = [{} for _ in totals]
        for (place, spaced), times in seen.items():
            contexts = contexts_of(place)
            for level, context in enumerate(contexts):
                totals[level].setdefault(context, [0, 0])[spaced] += times
                parents[level][context] = contexts[level + 1] if level + 1 < len(contexts) else ""
        rules: list[dict[str, bool]] = [{} for _ in totals]
        shares: dict[str, float] = {"": PRIOR}
        for level in reversed(range(len(totals))):
            here = {}
            for context, (without, with_space) in totals[level].items():
                expected = shares[parents[level][context]]
                share = (with_space + PRIOR_WEIGHT * expected) / (without + with_space + PRIOR_WEIGHT)
                here[context] = share
                if (share > 0.5) != (expected > 0.5):
                    rules[level][context] = share > 0.5
            shares = here
        return cls(rules)

    @classmethod
    def load(cls, path: Path) -> "Spaces":
        """Read the file of ``save``; a ValueError names the file and the line if it is damaged."""
        return cls.parse(path.read_text(encoding="utf-8"), str(path))

    @classmethod
    def parse(cls, text: str, origin: str) -> "Spaces":
        """The inverse of ``str``; a ValueError names ``origin`` and the line if the text is damaged."""
        header, *lines = text.removesuffix("\n").split("\n")
        if header != HEADER:
            raise ValueError(f"{origin}: must begin with {HEADER!r}, but begins with {header[:80]!r}")
        levels = len(contexts_of(Place(*["x"] * len(Place._fields))))
        rules: list[dict[str, bool]] = [{} for _ in range(levels)]
        for number, line in enumerate(lines, start=2):
            level, _, rest = line.partition("\t")
            context, _, space = rest.partition("\t")
            if level not in map(str, range(levels)) or not context or space not in ("0", "1"):
                raise ValueError(f"{origin}, line {number}: must be level, context, 0 or 1, but is {line[:80]!r}")
            rules[int(level)][context] = space == "1"
        return cls(rules)

    def __str__(self) -> str:
        lines = [
            f"{level}\t{context}\t{int(space)}"
            for level, rules in enumerate(self._rules)
            for context, space in sorted(rules.items())
        ]
        return "\n".join([HEADER, *lines]) + "\n"

    def save(self, path: Path) -> None:
        """Write a readable file."""
        path.write_text(str(self), encoding="utf-8")

    def digest(self) -> str:
        """The sha256 of the file that ``save`` writes."""
        return hashlib.sha256(str(self).encode()).hexdigest()

    def join(self, words: Sequence[str]) -> str:
        """Join words, with spaces where the counted text has them."""
        spaces = [True] * len(words)
        for i, place in _places(words, spaces):
            spaces[i] = self._has_space(place)
        return "".join(word + " " * space for word, space in zip(words, spaces, strict=True)).removesuffix(" ")

    def _has_space(self, place: Place) -> bool:
        for rules, context in zip(self._rules, contexts_of(place), strict=True):
            if (space := rules.get(context)) is not None:
                return space
        return PRIOR > 0.5


def contexts_of(place: Place) -> list[str]:
    """Contexts of a place, from the most exact to the least."""
    before, left, right, after, quotes, spaced = place
    classes = [class_of(word) for word in place[:4]]
    return [
        " ".join(context)
        for context in (
            (before, left, right, after, quotes, spaced),
            (before, left, right, classes[3], quotes, spaced),
            (classes[0], left, right, classes[3], quotes, spaced),
            (classes[0], left, classes[2], classes[3], quotes, spaced),
            (*classes, quotes, spaced),
            (*classes[1:], quotes, spaced),
            (*classes[1:3], quotes, spaced),
            tuple(classes[1:3]),
        )
    ]


@lru_cache(CACHED_WORDS)
def class_of(word: str) -> str:
    """Class of a word: digits, its case, whether it is one letter long; a mark is its own class."""
    if BERT_SPECIALS.unk in word:
        return "a"
    if word in (BEGIN, END) or not any(map(str.isalnum, word)):
        return word
    if CJK.match(word):
        return "CJK"
    if word.isdigit():
        return "0"
    length = "1" if len(word) == 1 else ""
    if word == word.lower():
        return "a" + length
    if word == word.upper():
        return "A" + length
    return "Aa" if word == word.capitalize() else "aA"


def general_spaces(lower_case: bool) -> Spaces:
    """The package's counts, for texts without their own; ``lower_case`` for words in small letters only."""
    name = "lower_case" if lower_case else "cased"
    return _general(f"spaces_{name}.tsv")


@cache
def _general(name: str) -> Spaces:
    return Spaces.parse(files(__package__).joinpath(name).read_text(encoding="utf-8"), name)


def _splits_at_spaces(word: str) -> bool:
    """True for words that BERT splits from others at white space only: all but marks and CJK characters."""
    return word[:1].isalnum() and not CJK.match(word)


def _places(words: Sequence[str], spaces: Sequence[bool]) -> Iterator[tuple[int, Place]]:
    """Places between N words that may have a space, each with the number of the word in front of it.

    ``spaces`` may be filled in meanwhile: a place needs the decision on the one before it.
    """
    opened: Counter[str] = Counter()
    padded = [BEGIN, *words, END]
    alone = [_splits_at_spaces(word) for word in words]
    for i in range(len(words) - 1):
        before, left, right, after = padded[i : i + 4]
        opened[left] += left in QUOTES
        if alone[i] and alone[i + 1]:
            continue
        quotes = _parity(left, opened[left]) + _parity(right, opened[right] + 1)
        spaced = NEITHER if i == 0 else str(int(spaces[i - 1]))
        yield i, Place(before, left, right, after, quotes, spaced)


def _parity(word: str, number: int) -> str:
    return str(number % 2) if word in QUOTES else NEITHER
