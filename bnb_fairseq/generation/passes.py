"""The canvas of each sentence after each pass, as a search leaves it behind."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .generator import NarGenerator
from .state import DecodingState, least_confident, tokens_to_mask


class CanvasState(NamedTuple):
    """The canvas of one sentence after a pass.

    Attributes:
        tokens: A ids.
        scores: A, log-probability of each when it was last predicted.
        again: A, True: the pass hid the position and predicted it again; never in pass 0.
        kept: A, True: the token is part of the text, neither a blank nor merged with its left neighbour.
    """

    tokens: list[int]
    scores: list[float]
    again: list[bool]
    kept: list[bool]


def hidden_before(states: Sequence[DecodingState], refinements: int) -> list[Tensor]:
    """Find the positions that each pass after pass 0 hid and predicted again.

    Args:
        states: after each pass.
        refinements: most passes after pass 0.

    Returns:
        B x A, bool, one fewer than states.
    """
    found = []
    for refinement, state in enumerate(states[:-1], start=1):
        counts = tokens_to_mask(state.lengths, refinement, refinements)
        found.append(least_confident(state.scores, state.lengths, counts) & ~state.done.unsqueeze(1))
    return found


def canvas_states(generator: NarGenerator, batch: Mapping[str, Any]) -> list[list[CanvasState]]:
    """Fill and refine the canvases of a batch.

    Args:
        generator: retains its history; of one canvas a sentence.
        batch: ``src_tokens`` and ``src_lengths``.

    Returns:
        Of each sentence the canvas after each of its passes.
    """
    states = generator.passes({"net_input": batch})
    nothing = torch.zeros_like(states[0].tokens, dtype=torch.bool)
    again = [nothing, *hidden_before(states, generator.options.max_iter)]
    kept = [generator.model.control.kept(state.tokens, state.lengths) for state in states]
    parts = [
        [part.tolist() for part in (state.tokens, state.scores, hidden, text)]
        for state, hidden, text in zip(states, again, kept, strict=True)
    ]
    sizes = zip(states[-1].lengths.tolist(), states[-1].passes.tolist(), strict=True)
    return [
        [CanvasState(*(part[row][:length] for part in of_pass)) for of_pass in parts[:passes]]
        for row, (length, passes) in enumerate(sizes)
    ]
