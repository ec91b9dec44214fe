"""Log-probabilities of a few words at each position, as token losses read them."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..modules import lazy_logits
from ..modules.lazy_logits import LazyLogits


class ChosenLogProbs(NamedTuple):
    """Log-probabilities of some words, N x K, and the mean over all words, N, which label smoothing reads."""

    chosen: Tensor
    mean: Tensor


def chosen_log_probs(logits: LazyLogits | Tensor, ids: Tensor) -> ChosenLogProbs:
    """Log-probabilities of a few words, and the mean over all words.

    Equals ``log_softmax`` followed by ``gather`` and ``mean``, but never holds N x V: it computes the logits block by
    block, and for the gradient once more, except for the last few blocks, which it keeps.

    Args:
        logits: N x V, any floating type.
        ids: N x K words, which may repeat.

    Returns:
        The log-probabilities in float32, or in float64 if ``logits`` are.
    """
    if isinstance(logits, Tensor):
        logits = LazyLogits(logits)
    dtype = logits.dtype
    with torch.autocast(ids.device.type, enabled=False):
        return ChosenLogProbs(*_ChosenLogProbs.apply(*logits, ids, dtype))  # type: ignore[no-untyped-call]


class BestAndChosen(NamedTuple):
    """The best word of each position, N ids, and the logits of some words, N x K in float32 or float64."""

    best: Tensor
    chosen: Tensor


@torch.no_grad()
def best_and_chosen(logits: LazyLogits, ids: Tensor) -> BestAndChosen:
    """The best word of each position and the logits of ``ids``, N x K, block by block and without gradients."""
    best, chosen = ids.new_empty(len(ids)), ids.new_empty(ids.shape, dtype=_wide(logits.dtype))
    for rows in logits.blocks():
        block = logits._replace(states=logits.states[rows]).whole()
        best[rows], chosen[rows] = block.argmax(dim=1), block.gather(1, ids[rows]).to(chosen.dtype)
    return BestAndChosen(best, chosen)


class _ChosenLogProbs(torch.autograd.Function):
    """The gradient of log p_k over logit v is [k = v] - p_v."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor | None, bias: Tensor | None, ids: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        wide = _wide(dtype)
        weight_there, bias_there = (None if part is None else part.to(dtype) for part in (weight, bias))
        logits = LazyLogits(states.to(dtype), weight_there, bias_there)
        chosen, mean = ids.new_empty(ids.shape, dtype=wide), ids.new_empty(len(ids), dtype=wide)
        kept: list[Tensor] = []
        for rows in logits.blocks():
            block = logits._replace(states=logits.states[rows]).whole()
            log_probs = F.log_softmax(block, dim=1, dtype=wide)
            chosen[rows], mean[rows] = log_probs.gather(1, ids[rows]), log_probs.mean(dim=1)
            kept = [*kept[1 - lazy_logits.KEPT :], log_probs]
            del log_probs  # before the next block is computed
        ctx.save_for_backward(*logits, ids, *kept)
        ctx.inputs = states.dtype, weight is not None and weight.dtype, bias is not None and bias.dtype
        ctx.set_materialize_grads(False)
        return chosen, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, chosen: Tensor | None, mean: Tensor | None) -> tuple[Tensor | None, ...]:
        states, weight, bias, ids, *kept = ctx.saved_tensors
        logits, dtypes = LazyLogits(states, weight, bias), ctx.inputs
        wide = _wide(states.dtype)
        total, of_each = (ids.new_zeros(len(ids), 1, dtype=wide) for _ in range(2))
        if chosen is not None:
            total += chosen.sum(dim=1, keepdim=True)
        if mean is not None:
            total += mean.unsqueeze(1)
            of_each += mean.unsqueeze(1) / logits.symbols
        wanted = [part is not None and need for part, need in zip(logits, ctx.needs_input_grad, strict=False)]
        of_states = torch.empty_like(states, dtype=dtypes[0]) if wanted[0] else None
        of_weight = torch.zeros_like(weight, dtype=wide) if wanted[1] else None
        of_bias = torch.zeros_like(bias, dtype=wide) if wanted[2] else None
        for rows in reversed([*logits.blocks()]):
            if not kept:
                gradient = F.softmax(logits._replace(states=states[rows]).whole(), dim=1, dtype=wide)
            else:
                gradient = kept.pop().exp()
            torch.addcmul(of_each[rows], gradient, total[rows], value=-1, out=gradient)
            if chosen is not None:
                gradient.scatter_add_(1, ids[rows], chosen[rows])
            if of_bias is not None:
                of_bias += gradient.sum(dim=0)
            gradient = gradient.to(states.dtype)
            if of_states is not None:
                of_states[rows] = gradient if weight is None else gradient @ weight
            if of_weight is not None and wide == states.dtype:
                of_weight.addmm_(gradient.T, states[rows])
            elif of_weight is not None:
                of_weight += gradient.T @ states[rows]
        found = (of_states, of_weight, of_bias)
        return *(part if part is None else part.to(kind) for part, kind in zip(found, dtypes, strict=True)), None, None


def _wide(dtype: torch.dtype) -> torch.dtype:
    """float32 for every narrower type; float64 stays."""
    return torch.promote_types(dtype, torch.float32)
