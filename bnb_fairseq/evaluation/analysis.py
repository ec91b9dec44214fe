"""Differences between translations of several systems: by length, by n-gram, by frequency of words, by fault.

Tokens and words are sacrebleu's 13a, case-sensitive, as BLEU counts them.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU, BLEUScore
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from .scores import repetition

# Shares of the reference's tokens: below and above them a translation is too short and too long.
SHORT, LONG = Fraction(4, 5), Fraction(5, 4)
FREQUENCIES = (("unseen", 0), ("1-10", 10), ("11-100", 100), ("101-1,000", 1000), ("more", math.inf))  # upper bounds


class Text(NamedTuple):
    """Sentences and their tokens."""

    lines: Sequence[str]
    tokens: Sequence[Sequence[str]]


class Bucket(NamedTuple):
    """Sentences of similar length: fewest and most tokens, and the sentences' numbers in the text."""

    shortest: int
    longest: int
    numbers: Sequence[int]


class Shares(NamedTuple):
    """Percentages: of tokens that equal their left neighbour, and of sentences.

    ``right`` sentences have the reference's tokens, ``short`` ones less than ``SHORT`` times as many (empty ones
    included), ``long`` ones more than ``LONG`` times as many.
    """

    repeated: float
    empty: float
    right: float
    short: float
    long: float


def read_tokens(lines: Sequence[str]) -> Text:
    """Split sentences into tokens."""
    tokenize = Tokenizer13a()
    return Text(lines, [tokenize(line).split() for line in lines])


def bleu(translations: Text, references: Text, numbers: Sequence[int] | None = None) -> BLEUScore:
    """Return sacrebleu's BLEU of the sentences with these numbers; None: of all."""
    chosen = range(len(references.lines)) if numbers is None else numbers
    pairs = [[text.lines[i] for i in chosen] for text in (translations, references)]
    return BLEU().corpus_score(pairs[0], [pairs[1]])


def bleu_signature(references: Text) -> str:
    """Return the signature of sacrebleu's BLEU with these references."""
    metric = BLEU()
    first = list(references.lines[:1])
    metric.corpus_score(first, [first])  # it knows the number of references then
    return str(metric.get_signature())


def length_ratio(score: BLEUScore) -> float | None:
    """Return the tokens of the translations over those of the references; None if the references have none."""
    return score.sys_len / score.ref_len if score.ref_len else None


def length_buckets(text: Text, count: int) -> list[Bucket]:
    """Sort one sentence or more into at most ``count`` buckets by length, the shortest first, none empty.

    The buckets are as equal as sentences of one length, which share a bucket, allow: each ideal border moves to the
    nearest place where the length changes, and borders that meet are one.
    """
    lengths = [len(tokens) for tokens in text.tokens]
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    places = [i for i in range(1, len(order)) if lengths[order[i - 1]] < lengths[order[i]]]
    ideals = [len(order) * i / count for i in range(1, count)]
    borders = {min(places, key=lambda place: abs(place - ideal)) for ideal in ideals} if places else set()
    edges = [0, *sorted(borders), len(order)]
    parts = [order[begin:end] for begin, end in pairwise(edges)]
    return [Bucket(lengths[part[0]], lengths[part[-1]], sorted(part)) for part in parts]


def bleu_factors(score: BLEUScore, base: BLEUScore) -> list[float] | None:
    """Split the ratio of two BLEU scores into the factors of 1- to 4-gram precision and of the brevity penalty.

    BLEU is the brevity penalty times the geometric mean of the precisions, so that the product of the penalties' ratio
    and the fourth roots of the precisions' ratios is the ratio of the scores. None if one of the scores is 0.
    """
    parts = [(*one.precisions, one.bp) for one in (score, base)]
    if not all(map(all, parts)):
        return None
    roots = [1 / len(score.precisions)] * len(score.precisions)
    return [(mine / other) ** root for mine, other, root in zip(*parts, [*roots, 1.0], strict=True)]


def count_words(lines: Iterable[str], wanted: set[str]) -> Counter[str]:
    """Count the wanted words in a text, which may be larger than the memory."""
    tokenize = Tokenizer13a()
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(word for word in tokenize(line).split() if word in wanted)
    return counts


def frequency_class(count: int) -> int:
    """Return the index in ``FREQUENCIES`` of a word's count in the training text."""
    return next(i for i, (_, most) in enumerate(FREQUENCIES) if count <= most)


def words_by_frequency(references: Text, counts: Mapping[str, int]) -> list[int]:
    """Count the references' words in each class of ``FREQUENCIES``; ``counts`` are of the training text."""
    found = [0] * len(FREQUENCIES)
    for word in (word for tokens in references.tokens for word in tokens):
        found[frequency_class(counts.get(word, 0))] += 1
    return found


def recall_by_frequency(translations: Text, references: Text, counts: Mapping[str, int]) -> list[float | None]:
    """Return the recall of the references' words in percent for each class of ``FREQUENCIES``.

    A word that is n times in a reference and m times in its translation counts as found min(n, m) times. ``counts`` are
    of the training text; a class without words has None.
    """
    found = [0] * len(FREQUENCIES)
    for mine, wanted in zip(translations.tokens, references.tokens, strict=True):
        for word, times in (Counter(mine) & Counter(wanted)).items():
            found[frequency_class(counts.get(word, 0))] += times
    there = words_by_frequency(references, counts)
    return [100 * part / whole if whole else None for part, whole in zip(found, there, strict=True)]


def shares(translations: Text, references: Text) -> Shares:
    """Compare each sentence with its reference."""
    pairs = list(zip(translations.tokens, references.tokens, strict=True))
    empty = sum(not mine for mine, _ in pairs)
    right = sum(mine == wanted for mine, wanted in pairs)
    short = sum(len(mine) < SHORT * len(wanted) for mine, wanted in pairs)
    long = sum(len(mine) > LONG * len(wanted) for mine, wanted in pairs)
    percent = [100 * part / max(1, len(pairs)) for part in (empty, right, short, long)]
    return Shares(repetition(translations.lines), *percent)
