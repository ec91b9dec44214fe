"""Look-ups of log-probabilities against torch's own functions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnb_fairseq.losses.token import chosen_log_probs


def random_logits(rows: int = 6, words: int = 9, dtype: torch.dtype = torch.float64) -> Tensor:
    return (3 * torch.randn(rows, words, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).to(dtype)


def some_ids(rows: int = 6, words: int = 9) -> Tensor:
    """Five words for each row, the first two the same."""
    ids = torch.randint(words, (rows, 5), generator=torch.Generator().manual_seed(2))
    ids[:, 1] = ids[:, 0]
    return ids


def reference(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    log_probs = F.log_softmax(logits, dim=1)
    return log_probs.gather(1, ids), log_probs.mean(dim=1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_chosen_log_probs_are_log_softmax_and_gather(
    weights: tuple[float, float], dtype: torch.dtype, tolerance: float
) -> None:
    """Values, and the gradient with both outputs and with either alone."""
    logits, ids = random_logits(dtype=dtype).requires_grad_(), some_ids()
    factors = torch.rand(ids.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    results = []
    for function in (chosen_log_probs, reference):
        chosen, mean = function(logits, ids)
        parts = [weight * part for weight, part in zip(weights, ((factors * chosen).sum(), mean.sum()), strict=True)]
        loss = torch.stack([part for part, weight in zip(parts, weights, strict=True) if weight]).sum()
        results.append((chosen, mean, *torch.autograd.grad(loss, logits)))
    for found, expected in zip(*results, strict=True):
        assert found.dtype == dtype
        assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_chosen_log_probs_gradcheck() -> None:
    ids = some_ids(3, 5)
    assert torch.autograd.gradcheck(
        lambda logits: chosen_log_probs(logits, ids), (random_logits(3, 5).requires_grad_(),)
    )


def test_chosen_log_probs_can_be_differentiated_twice_over() -> None:
    """The tensor saved for the gradient is left as it is."""
    logits = random_logits().requires_grad_()
    loss = chosen_log_probs(logits, some_ids()).chosen.sum()
    first, second = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_float32(dtype: torch.dtype) -> None:
    logits, ids = random_logits(dtype=dtype).requires_grad_(), some_ids()
    chosen, mean = chosen_log_probs(logits, ids)
    expected = reference(logits.detach().float(), ids)
    assert chosen.dtype == mean.dtype == torch.float32
    assert torch.allclose(chosen, expected[0], rtol=1e-6)
    assert torch.allclose(mean, expected[1], rtol=1e-6)
    (gradient,) = torch.autograd.grad(chosen.sum(), logits)
    assert gradient.dtype == dtype


def test_chosen_log_probs_of_masked_words() -> None:
    """A word with logit -inf has probability 0 and no gradient."""
    logits = torch.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
    chosen, mean = chosen_log_probs(logits, torch.tensor([[0, 1]]))
    assert chosen.tolist() == [[pytest.approx(-math.log(2)), -math.inf]]
    assert mean.tolist() == [-math.inf]
    (gradient,) = torch.autograd.grad(chosen[0, 0], logits)
    assert gradient.tolist() == [[0.5, 0.0, -0.5]]


def test_chosen_log_probs_of_no_position() -> None:
    logits = torch.zeros(0, 5, requires_grad=True)
    chosen, mean = chosen_log_probs(logits, torch.zeros(0, 3, dtype=torch.long))
    assert chosen.shape == (0, 3)
    torch.autograd.backward(chosen.sum() + mean.sum())
