"""What the losses that align predictions and target tokens read: log-probabilities of a few words at each position."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class ChosenLogProbs(NamedTuple):
    """Log-probabilities of some words and the average over all words.

    Attributes:
        chosen: N x K, log-probabilities of the words asked for.
        mean: N, mean of the log-probabilities of all words; what label smoothing reads.
    """

    chosen: Tensor
    mean: Tensor


def chosen_log_probs(logits: Tensor, ids: Tensor) -> ChosenLogProbs:
    """Compute the log-probabilities of a few words, with one N x V tensor for the gradient instead of four.

    The same as ``log_softmax`` followed by ``gather`` and ``mean``, whose gradients each fill a tensor of N x V.

    Args:
        logits: N x V, any floating type.
        ids: N x K, words; one may be asked for several times.

    Returns:
        The log-probabilities in float32, or in float64 where ``logits`` are.
    """
    return ChosenLogProbs(*_ChosenLogProbs.apply(logits, ids))  # type: ignore[no-untyped-call]


class _ChosenLogProbs(torch.autograd.Function):
    """The gradient of log p_k over logit v is [k = v] - p_v."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = F.log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
        ctx.save_for_backward(log_probs, ids)
        ctx.dtype = logits.dtype
        ctx.set_materialize_grads(False)
        return log_probs.gather(1, ids), log_probs.mean(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, chosen: Tensor | None, mean: Tensor | None) -> tuple[Tensor | None, None]:
        log_probs, ids = ctx.saved_tensors
        total = log_probs.new_zeros(len(ids), 1)
        if chosen is not None:
            total += chosen.sum(dim=1, keepdim=True)
        if mean is not None:
            total += mean.unsqueeze(1)
        gradient = log_probs.exp().mul_(-total)
        if chosen is not None:
            gradient.scatter_add_(1, ids, chosen)
        if mean is not None:
            gradient += mean.unsqueeze(1) / log_probs.size(1)
        return gradient.to(ctx.dtype), None


def targets_at(positions: Tensor, targets: Tensor) -> Tensor:
    """Repeat each sentence's words for each of its positions.

    Args:
        positions: B x L, bool, N True entries.
        targets: B x T, words.

    Returns:
        N x T, for the True entries in row-major order.
    """
    return targets[positions.nonzero()[:, 0]]


def pack_by_sentence(values: Tensor, positions: Tensor) -> Tensor:
    """Move each sentence's values to the left of its row.

    Args:
        values: N x ..., for the True entries of ``positions`` in row-major order.
        positions: B x L, bool.

    Returns:
        B x P x ..., P the largest number of True entries in a row; right-padded with 0.
    """
    rows = positions.nonzero()[:, 0]
    counts = positions.sum(dim=1)
    starts = counts.cumsum(dim=0) - counts
    places = torch.arange(len(rows), device=rows.device) - starts[rows]
    longest = int(counts.max()) if len(counts) else 0
    packed = values.new_zeros(len(positions), longest, *values.shape[1:])
    return packed.index_put((rows, places), values)


def token_scores(log_probs: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
    """Look up what each position gives to each target token of its sentence.

    Nothing larger than N x T and B x P x T is made. A column of blanks to the right of ``targets`` gives the blank's
    log-probabilities in the same look-up, and so in the same gradient.

    Args:
        log_probs: N x V, for the True entries of ``positions`` in row-major order.
        positions: B x L, bool, True at predictions; the number may differ between sentences.
        targets: B x T, right-padded ids; padding is looked up too and must be a word.

    Returns:
        B x P x T, log p(target i at the p-th prediction), P the largest number of predictions of a sentence;
        right-padded with 0.
    """
    return pack_by_sentence(log_probs.gather(1, targets_at(positions, targets)), positions)
