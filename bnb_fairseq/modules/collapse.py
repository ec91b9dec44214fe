"""From a filled canvas to sentences. Tokens are B x A, true canvas lengths B, masks B x A and bool."""

from collections.abc import Callable

from torch import Tensor

from .canvas import padding_mask


def kept_by_ctc(tokens: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """True at the positions that CTC's collapse keeps: merge equal neighbours, then drop blanks.

    Two equal tokens with a blank between them both stay.
    """
    kept = tokens.ne(blank) & ~padding_mask(lengths, tokens.size(1))
    kept[:, 1:] &= tokens[:, 1:] != tokens[:, :-1]
    return kept


def kept_on_canvas(tokens: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """True at the text of a length-controlled canvas; a model trained with AXE writes ``blank`` to skip a position."""
    return tokens.ne(blank) & ~padding_mask(lengths, tokens.size(1))


def compact(values: Tensor, kept: Tensor, fill: float) -> Tensor:
    """Move each row's kept values to its left end, ``fill`` behind them: B x A -> B x L, L the most in a row."""
    counts = kept.sum(dim=1)
    longest = int(counts.max()) if len(counts) else 0
    packed = values.new_full((len(values), longest), fill)
    packed[~padding_mask(counts, longest)] = values[kept]
    return packed


def same_text(tokens: Tensor, others: Tensor, lengths: Tensor, kept: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """B, bool: whether two canvases, each B x A of the same B lengths, have the same text, however it is spread.

    ``kept`` marks the text on a canvas, from its tokens and lengths.
    """
    texts = [canvas.masked_fill(~kept(canvas, lengths), -1) for canvas in (tokens, others)]
    # A stable sort by "not kept" moves the kept tokens to the left end and keeps their order.
    first, second = (text.gather(1, text.eq(-1).to(text.dtype).argsort(dim=1, stable=True)) for text in texts)
    return (first == second).all(dim=1)
