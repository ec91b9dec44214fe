"""N-gram models with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998, section 4.1.6).

An n-gram w_1 ... w_n with the context c = w_1 ... w_{n-1} has

    p(w_n | c) = (a - D(a)) / sum of a over c's n-grams + backoff(c) p(w_n | w_2 ... w_{n-1}),

where a is its count in the highest order, and in lower orders the number of different words that precede it. Nothing
precedes <s>, so n-grams that begin with it keep their counts. The lowest order interpolates with the uniform
distribution over all words, <unk> and </s>.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..checkpoints.writing import staging

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
UNKNOWN_ID, BEGIN_ID, END_ID = 0, 1, 2
SPECIAL_WORDS = ("<unk>", "<s>", "</s>")
NO_PROBABILITY = -99.0  # the logarithm of 0 in ARPA files
# For small or artificial texts whose counts of counts give no discounts; lmplz has the same.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
DIGITS = 8  # that a float32 holds


class Counts(NamedTuple):
    """The different n-grams of one order, by number.

    Attributes:
        contexts: number of the n-gram without its last word, in the order below; 0 for single words.
        suffixes: number of the n-gram without its first word, in the order below; 0 for single words.
        words: id of the last word.
        begins: True if the first word is <s>.
        counts: number of occurrences in the text.
    """

    contexts: Ints
    suffixes: Ints
    words: Ints
    begins: NDArray[np.bool_]
    counts: Ints


class Order(NamedTuple):
    """The smoothed n-grams of one order.

    Attributes:
        contexts: as in ``Counts``, of the n-grams kept.
        words: id of the last word.
        probs: probability of the last word after the others; 0 for <s>.
        backoffs: weight of the lower order if the n-gram is a context, else 1.
        discounts: D1, D2 and D3+.
        fell_back: whether the text gave no valid discounts.
    """

    contexts: Ints
    words: Ints
    probs: Floats
    backoffs: Floats
    discounts: tuple[float, float, float]
    fell_back: bool


def count(sentences: Sequence[Ints], order: int, vocabulary: int) -> Iterator[Counts]:
    """Count n-grams, including <s> and </s>.

    Args:
        sentences: ids, without <s> and </s>.
        order: longest n-gram.
        vocabulary: number of ids.

    Yields:
        Counts: One order after the other, single words first; of these all ids, seen or not.
    """
    text = np.concatenate([np.concatenate([[BEGIN_ID], sentence, [END_ID]]) for sentence in sentences]).astype(np.int64)
    sizes = np.array([len(sentence) + 2 for sentence in sentences])
    places = np.arange(len(text)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    everything = np.arange(vocabulary)
    nothing = np.zeros_like(everything)
    yield Counts(nothing, nothing, everything, everything == BEGIN_ID, np.bincount(text, minlength=vocabulary))
    numbers, begins = text, everything == BEGIN_ID  # numbers[i]: of the n-gram that ends at i
    for n in range(2, order + 1):
        ends = np.flatnonzero(places >= n - 1)
        keys = numbers[ends - 1] * vocabulary + text[ends]
        unique, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        contexts, words = np.divmod(unique, vocabulary)
        begins = begins[contexts]
        yield Counts(contexts, numbers[ends[first]], words, begins, counts)
        numbers = np.zeros_like(text)
        numbers[ends] = inverse


def discounts(adjusted: Ints) -> tuple[tuple[float, float, float], bool]:
    """D1, D2 and D3+ from the counts of one order's n-grams (Chen and Goodman 1998, equation 26).

    Also returns whether they are ``FALLBACK_DISCOUNTS``, because the counts give none between 0 and the count itself.
    """
    n1, n2, n3, n4 = (int((adjusted == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return FALLBACK_DISCOUNTS, True
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not all(0 <= discount <= times for times, discount in enumerate(found, start=1)):
        return FALLBACK_DISCOUNTS, True
    return found, False


def smooth(counted: Sequence[Counts], min_count: int = 1) -> list[Order]:
    """Probabilities from counts, single words first.

    N-grams of three words and more that occur less than ``min_count`` times are left out; the lower order gets their
    probability.
    """
    orders: list[Order] = []
    renumber = np.zeros(1, dtype=np.int64)  # for the order below: counted number -> kept number
    for n, counts in enumerate(counted, start=1):
        above = counted[n] if n < len(counted) else None
        adjusted = _adjusted(counts, above)
        if n == 1:
            adjusted[BEGIN_ID] = 0  # it never follows anything
        estimated, fell_back = discounts(adjusted)
        taken = np.array([0.0, *estimated])[np.minimum(adjusted, 3)]
        keep = counts.counts >= min_count if n > 2 else np.ones(len(adjusted), dtype=bool)
        size = len(orders[-1].words) if orders else 1
        # A kept n-gram's context is kept, too; the whole mass of a dropped one goes to the lower order.
        contexts, suffixes = renumber[counts.contexts], renumber[counts.suffixes]
        of_kept_context = contexts >= 0
        totals = np.bincount(contexts[of_kept_context], adjusted[of_kept_context], size)
        left = np.bincount(contexts[of_kept_context], np.where(keep, taken, adjusted)[of_kept_context], size)
        backoffs = np.divide(left, totals, out=np.ones(size), where=totals > 0)
        contexts, words = contexts[keep], counts.words[keep]
        own = (adjusted - taken)[keep] / totals[contexts]
        if orders:
            probs = own + backoffs[contexts] * orders[-1].probs[suffixes[keep]]
            orders[-1] = orders[-1]._replace(backoffs=backoffs)
        else:
            probs = np.where(words == BEGIN_ID, 0.0, own + backoffs[0] / (len(words) - 1))
        orders.append(Order(contexts, words, probs, np.ones(len(words)), estimated, fell_back))
        renumber = np.where(keep, np.cumsum(keep) - 1, -1)
    return orders


def _adjusted(counts: Counts, above: Counts | None) -> Ints:
    """Counts in the highest order; in others the number of different words before each n-gram."""
    if above is None:
        return counts.counts.copy()
    return np.where(counts.begins, counts.counts, np.bincount(above.suffixes, minlength=len(counts.words)))


def write_arpa(
    orders: Sequence[Order], words: Sequence[str], path: Path, say: Callable[[str], None], digits: int = DIGITS
) -> None:
    """Write a model in the ARPA format, completely or not at all.

    Args:
        orders: the model.
        words: the word of every id, all different and without white space.
        path: file to write.
        say: called with a line of progress after each order.
        digits: significant digits of the logarithms.
    """
    with staging(path.parent) as lent, (lent / path.name).open("w", encoding="utf-8", newline="\n") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {n}={len(order.words)}\n" for n, order in enumerate(orders, start=1))
        texts = [""]
        for n, order in enumerate(orders, start=1):
            space = " " if n > 1 else ""
            pairs = zip(order.contexts.tolist(), order.words.tolist(), strict=True)
            texts = [f"{texts[context]}{space}{words[word]}" for context, word in pairs]
            file.write(f"\n\\{n}-grams:\n")
            file.writelines(_lines(order, texts, digits, highest=n == len(orders)))
            say(f"written: {len(texts):,} n-grams of order {n}")
        file.write("\n\\end\\\n")


def _lines(order: Order, texts: Sequence[str], digits: int, highest: bool) -> Iterator[str]:
    positive = order.probs > 0
    probs = np.log10(order.probs, out=np.full(len(texts), NO_PROBABILITY), where=positive).tolist()
    if highest:
        return (f"{prob:.{digits}g}\t{text}\n" for prob, text in zip(probs, texts, strict=True))
    # A backoff of 0, if no count was discounted, would be -inf, which no reader accepts.
    backoffs = np.log10(np.maximum(order.backoffs, 10.0**NO_PROBABILITY)).tolist()
    rows = zip(probs, texts, backoffs, strict=True)
    return (f"{prob:.{digits}g}\t{text}\t{backoff:.{digits}g}\n" for prob, text, backoff in rows)
