"""Connectionist temporal classification (Graves et al. 2006) over a decoder's canvas."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..modules.canvas import padding_mask

ALMOST_IMPOSSIBLE = -1e4  # torch's gradient is nan at log 0


class CtcLoss(NamedTuple):
    """CTC loss of a batch.

    Attributes:
        nll: B, -log p(target), p summed over all alignments; 0 where the target does not fit.
        fits: B, True where the canvas has room for the target.
    """

    nll: Tensor
    fits: Tensor


def needed_positions(targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Canvas positions that each target needs, B: its length, and a blank between equal neighbours."""
    if targets.size(1) < 2:
        return target_lengths
    repeats = (targets[:, 1:] == targets[:, :-1]).cumsum(dim=1)
    last = (target_lengths - 2).clamp(min=0)  # index of the last pair of true tokens
    inside = repeats.gather(1, last.unsqueeze(1)).squeeze(1)
    return target_lengths + inside.masked_fill(target_lengths < 2, 0)


def words_to_score(targets: Tensor, blank: int) -> Tensor:
    """Words whose log-probabilities ``ctc_loss`` reads, B x (1 + T): the blank, then the target."""
    return F.pad(targets, (1, 0), value=blank)


def ctc_loss(scores: Tensor, targets: Tensor, canvas_lengths: Tensor, target_lengths: Tensor) -> CtcLoss:
    """Compute -log p(target), p summed over all alignments that collapse to it.

    Args:
        scores: A x B x (1 + T), float32 or float64, log-probabilities of ``words_to_score``.
        targets: B x T, right-padded ids without blanks.
        canvas_lengths: B.
        target_lengths: B.

    Returns:
        The loss of each sentence, inf with gradient 0 where the target fits but has probability 0, and whether it fits.
    """
    fits = needed_positions(targets, target_lengths) <= canvas_lengths
    same = targets.unsqueeze(2) == targets.unsqueeze(1)  # B x T x T
    columns = 1 + same.int().argmax(dim=2) if targets.size(1) else targets  # of each token's first occurrence
    inside = ~padding_mask(canvas_lengths, len(scores)).transpose(0, 1) & fits  # A x B
    return CtcLoss(_Ctc.apply(scores, columns, canvas_lengths, target_lengths, inside, fits), fits)  # type: ignore[no-untyped-call]


class _Ctc(torch.autograd.Function):
    """torch's CTC with its true gradient over log p_v, -q_v, where q_v is the word's posterior at the position.

    torch returns p_v - q_v: it assumes a log-softmax over the same words in front, under which the two agree.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        columns: Tensor,
        canvas_lengths: Tensor,
        target_lengths: Tensor,
        inside: Tensor,
        fits: Tensor,
    ) -> Tensor:
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            nll = F.ctc_loss(leaf, columns, canvas_lengths, target_lengths, reduction="none")
            (gradient,) = torch.autograd.grad(nll.sum(), leaf)
        possible = inside & nll.isfinite()
        ctx.save_for_backward(torch.where(possible.unsqueeze(2), gradient - scores.exp(), 0))
        return torch.where(fits, nll.detach(), 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return weights.unsqueeze(1) * gradient, None, None, None, None, None


def uniform_divergence(mean_log_probs: Tensor, symbols: int) -> Tensor:
    """KL(uniform || p), nats, from the mean of log p over V ``symbols``: the original's label smoothing under CTC."""
    return -math.log(symbols) - mean_log_probs


def known_scores(tokens: Tensor, words: Tensor) -> Tensor:
    """Scores of positions whose token is known: 0 for it, almost log 0 for all others.

    Args:
        tokens: B x A ids.
        words: B x (1 + T), from ``words_to_score``.

    Returns:
        B x A x (1 + T), float32.
    """
    return torch.where(tokens.unsqueeze(2) == words.unsqueeze(1), 0.0, ALMOST_IMPOSSIBLE)
