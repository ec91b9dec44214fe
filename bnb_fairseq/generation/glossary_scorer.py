"""A scorer for the beam search that prefers the translations of a glossary."""

import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np

from .ctc_beam import Array, PrefixScorer
from .glossary import Glossary
from .term_automaton import BORDER, build_automaton

logger = logging.getLogger(__name__)

DEFAULT_BONUS = 6.0
DEFAULT_FLOOR = -12.0  # log-probability of a term's symbol, below which the search does not read it
MOST_ADDED = 10  # symbols of terms that the search reads at a position, beside the best ones
# Combinations of found terms: of 24 terms that are asked for once, each is found or not. Times the nodes of an
# automaton (at most a few thousand) and the states of an n-gram model this is far below 2^63.
MOST_COUNTS = 1 << 24
NO_SYMBOL = -1


class GlossaryScorer:
    """Adds ``bonus`` x number of symbols for each term that a text has, as often as its source asks for it.

    A text that ends in a part of a term has that share of the bonus, and loses it again if the term does not follow. So
    what a finished text has depends on the text alone. A state is a node of the sentence's automaton and how often each
    of its terms was found.

    Args:
        glossary: the terms.
        asked: of each of the B rows of the search, how often each target term is asked for (``Glossary.find``).
        bonus: log-probability for each symbol of a term, as the tokenizer writes it.

    Attributes:
        most: infinity: tokens that give back a share that was lost add more than one term's bonus.
        states: a number above all states.
        symbols: B x n, ids that the search must read, ``NO_SYMBOL`` behind the last.

    Raises:
        ValueError: if the bonus is negative or not finite.
    """

    def __init__(self, glossary: Glossary, asked: Sequence[Mapping[int, int]], bonus: float = DEFAULT_BONUS) -> None:
        if not (math.isfinite(bonus) and bonus >= 0):
            raise ValueError(f"--glossary-bonus must be a finite number from 0, but is {bonus}")
        self.most = math.inf
        asked = [_countable(row) for row in asked]
        targets = glossary.targets
        self._quotas = _padded([list(row.values()) for row in asked], 0)
        radixes = self._quotas + 1
        self._places = radixes.cumprod(axis=1) // radixes  # of the digit that counts a term, in the number of a state
        weights = [[len(targets[term].symbols) for term in row] for row in asked]
        self._bonuses = (bonus * _padded(weights, 0)).astype(np.float32)
        symbols = [sorted({symbol for term in row for symbol in targets[term].asked}) for row in asked]
        self.symbols = _padded(symbols, NO_SYMBOL)
        self._spelt = glossary.spelt
        self._outside = np.array(glossary.outside)
        rows = [build_automaton([glossary.term(term) for term in row], glossary.outside) for row in asked]
        rows = rows or [build_automaton([], glossary.outside)]
        sizes = [len(row.following) for row in rows]
        self._nodes = max(sizes)
        self._starts = np.cumsum([0, *sizes])[:-1]
        shifted = [row.following + start for row, start in zip(rows, self._starts, strict=True)]
        self._following = _stacked(shifted, len(glossary.outside))  # all rows' nodes, numbered through
        self._shares = _stacked([row.shares for row in rows], self._quotas.shape[1])
        self._whole = _stacked([row.whole for row in rows], self._quotas.shape[1])
        self._found = _stacked([row.found for row in rows], self._quotas.shape[1])
        self.states = self._nodes * int(radixes.prod(axis=1).max()) if asked else self._nodes

    def start(self) -> int:
        """Return the state of the empty text: in front of a word, nothing found."""
        return BORDER

    def extend(self, states: Array, tokens: Array, wanted: Array) -> tuple[Array, Array]:
        """Score each next token.

        Args:
            states: B x K, int64.
            tokens: B x k ids.
            wanted: B x K x k, True where a score is read.

        Returns:
            What each token adds to each text, float32, and the states behind it, both B x K x k, 0 where not wanted.
        """
        gains, behind = np.zeros(wanted.shape, np.float32), np.zeros(wanted.shape, np.int64)
        rows, texts, columns = (wanted & (self._quotas[:, :1] > 0)[:, :, None]).nonzero()
        if not len(rows):
            return gains, behind
        nodes, counts = self._taken_apart(states[rows, texts], rows)
        # Most texts of a beam end alike, and what a token makes of a node is the same for all of them.
        symbols = len(self._spelt)
        pairs, places = np.unique(nodes * symbols + tokens[rows, columns], return_inverse=True)
        new_nodes, found = self._read(pairs // symbols, pairs % symbols)
        new_nodes = new_nodes[places]
        new_counts = np.minimum(counts + found[places], self._quotas[rows])
        gains[rows, texts, columns] = self._value(new_nodes, new_counts, rows) - self._value(nodes, counts, rows)
        digits = (new_counts * self._places[rows]).sum(axis=1)
        behind[rows, texts, columns] = digits * self._nodes + new_nodes - self._starts[rows]
        return gains, behind

    def finish(self, states: Array) -> Array:
        """Score the end of texts, where parts of terms lose their share: states B x K -> B x K, float32."""
        rows = np.arange(len(states)).repeat(states.shape[1])
        nodes, counts = self._taken_apart(states.ravel(), rows)
        final = np.minimum(counts + self._whole[nodes], self._quotas[rows])
        ended: Array = (final * self._bonuses[rows]).sum(axis=1, dtype=np.float32) - self._value(nodes, counts, rows)
        return ended.reshape(states.shape)

    def _taken_apart(self, states: Array, rows: Array) -> tuple[Array, Array]:
        """Split M states of rows into nodes, M, and how often each term was found, M x E."""
        digits = (states // self._nodes)[:, None] // self._places[rows]
        return self._starts[rows] + states % self._nodes, digits % (self._quotas[rows] + 1)

    def _read(self, nodes: Array, tokens: Array) -> tuple[Array, Array]:
        """Read the characters of tokens, U, from nodes, U: the nodes behind, and how often terms are found, U x E."""
        found = np.zeros((len(nodes), self._quotas.shape[1]), np.int64)
        for characters in self._spelt[tokens].T:
            found += self._whole[nodes] & self._outside[characters][:, None]
            nodes = self._following[nodes, characters]
            found += self._found[nodes] & (characters > 0)[:, None]
        return nodes, found

    def _value(self, nodes: Array, counts: Array, rows: Array) -> Array:
        """Sum up M texts, float32: the bonus of the terms found, and the best share of one that is still wanted."""
        bonuses = self._bonuses[rows]
        hoped = self._shares[nodes] * bonuses * (counts < self._quotas[rows])
        value: Array = (counts * bonuses).sum(axis=1, dtype=np.float32) + hoped.max(axis=1)
        return value


class Combined:
    """Adds what two scorers add.

    Args:
        first: any scorer.
        second: a scorer whose states are below ``states``.
        states: that number; times the states of ``first`` it must be below 2^63.

    Attributes:
        most: the sum of theirs.
    """

    def __init__(self, first: PrefixScorer, second: PrefixScorer, states: int) -> None:
        self._first, self._second, self._states = first, second, states
        self.most = first.most + second.most

    def start(self) -> int:
        """Return the state of the empty text."""
        return self._first.start() * self._states + self._second.start()

    def extend(self, states: Array, tokens: Array, wanted: Array) -> tuple[Array, Array]:
        """Score each next token.

        Args:
            states: B x K, int64.
            tokens: B x k ids.
            wanted: B x K x k, True where a score is read.

        Returns:
            What each token adds to each text, float32, and the states behind it, both B x K x k.
        """
        gains, behind = self._first.extend(states // self._states, tokens, wanted)
        more, second = self._second.extend(states % self._states, tokens, wanted)
        return gains + more, behind * self._states + second

    def finish(self, states: Array) -> Array:
        """Score the end of texts: states B x K -> what it adds, B x K, float32."""
        return self._first.finish(states // self._states) + self._second.finish(states % self._states)


def _countable(asked: Mapping[int, int]) -> dict[int, int]:
    """Leave out the last terms of a sentence that has more than a state can count."""
    kept: dict[int, int] = {}
    combinations = 1
    for term, count in asked.items():
        combinations *= count + 1
        if combinations > MOST_COUNTS:
            logger.warning("a sentence asks for %d glossary terms, and only the first %d count", len(asked), len(kept))
            break
        kept[term] = count
    return kept


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Array:
    """Put rows below one another: B x n, n at least 1, int64."""
    padded = np.full((len(rows), max((1, *map(len, rows)))), filler, np.int64)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded


def _stacked(parts: Sequence[Array], width: int) -> Array:
    """Put tables below one another, with zeros to their right."""
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])
