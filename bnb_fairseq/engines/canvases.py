"""The canvas of each sentence after each pass, from the states of decoding."""

from collections.abc import Sequence

import numpy as np

from ..generation.collapse import Kept
from ..generation.state import DecodingState, hidden_in
from .interface import CanvasPass


def canvas_passes(states: Sequence[DecodingState], refinements: int, blank: int, kept: Kept) -> list[list[CanvasPass]]:
    """Describe how canvases were filled and refined.

    Args:
        states: after each pass.
        refinements: most passes after pass 0.
        blank: id of the symbol that stands for no text.
        kept: the rule by which a canvas says its text.

    Returns:
        Of each sentence the canvas after each of its passes.
    """
    hidden = [hidden_in(before, i, refinements) for i, before in enumerate(states[:-1], start=1)]
    again = [np.zeros(states[0].tokens.shape, np.bool_), *hidden]
    parts = [
        [part.tolist() for part in (state.tokens, state.scores, predicted, kept(state.tokens, state.lengths))]
        for state, predicted in zip(states, again, strict=True)
    ]
    sizes = zip(states[-1].lengths.tolist(), states[-1].passes.tolist(), strict=True)
    rows = [
        [[part[row][:length] for part in of_pass] for of_pass in parts[:passes]]
        for row, (length, passes) in enumerate(sizes)
    ]
    return [
        [CanvasPass([None if i == blank else i for i in tokens], *others) for tokens, *others in of_sentence]
        for of_sentence in rows
    ]
