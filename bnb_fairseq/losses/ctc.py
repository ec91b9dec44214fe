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
        nll: B, negative log-probability of each target, summed over all its alignments; 0 where it does not fit.
        fits: B, True where the canvas has room for the target.
    """

    nll: Tensor
    fits: Tensor


def needed_positions(targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Count the canvas positions that a target needs: its length, and a blank between equal neighbours.

    Args:
        targets: B x T, right-padded ids.
        target_lengths: B.

    Returns:
        B.
    """
    if targets.size(1) < 2:
        return target_lengths
    repeats = (targets[:, 1:] == targets[:, :-1]).cumsum(dim=1)
    last = (target_lengths - 2).clamp(min=0)  # index of the last pair of true tokens
    inside = repeats.gather(1, last.unsqueeze(1)).squeeze(1)
    return target_lengths + inside.masked_fill(target_lengths < 2, 0)


def words_to_score(targets: Tensor, blank: int) -> Tensor:
    """List the words whose log-probabilities ``ctc_loss`` reads.

    Args:
        targets: B x T, right-padded ids.
        blank: id of the blank.

    Returns:
        B x (1 + T): the blank, then the target.
    """
    return F.pad(targets, (1, 0), value=blank)


def ctc_loss(scores: Tensor, targets: Tensor, canvas_lengths: Tensor, target_lengths: Tensor) -> CtcLoss:
    """Compute -log p(target), p summed over all alignments that collapse to it.

    It reads the log-probabilities of a sentence's own words alone: the rest of the vocabulary has no part in it.

    Args:
        scores: A x B x (1 + T), float32 or float64, log-probabilities of ``words_to_score``.
        targets: B x T, right-padded ids without blanks.
        canvas_lengths: B, true canvas lengths.
        target_lengths: B, true target lengths.

    Returns:
        The loss of each sentence, inf with gradient 0 where the target fits but has probability 0, and whether it fits.
    """
    fits = needed_positions(targets, target_lengths) <= canvas_lengths
    same = targets.unsqueeze(2) == targets.unsqueeze(1)  # B x T x T
    columns = 1 + same.int().argmax(dim=2) if targets.size(1) else targets  # of each token's first occurrence
    inside = ~padding_mask(canvas_lengths, len(scores)).transpose(0, 1) & fits  # A x B
    return CtcLoss(_Ctc.apply(scores, columns, canvas_lengths, target_lengths, inside, fits), fits)  # type: ignore[no-untyped-call]


class _Ctc(torch.autograd.Function):
    """torch's CTC with its true gradient.

    torch returns p_v - q_v where the gradient over log p_v is -q_v, the posterior of the word at the position: it takes
    for granted that a log-softmax over the same words lies behind, where the two do the same.
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
    """Compute KL(uniform || p) of each position: the label smoothing of the original model under CTC.

    Args:
        mean_log_probs: any shape, mean of log p over the vocabulary.
        symbols: V, size of the vocabulary.

    Returns:
        The same shape, nats; 0 where p is uniform.
    """
    return -math.log(symbols) - mean_log_probs


def known_scores(tokens: Tensor, words: Tensor) -> Tensor:
    """Make scores for positions whose token is known: log 1 for it, and for all others almost log 0.

    Args:
        tokens: B x A ids.
        words: B x (1 + T), from ``words_to_score``.

    Returns:
        B x A x (1 + T), float32.
    """
    return torch.where(tokens.unsqueeze(2) == words.unsqueeze(1), 0.0, ALMOST_IMPOSSIBLE)
