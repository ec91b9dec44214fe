"""The few symbols of each position that a search reads, without scores of all words at all positions in memory."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .ctc_beam import CanvasSymbols
from .prediction import block_rows


class BestSymbols(NamedTuple):
    """The best symbols of N positions.

    Attributes:
        scores: N x k, float32, log-probabilities of the best symbols except the blank, best first.
        tokens: N x k, their ids, all different within a position.
        blank_scores: N, float32, log-probability of the blank.
    """

    scores: Tensor
    tokens: Tensor
    blank_scores: Tensor

    def on_canvas(self, positions: Tensor) -> CanvasSymbols:
        """The symbols on a canvas on the CPU; elsewhere scores are -inf and ids 0.

        ``positions``, B x A, bool, is True at the N positions, in row-major order.
        """
        k = self.scores.size(1)
        scores = self.scores.new_full((*positions.shape, k), float("-inf"))
        tokens = self.tokens.new_zeros((*positions.shape, k))
        blank_scores = self.blank_scores.new_full(positions.shape, float("-inf"))
        scores[positions], tokens[positions], blank_scores[positions] = self
        return CanvasSymbols(scores.cpu().numpy(), tokens.cpu().numpy(), blank_scores.cpu().numpy())


class AskedSymbols(NamedTuple):
    """Symbols that a search reads in addition to the best ones.

    Attributes:
        tokens: N x n ids, all different within a position, -1 for none.
        most: largest number to add, the most probable ones.
        floor: log-probability below which none is added.
    """

    tokens: Tensor
    most: int
    floor: float

    def on_positions(self, positions: Tensor) -> "AskedSymbols":
        """The symbols of B sentences, B x n, repeated at N positions: B x A, bool -> N x n."""
        spread = self.tokens.unsqueeze(1).expand(*positions.shape, self.tokens.size(1))
        return self._replace(tokens=spread[positions])


def best_symbols(
    output_layer: Callable[[Tensor], Tensor],
    states: Tensor,
    symbols: int,
    blank: int,
    k: int,
    asked: AskedSymbols | None = None,
) -> BestSymbols:
    """The most probable symbols of every position, computed block by block.

    Args:
        output_layer: from states, N' x D, to logits, N' x V, which may be overwritten.
        states: N x D.
        symbols: V, with the blank.
        blank: id of the blank.
        k: number of symbols beside the blank; all of them if there are fewer.
        asked: symbols to append to the k best ones; -inf and id 0 stand for those not added.

    Returns:
        The best symbols of the N positions, and the blank's score.

    Raises:
        ValueError: if k is not positive.
    """
    if k < 1:
        raise ValueError(f"the number of symbols to choose from each position must be at least 1, but is {k}")
    k = min(k, symbols - 1)
    rows = block_rows(states, symbols)
    blocks = [
        _best_of_block(
            output_layer(block),
            blank,
            k,
            None if asked is None else asked._replace(tokens=asked.tokens[i * rows : (i + 1) * rows]),
        )
        for i, block in enumerate(torch.split(states, rows))
    ]
    return BestSymbols(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def _best_of_block(logits: Tensor, blank: int, k: int, asked: AskedSymbols | None) -> BestSymbols:
    logits = logits.float()
    blank_logits = logits[:, blank].clone()
    logits[:, blank] = float("-inf")
    best, tokens = logits.topk(k, dim=1)
    asked_logits = None if asked is None else logits.gather(1, asked.tokens.clamp(min=0))
    first = best[:, 0]
    highest, second = torch.maximum(first, blank_logits), torch.minimum(first, blank_logits)
    logits.scatter_(1, tokens[:, :1], float("-inf"))
    # The sum excludes the highest logit, since rounding would lose all others beside its 1.
    others = logits.sub_(highest.unsqueeze(1)).exp_().sum(dim=1) + (second - highest).exp()
    normaliser = torch.log1p(others)
    best, blank_logits = best - highest.unsqueeze(1), blank_logits - highest
    found = BestSymbols(best - normaliser.unsqueeze(1), tokens, blank_logits - normaliser)
    if asked is None or asked_logits is None:
        return found
    return _with_asked(found, asked, asked_logits - highest.unsqueeze(1) - normaliser.unsqueeze(1))


def _with_asked(best: BestSymbols, asked: AskedSymbols, scores: Tensor) -> BestSymbols:
    """Append the asked symbols, with scores N x n, to the best ones."""
    there = (asked.tokens.unsqueeze(2) == best.tokens.unsqueeze(1)).any(dim=2)
    dropped = there | (asked.tokens < 0) | (scores < asked.floor)
    scores, order = scores.masked_fill(dropped, float("-inf")).topk(min(asked.most, scores.size(1)), dim=1)
    tokens = asked.tokens.gather(1, order).masked_fill(scores == float("-inf"), 0)
    return BestSymbols(torch.cat([best.scores, scores], dim=1), torch.cat([best.tokens, tokens], dim=1), best[2])
