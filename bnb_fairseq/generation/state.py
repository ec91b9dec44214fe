"""The state of decoding, and pure functions from one state to the next."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..modules.collapse import same_text


class DecodingState(NamedTuple):
    """A canvas in progress, never changed in place.

    Attributes:
        tokens: B x A, token ids, the pad symbol beyond a sentence's canvas.
        scores: B x A, log-probability of each token at its last prediction; 0 beyond the canvas.
        lengths: B, true canvas lengths.
        passes: B, decoder passes that changed each sentence.
        done: B, True if further passes would change nothing.
    """

    tokens: Tensor
    scores: Tensor
    lengths: Tensor
    passes: Tensor
    done: Tensor


def first_state(tokens: Tensor, scores: Tensor, lengths: Tensor) -> DecodingState:
    """State after pass 0, of tokens and scores B x A and lengths B."""
    return DecodingState(tokens, scores, lengths, torch.ones_like(lengths), torch.zeros_like(lengths, dtype=torch.bool))


def tokens_to_mask(lengths: Tensor, refinement: int, refinements: int) -> Tensor:
    """Linear schedule of mask-predict (Ghazvininejad et al. 2019, section 3.1): n = T (P - t) / P, P passes in all.

    Args:
        lengths: B, T of each sentence.
        refinement: t, 1 for the first pass after pass 0.
        refinements: P - 1, passes after pass 0.

    Returns:
        B, number of tokens to mask, rounded down.
    """
    return lengths * (refinements + 1 - refinement) // (refinements + 1)


def least_confident(scores: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    """B x A, True at the ``counts`` (B) tokens with the lowest scores (B x A); ties go to the left."""
    places = torch.arange(scores.size(1), device=scores.device)
    inside = scores.masked_fill(places >= lengths.unsqueeze(1), float("inf"))
    rank = inside.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    return rank < counts.unsqueeze(1)


def refined(
    state: DecodingState,
    hidden: Tensor,
    tokens: Tensor,
    scores: Tensor,
    kept: Callable[[Tensor, Tensor], Tensor] | None,
) -> DecodingState:
    """Replace hidden tokens by new predictions; sentences that are done stay as they are.

    Args:
        state: the state before the pass.
        hidden: B x A, True at predicted positions.
        tokens: B x A, the predictions; read only where hidden.
        scores: B x A, their log-probabilities.
        kept: mask of the text on a canvas, from its tokens and lengths: a sentence with an unchanged text is done;
            None: none is.

    Returns:
        The state after the pass.
    """
    update = hidden & ~state.done.unsqueeze(1)
    new_tokens = torch.where(update, tokens, state.tokens)
    unchanged = torch.zeros_like(state.done)
    if kept is not None:
        unchanged = same_text(state.tokens, new_tokens, state.lengths, kept)
    return DecodingState(
        tokens=new_tokens,
        scores=torch.where(update, scores, state.scores),
        lengths=state.lengths,
        passes=state.passes + (~state.done).long(),
        done=state.done | unchanged,
    )
