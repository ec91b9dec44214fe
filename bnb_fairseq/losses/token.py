"""Token-level losses for canvases whose length is the target's."""

import torch
from torch import Tensor


def smoothed_nll(log_probs: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Compute cross-entropy with a target distribution of (1 - e) one-hot + e uniform (Szegedy et al. 2016).

    Args:
        log_probs: N x V, normalised over V.
        targets: N ids.
        label_smoothing: e.

    Returns:
        The smoothed loss and the plain negative log-likelihood, N each.
    """
    nll = -log_probs.gather(1, targets.unsqueeze(1)).squeeze(1)
    loss = nll if label_smoothing == 0 else (1 - label_smoothing) * nll - label_smoothing * log_probs.mean(dim=1)
    return loss, nll


def random_mask(target_lengths: Tensor, longest: int) -> Tensor:
    """Choose tokens to hide, a uniform number from 1 to T: mask-predict's training (Ghazvininejad et al. 2019).

    Args:
        target_lengths: B, at least 1.
        longest: T, number of columns.

    Returns:
        B x T, True at hidden tokens, never at padding.
    """
    noise = torch.rand(len(target_lengths), longest, device=target_lengths.device)
    padding = torch.arange(longest, device=target_lengths.device) >= target_lengths.unsqueeze(1)
    order = noise.masked_fill(padding, 2.0).argsort(dim=1).argsort(dim=1)  # rank of each position, padding last
    share = torch.rand(len(target_lengths), device=target_lengths.device)
    hidden = 1 + (share * target_lengths).long().clamp(max=target_lengths - 1)
    return order < hidden.unsqueeze(1)


def sum_by_sentence(values: Tensor, positions: Tensor) -> Tensor:
    """Add up token values for each sentence.

    Args:
        values: N, for the True entries of ``positions`` in row-major order.
        positions: B x T, bool.

    Returns:
        B, dtype of ``values``.
    """
    rows = positions.nonzero()[:, 0]
    return values.new_zeros(len(positions)).index_add(0, rows, values)
