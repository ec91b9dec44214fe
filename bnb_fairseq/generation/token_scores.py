"""Log-probabilities of single tokens of a text that a search found, where alignments that say the same were summed."""

import numpy as np

from .ctc_beam import IMPOSSIBLE, Array, CanvasSymbols, CtcHypotheses


def score_best(symbols: CanvasSymbols, lengths: Array, found: CtcHypotheses, count: int) -> Array:
    """Score the tokens of the texts with the best means.

    Args:
        symbols: as the search read them.
        lengths: B, true canvas lengths.
        found: the texts, K of each sentence.
        count: how many of each sentence to score.

    Returns:
        B x K x L, float32; 0 behind a text and for the other texts.
    """
    chosen = np.argsort(-found.means, axis=1, kind="stable")[:, :count]
    rows, texts = np.arange(len(chosen)).repeat(chosen.shape[1]), chosen.ravel()
    repeated = CanvasSymbols(*(part[rows] for part in symbols))
    scores = np.zeros(found.tokens.shape, np.float32)
    scores[rows, texts] = token_scores(repeated, lengths[rows], found.tokens[rows, texts], found.lengths[rows, texts])
    return scores


def token_scores(symbols: CanvasSymbols, lengths: Array, tokens: Array, text_lengths: Array) -> Array:
    """Score each token at the best of the positions that it has in the text's most probable alignment.

    Args:
        symbols: as the search read them.
        lengths: B, true canvas lengths.
        tokens: B x T ids, a text that the search found for each sentence.
        text_lengths: B, true numbers of tokens.

    Returns:
        B x T, float32; 0 behind a text.
    """
    batch, canvas, k = symbols.tokens.shape
    scores = np.full((batch, canvas, tokens.shape[1]), IMPOSSIBLE, symbols.scores.dtype)
    for i in range(k):
        read = np.where(symbols.tokens[:, :, i, None] == tokens[:, None, :], symbols.scores[:, :, i, None], IMPOSSIBLE)
        np.maximum(scores, read, out=scores)
    aligned = _align(scores, symbols.blank_scores, tokens, lengths, text_lengths)
    here = aligned[:, :, None] == np.arange(tokens.shape[1])  # B x A x T
    best = np.where(here, scores, IMPOSSIBLE).max(axis=1, initial=IMPOSSIBLE)
    behind = np.arange(tokens.shape[1]) >= text_lengths[:, None]
    return np.where(behind, 0, best).astype(np.float32)


def _align(scores: Array, blank_scores: Array, tokens: Array, lengths: Array, text_lengths: Array) -> Array:
    """Find the most probable alignment, by Viterbi's search over CTC's states blank, y_1, blank, y_2, ..., blank.

    Args:
        scores: B x A x T, of each token of the text at each position.
        blank_scores: B x A.
        tokens: B x T, the text, which fits the canvas.
        lengths: B, true canvas lengths.
        text_lengths: B.

    Returns:
        B x A, which token of the text each position stands for; -1 for the blank and beyond the canvas.
    """
    batch, canvas, longest = scores.shape
    emitted = np.repeat(blank_scores[:, :, None], 2 * longest + 1, axis=2)
    emitted[:, :, 1::2] = scores
    jumps = np.full((batch, 2 * longest + 1), IMPOSSIBLE)
    jumps[:, 1:2] = 0
    jumps[:, 3::2][tokens[:, 1:] != tokens[:, :-1]] = 0
    # Two more states on the left: from the second one an alignment begins, with a blank or the first token.
    reached = np.full((batch, 2 * longest + 3), IMPOSSIBLE)
    reached[:, 1] = 0
    moves = np.zeros((canvas, batch, 2 * longest + 1), np.int64)
    for a in range(canvas):
        ways = np.stack([reached[:, 2:], reached[:, 1:-1], reached[:, :-2] + jumps])
        moves[a] = ways.argmax(axis=0)
        inside = (a < lengths)[:, None]
        reached[:, 2:] = np.where(inside, ways.max(axis=0) + emitted[:, a], reached[:, 2:])
        reached[:, :2] = IMPOSSIBLE
    rows, state = np.arange(batch), 2 * text_lengths  # the last blank, or the last token
    state = state - (reached[rows, np.maximum(state + 1, 2)] > reached[rows, state + 2])
    aligned = np.full((batch, canvas), -1)
    for a in reversed(range(canvas)):
        inside = a < lengths
        aligned[:, a] = np.where(inside & (state % 2 == 1), state // 2, -1)
        state = np.where(inside, np.maximum(state - moves[a, rows, state], 0), state)
    return aligned
