"""From a filled canvas to sentences. Tokens are B x A, true canvas lengths B, masks B x A and bool."""

from collections.abc import Callable
from functools import partial

import numpy as np

from .ctc_beam import Array

Kept = Callable[[Array, Array], Array]  # mask of the text on canvases, from their tokens and lengths


def inside(lengths: Array, longest: int) -> Array:
    """B x ``longest``, True where position < length; ``lengths``: B."""
    return np.arange(longest) < lengths[:, None]


def text_of(blank: int, merges: bool) -> Kept:
    """The rule by which a canvas says its text.

    Args:
        blank: id of the symbol that stands for no text. Without CTC it is [PAD], which a model trained with AXE writes
            to skip a position.
        merges: equal neighbours say one token (CTC); with a blank between them both stay.

    Returns:
        A function to the mask of the positions that make the text.
    """
    return partial(_kept, blank=blank, merges=merges)


def _kept(tokens: Array, lengths: Array, blank: int, merges: bool) -> Array:
    kept = (tokens != blank) & inside(lengths, tokens.shape[1])
    if merges:
        kept[:, 1:] &= tokens[:, 1:] != tokens[:, :-1]
    return kept


def compact(values: Array, kept: Array, fill: float) -> Array:
    """Move each row's kept values to its left end, ``fill`` behind them: B x A -> B x L, L the most in a row."""
    counts = kept.sum(axis=1)
    packed = np.full((len(values), counts.max(initial=0)), fill, values.dtype)
    packed[inside(counts, packed.shape[1])] = values[kept]
    return packed


def same_text(tokens: Array, others: Array, lengths: Array, kept: Kept) -> Array:
    """B, bool: whether two canvases, each B x A of the same B lengths, have the same text, however it is spread."""
    texts = [np.where(kept(canvas, lengths), canvas, -1) for canvas in (tokens, others)]
    # A stable sort by "not kept" moves the kept tokens to the left end and keeps their order.
    first, second = (np.take_along_axis(text, np.argsort(text == -1, axis=1, kind="stable"), axis=1) for text in texts)
    same: Array = (first == second).all(axis=1)
    return same
