"""The state of decoding, and pure functions that make the next one from it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..modules.collapse import same_text


class DecodingState(NamedTuple):
    """A canvas being filled; nothing in it is ever changed in place.

    Attributes:
        tokens: B x A, token ids, the pad symbol beyond a sentence's canvas.
        scores: B x A, log-probability of each token when it was last predicted; 0 beyond the canvas.
        lengths: B, true canvas lengths.
        passes: B, decoder passes that shaped each sentence.
        done: B, True where further passes would change nothing.
    """

    tokens: Tensor
    scores: Tensor
    lengths: Tensor
    passes: Tensor
    done: Tensor


def first_state(tokens: Tensor, scores: Tensor, lengths: Tensor) -> DecodingState:
    """Build the state after pass 0.

    Args:
        tokens: B x A.
        scores: B x A.
        lengths: B.

    Returns:
        The state, nothing done yet.
    """
    return DecodingState(tokens, scores, lengths, torch.ones_like(lengths), torch.zeros_like(lengths, dtype=torch.bool))


def tokens_to_mask(lengths: Tensor, refinement: int, refinements: int) -> Tensor:
    """Linear schedule of mask-predict (Ghazvininejad et al. 2019, section 3.1): n = T (P - t) / P, P passes in all.

    Args:
        lengths: B.
        refinement: t, 1 for the first pass after pass 0.
        refinements: number of passes after pass 0.

    Returns:
        B, how many tokens to mask, rounded down.
    """
    return lengths * (refinements + 1 - refinement) // (refinements + 1)


def least_confident(scores: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    """Choose the tokens with the lowest scores.

    Args:
        scores: B x A.
        lengths: B, true canvas lengths.
        counts: B, how many to choose.

    Returns:
        B x A, True at chosen positions; ties go to the left.
    """
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
    """Put newly predicted tokens in place of hidden ones.

    Args:
        state: the state before the pass.
        hidden: B x A, positions that were predicted anew.
        tokens: B x A, the predictions; read only where hidden.
        scores: B x A, their log-probabilities.
        kept: marks the positions of a canvas that are part of its text, of tokens and lengths: a sentence whose text
            did not change is done; None: go on with it.

    Returns:
        The state after the pass; sentences that were done are as before.
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
