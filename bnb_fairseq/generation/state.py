"""Mask-predict: the state of decoding, and pure functions from one state to the next.

They are in numpy, and serve models in torch and in ONNX Runtime.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .collapse import Kept, inside, same_text
from .ctc_beam import Array

# From the positions to predict, B x A, and what the decoder reads on the canvas, B x A ids, to B x A ids and scores.
Predict = Callable[[Array, Array], tuple[Array, Array]]


class DecodingState(NamedTuple):
    """A canvas in progress, never changed in place.

    Attributes:
        tokens: B x A, token ids, anything beyond a sentence's canvas.
        scores: B x A, log-probability of each token at its last prediction; anything beyond the canvas.
        lengths: B, true canvas lengths.
        passes: B, decoder passes that changed each sentence.
        done: B, True if further passes would change nothing.
    """

    tokens: Array
    scores: Array
    lengths: Array
    passes: Array
    done: Array


def first_state(tokens: Array, scores: Array, lengths: Array) -> DecodingState:
    """State after pass 0, of tokens and scores B x A and lengths B."""
    return DecodingState(tokens, scores, lengths, np.ones_like(lengths), np.zeros(lengths.shape, np.bool_))


def tokens_to_mask(lengths: Array, refinement: int, refinements: int) -> Array:
    """Linear schedule of mask-predict (Ghazvininejad et al. 2019, section 3.1): n = T (P - t) / P, P passes in all.

    Args:
        lengths: B, T of each sentence.
        refinement: t, 1 for the first pass after pass 0.
        refinements: P - 1, passes after pass 0.

    Returns:
        B, number of tokens to mask, rounded down.
    """
    return lengths * (refinements + 1 - refinement) // (refinements + 1)


def least_confident(scores: Array, lengths: Array, counts: Array) -> Array:
    """B x A, True at the ``counts`` (B) tokens with the lowest scores (B x A); ties go to the left."""
    within = np.where(inside(lengths, scores.shape[1]), scores, np.inf)
    rank = np.argsort(np.argsort(within, axis=1, kind="stable"), axis=1, kind="stable")
    chosen: Array = rank < counts[:, None]
    return chosen


def refined(state: DecodingState, hidden: Array, tokens: Array, scores: Array, kept: Kept | None) -> DecodingState:
    """Replace hidden tokens by new predictions; sentences that are done stay as they are.

    Args:
        state: the state before the pass.
        hidden: B x A, True at predicted positions.
        tokens: B x A, the predictions; read only where hidden.
        scores: B x A, their log-probabilities.
        kept: a sentence is done if the text that it gives is unchanged; None: none is.

    Returns:
        The state after the pass.
    """
    update = hidden & ~state.done[:, None]
    new_tokens = np.where(update, tokens, state.tokens)
    unchanged = np.zeros_like(state.done)
    if kept is not None:
        unchanged = same_text(state.tokens, new_tokens, state.lengths, kept)
    return DecodingState(
        tokens=new_tokens,
        scores=np.where(update, scores, state.scores),
        lengths=state.lengths,
        passes=state.passes + ~state.done,
        done=state.done | unchanged,
    )


def refinements(
    state: DecodingState, most: int, mask: int, kept: Kept | None, predict: Predict
) -> Iterator[DecodingState]:
    """Refine canvases until all are done.

    Args:
        state: after pass 0.
        most: most passes after it.
        mask: id of [MASK], which the decoder reads at hidden positions.
        kept: see ``refined``.
        predict: runs the decoder.

    Yields:
        The state after each pass.
    """
    for refinement in range(1, most + 1):
        if state.done.all():
            return
        hidden = hidden_in(state, refinement, most)
        predicted = predict(hidden, np.where(hidden, mask, state.tokens))
        state = refined(state, hidden, *predicted, kept)
        yield state


def hidden_in(state: DecodingState, refinement: int, most: int) -> Array:
    """B x A, True at the positions that a pass hides; arguments as in ``refinements`` and ``tokens_to_mask``."""
    return least_confident(state.scores, state.lengths, tokens_to_mask(state.lengths, refinement, most))
