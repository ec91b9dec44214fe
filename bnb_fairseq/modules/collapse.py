"""From a filled canvas to sentences."""

from collections.abc import Callable

from torch import Tensor

from .canvas import padding_mask


def kept_by_ctc(tokens: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Mark the positions that CTC's collapse keeps: merge equal neighbours, then drop blanks.

    Two equal tokens with a blank between them both stay.

    Args:
        tokens: B x A.
        lengths: B, true canvas lengths.
        blank: id of the blank.

    Returns:
        B x A, bool.
    """
    kept = tokens.ne(blank) & ~padding_mask(lengths, tokens.size(1))
    kept[:, 1:] &= tokens[:, 1:] != tokens[:, :-1]
    return kept


def kept_on_canvas(tokens: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Mark the positions of a length-controlled canvas that say something.

    Args:
        tokens: B x A.
        lengths: B, true canvas lengths.
        blank: id by which a model trained with AXE leaves a position out, [PAD].

    Returns:
        B x A, bool.
    """
    return tokens.ne(blank) & ~padding_mask(lengths, tokens.size(1))


def compact(values: Tensor, kept: Tensor, fill: float) -> Tensor:
    """Move the kept values of every row to its left end.

    Args:
        values: B x A.
        kept: B x A, bool.
        fill: what stands behind them.

    Returns:
        B x L, L the largest number of kept values in a row.
    """
    counts = kept.sum(dim=1)
    longest = int(counts.max()) if len(counts) else 0
    packed = values.new_full((len(values), longest), fill)
    packed[~padding_mask(counts, longest)] = values[kept]
    return packed


def same_text(tokens: Tensor, others: Tensor, lengths: Tensor, kept: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Compare the texts of two canvases, however their tokens are spread.

    Args:
        tokens: B x A.
        others: B x A.
        lengths: B, true lengths of both.
        kept: marks the positions of a canvas that are part of its text, of tokens and lengths.

    Returns:
        B, bool.
    """
    texts = [canvas.masked_fill(~kept(canvas, lengths), -1) for canvas in (tokens, others)]
    # A stable sort by "left out" moves what is kept to the left end, in its order.
    first, second = (text.gather(1, text.eq(-1).to(text.dtype).argsort(dim=1, stable=True)) for text in texts)
    return (first == second).all(dim=1)
