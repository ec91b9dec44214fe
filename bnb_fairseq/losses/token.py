"""What token losses read: log-probabilities of a few words at each position."""

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
    """Compute the log-probabilities of a few words, and the mean over all words.

    The same as ``log_softmax`` followed by ``gather`` and ``mean``, but these would each fill a tensor of N x V on the
    way back. Here the gradient is written into one.

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
