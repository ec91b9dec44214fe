"""Connectionist temporal classification (Graves et al. 2006) over a decoder's canvas."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ..modules.canvas import padding_mask


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


def ctc_loss(log_probs: Tensor, targets: Tensor, canvas_lengths: Tensor, target_lengths: Tensor, blank: int) -> CtcLoss:
    """Compute -log p(target), p summed over all alignments that collapse to it.

    Args:
        log_probs: A x B x V, float32 or float64, normalised over V.
        targets: B x T, right-padded ids without blanks.
        canvas_lengths: B, true canvas lengths.
        target_lengths: B, true target lengths.
        blank: id of the blank.

    Returns:
        The loss of each sentence and whether its target fits.
    """
    fits = needed_positions(targets, target_lengths) <= canvas_lengths
    nll = F.ctc_loss(
        log_probs, targets, canvas_lengths, target_lengths, blank=blank, reduction="none", zero_infinity=True
    )
    return CtcLoss(nll, fits)


def uniform_divergence(log_probs: Tensor, canvas_lengths: Tensor) -> Tensor:
    """Average KL(uniform || p) over each sentence's canvas: the label smoothing of the original model under CTC.

    Args:
        log_probs: A x B x V, normalised over V.
        canvas_lengths: B, true canvas lengths.

    Returns:
        B, in nats; 0 where p is uniform.
    """
    symbols = log_probs.new_tensor(log_probs.size(-1)).log()
    divergence = -symbols - log_probs.mean(dim=-1)  # A x B
    return canvas_mean(divergence, canvas_lengths)


def canvas_mean(values: Tensor, canvas_lengths: Tensor) -> Tensor:
    """Average over each sentence's true canvas positions.

    Args:
        values: A x B.
        canvas_lengths: B.

    Returns:
        B.
    """
    inside = ~padding_mask(canvas_lengths, values.size(0)).transpose(0, 1)
    return (values * inside).sum(dim=0) / canvas_lengths.clamp(min=1)
