"""CTC prefix beam search (Graves 2012, section 7.5.3; Hannun et al. 2014), over all sentences of a batch at once.

A hypothesis is a text, not an alignment: it adds up the probabilities of all alignments that the beam kept. Those that
end in a blank are kept apart, since a token can only repeat after a blank.

The search is in numpy and serves models in torch and in ONNX Runtime: small operations start faster on a CPU than in
torch.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NOTHING = -1  # follows the tokens of a text; not an id
IMPOSSIBLE = -np.inf


class CanvasSymbols(NamedTuple):
    """The symbols of each canvas position that the search reads.

    Attributes:
        scores: B x A x k, log-probabilities of the best symbols except the blank.
        tokens: B x A x k, their ids, all different within a position.
        blank_scores: B x A, log-probability of the blank.
    """

    scores: Array
    tokens: Array
    blank_scores: Array


class PrefixScorer(Protocol):
    """Adds a score to texts, token by token. Its states are numbers, which the search keeps for each text.

    Attributes:
        most: the largest gain of a token; infinity: unbounded, or cheap to compute. The search does not score a token
            that could not bring a text into the beam even with this gain.
    """

    most: float

    def start(self) -> int:
        """State of the empty text; the search calls this once a batch."""

    def extend(self, states: Array, tokens: Array, wanted: Array) -> tuple[Array, Array]:
        """Score each next token.

        Args:
            states: B x K, int64.
            tokens: B x k ids.
            wanted: B x K x k, True where the search reads the result.

        Returns:
            Gain of each token after each text, float32, and the states after it, int64, both B x K x k.
        """

    def finish(self, states: Array) -> Array:
        """Gain at the end of texts, float32: states B x K -> B x K."""


class CtcHypotheses(NamedTuple):
    """Texts, all different within a sentence, best first; empty places have scores of -inf.

    Attributes:
        tokens: B x K x L ids, the pad symbol after a text.
        lengths: B x K, number of tokens.
        ctc_scores: B x K, log-probability of each text under CTC, over the alignments that the beam kept.
        scores: B x K, with the scorer's gains; they decide the order.
    """

    tokens: Array
    lengths: Array
    ctc_scores: Array
    scores: Array

    @property
    def counts(self) -> Array:
        """Number of texts of each sentence: B."""
        return np.isfinite(self.ctc_scores).sum(axis=1)

    @property
    def means(self) -> Array:
        """Scores divided by the number of tokens, B x K; of an empty text by 1."""
        return self.scores / np.maximum(self.lengths, 1)


class _Beam(NamedTuple):
    """Texts in progress.

    Attributes:
        tokens: B x K x A, ``NOTHING`` after a text.
        lengths: B x K.
        blank: B x K, log-probability of the alignments that end in a blank, or are empty.
        token: B x K, of those that end in the text's last token.
        shared: B x K x K, length of the common prefix of two texts.
        states: B x K, the scorer's.
        added: B x K, the scorer's gains.
    """

    tokens: Array
    lengths: Array
    blank: Array
    token: Array
    shared: Array
    states: Array
    added: Array


class _Growth(NamedTuple):
    """Effect of a canvas position on a beam: each text may stay, or grow by one token.

    Attributes:
        blank: B x K, of a text that stays: log-probability of the alignments that end in a blank.
        token: B x K, of those that end in its last token.
        grown: B x K x k, log-probability of a text that grows; -inf if the result is in the beam already.
    """

    blank: Array
    token: Array
    grown: Array


def ctc_beam_search(
    symbols: CanvasSymbols, lengths: Array, beam: int, pad: int, scorer: PrefixScorer | None = None
) -> CtcHypotheses:
    """Search the most probable texts.

    Args:
        symbols: of each position; those beyond a sentence's canvas are ignored.
        lengths: B, true canvas lengths.
        beam: K, texts kept at each position.
        pad: id that follows a text in the result.
        scorer: adds to the scores of texts; None: CTC alone decides.

    Returns:
        Up to K texts of each sentence; without a canvas the empty text alone.

    Raises:
        ValueError: if the beam is not positive.
    """
    if beam < 1:
        raise ValueError(f"--ctc-beam must be at least 1, but is {beam}")
    padding = np.arange(symbols.blank_scores.shape[1]) >= lengths[:, None]
    # A certain blank changes no text and no probability, so that sentences of all lengths can run together.
    blank_scores = np.where(padding, 0, symbols.blank_scores)
    scores = np.where(padding[:, :, None], IMPOSSIBLE, symbols.scores)
    state = _first_beam(blank_scores, beam, scorer.start() if scorer else 0)
    for i in range(int(lengths.max()) if len(lengths) else 0):
        state = _step(state, CanvasSymbols(scores[:, i], symbols.tokens[:, i], blank_scores[:, i]), scorer)
    return _hypotheses(state, pad, scorer)


def _first_beam(scores: Array, beam: int, state: int) -> _Beam:
    """The empty text in the first place of each sentence, and nothing in the others: scores B x A."""
    sentences, longest = scores.shape
    nobody = np.full((sentences, beam), IMPOSSIBLE, scores.dtype)
    blank = nobody.copy()
    blank[:, 0] = 0.0
    zeros = np.zeros((sentences, beam), np.int64)
    return _Beam(
        tokens=np.full((sentences, beam, longest), NOTHING),
        lengths=zeros,
        blank=blank,
        token=nobody,
        shared=np.zeros((sentences, beam, beam), np.int64),
        states=np.full_like(zeros, state),
        added=np.zeros_like(nobody),
    )


def _step(beam: _Beam, symbols: CanvasSymbols, scorer: PrefixScorer | None) -> _Beam:
    """Read one canvas position (shapes lack A): extend the texts in all ways, and keep the best."""
    (sentences, size), k = beam.lengths.shape, symbols.tokens.shape[1]
    rows, places = np.arange(sentences)[:, None], np.arange(size)
    growth = _grow(beam, symbols)
    added = np.broadcast_to(beam.added[:, :, None], growth.grown.shape)
    states = np.broadcast_to(beam.states[:, :, None], growth.grown.shape)
    stay = np.logaddexp(growth.blank, growth.token) + beam.added
    if scorer is not None:
        asked, gains, states = _score(scorer, beam, symbols.tokens, growth.grown, stay)
        added = added + gains
        growth = growth._replace(grown=np.where(asked, growth.grown, IMPOSSIBLE))
    ranked = _side_by_side(stay, growth.grown + added)  # B x (K + K k)
    # A stable sort keeps the order of equal values independent of the batch. Among impossible texts it prefers those
    # that stay, so that only the empty text can occur twice.
    chosen = np.argsort(-ranked, axis=1, kind="stable")[:, :size]
    grows = chosen >= size
    parents = np.where(grows, (chosen - size) // k, chosen)
    lengths = beam.lengths[rows, parents]
    tokens = beam.tokens[rows, parents]
    tokens[rows, places, lengths] = np.where(grows, symbols.tokens[rows, np.maximum(chosen - size, 0) % k], NOTHING)
    lengths = lengths + grows
    return _Beam(
        tokens=tokens,
        lengths=lengths,
        blank=np.where(grows, IMPOSSIBLE, growth.blank[rows, parents]),
        token=_side_by_side(growth.token, growth.grown)[rows, chosen],
        shared=_shared(beam.shared[rows[:, :, None], parents[:, :, None], parents[:, None, :]], tokens, lengths),
        states=_side_by_side(beam.states, states)[rows, chosen],
        added=_side_by_side(beam.added, added)[rows, chosen],
    )


def _score(scorer: PrefixScorer, beam: _Beam, tokens: Array, grown: Array, stay: Array) -> tuple[Array, Array, Array]:
    """Ask the scorer for the tokens that may bring a text into the next beam.

    Args:
        scorer: the scorer.
        beam: the texts.
        tokens: B x k ids.
        grown: B x K x k, log-probabilities of the texts with a token more.
        stay: B x K, scores of the texts as they are.

    Returns:
        Which were asked for, what their tokens add and the states behind them, all B x K x k.
    """
    asked = grown > IMPOSSIBLE
    if not np.isfinite(scorer.most):
        gains, states = scorer.extend(beam.states, tokens, asked)
        return asked, gains.astype(grown.dtype, copy=False), states
    before = beam.added[:, :, None]
    hoped = grown + (before + scorer.most)
    size = stay.shape[1]
    asked &= hoped >= stay.min(axis=1)[:, None, None]  # else all K texts as they are come before
    first = asked & (hoped >= _ranked(hoped.reshape(len(hoped), -1), size))
    gains, states = scorer.extend(beam.states, tokens, first)
    gains = gains.astype(grown.dtype, copy=False)
    found = _side_by_side(stay, np.where(first, grown + (before + gains), IMPOSSIBLE))
    second = asked & ~first & (hoped >= _ranked(found, size))  # else K texts whose scores are known come before
    more, behind = scorer.extend(beam.states, tokens, second)
    gains = np.where(second, more.astype(grown.dtype, copy=False), gains)
    return first | second, gains, np.where(second, behind, states)


def _ranked(scores: Array, rank: int) -> Array:
    """Return the value of a rank, counted from the best: B x n -> B x 1 x 1."""
    found: Array = np.partition(scores, -rank, axis=1)[:, -rank, None, None]
    return found


def _side_by_side(of_stays: Array, of_grown: Array) -> Array:
    """Values of texts that stay (B x K), then of those that grow (B x K x k): B x (K + K k)."""
    return np.concatenate([of_stays, of_grown.reshape(len(of_grown), -1)], axis=1)


def _grow(beam: _Beam, symbols: CanvasSymbols) -> _Growth:
    """Add up the alignments that lead to each text."""
    total = np.logaddexp(beam.blank, beam.token)
    ends = np.maximum(beam.lengths - 1, 0)[:, :, None]
    last = np.take_along_axis(beam.tokens, ends, axis=2)[:, :, 0]
    is_last = symbols.tokens[:, None, :] == last[:, :, None]  # B x K x k
    scores = symbols.scores[:, None, :]
    last_score = np.where(is_last, scores, IMPOSSIBLE).max(axis=2)
    grown = np.where(is_last, beam.blank[:, :, None], total[:, :, None]) + scores
    # B x K x K, [i, j]: text j is text i and one more token. Unfilled places hold the empty text, which has no parent.
    longer = beam.lengths[:, :, None]
    child = (beam.shared == longer) & (beam.lengths[:, None, :] == longer + 1)
    repeats = last[:, :, None] == last[:, None, :]
    source = np.where(repeats, beam.blank[:, :, None], total[:, :, None])
    from_parent = np.where(child, source, IMPOSSIBLE).max(axis=1)  # a text has at most one parent
    in_beam = child @ is_last  # boolean product: some child of text i ends in the symbol, B x K x k
    return _Growth(
        blank=total + symbols.blank_scores[:, None],
        token=np.logaddexp(beam.token, from_parent) + last_score,
        grown=np.where(in_beam, IMPOSSIBLE, grown),
    )


def _shared(before: Array, tokens: Array, lengths: Array) -> Array:
    """Lengths of the common prefixes of new texts, at most one more than their parents': B x K x K.

    ``before`` is B x K x K, of the parents; ``tokens`` are B x K x A, ``lengths`` B x K.
    """
    next_tokens = np.take_along_axis(tokens, np.minimum(before, tokens.shape[2] - 1), axis=2)  # [i, j]: of text i
    equal = (next_tokens == next_tokens.transpose(0, 2, 1)) & (lengths[:, :, None] > before)
    return before + equal


def _hypotheses(beam: _Beam, pad: int, scorer: PrefixScorer | None) -> CtcHypotheses:
    ctc_scores = np.logaddexp(beam.blank, beam.token)
    scores = ctc_scores + beam.added
    if scorer is not None:
        scores = scores + scorer.finish(beam.states).astype(scores.dtype, copy=False)
    order = np.argsort(-scores, axis=1, kind="stable")
    rows = np.arange(len(order))[:, None]
    scores, ctc_scores = scores[rows, order], ctc_scores[rows, order]
    lengths = np.where(ctc_scores == IMPOSSIBLE, 0, beam.lengths[rows, order])
    longest = int(lengths.max()) if lengths.size else 0
    tokens = beam.tokens[rows, order, :longest]
    behind = np.arange(longest) >= lengths[:, :, None]
    return CtcHypotheses(np.where(behind, pad, tokens), lengths, ctc_scores, scores)
