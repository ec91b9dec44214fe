"""The KL term against torch's distributions and by hand."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from bnb_fairseq.losses.vae import kl_to_standard_normal, token_mean


def test_kl_against_torch() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, log_variance = (2 * torch.randn(3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0))
    assert torch.allclose(kl_to_standard_normal(mean, log_variance), expected, rtol=1e-12, atol=1e-12)


def test_kl_by_hand() -> None:
    mean, log_variance = torch.tensor([0.0, 3.0, 0.0]), torch.tensor([0.0, 0.0, math.log(2.0)])
    assert kl_to_standard_normal(mean, log_variance).tolist() == pytest.approx([0.0, 4.5, (1 - math.log(2)) / 2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_kl_is_computed_in_float32(dtype: torch.dtype) -> None:
    """exp(12) is beyond what float16 holds."""
    mean, log_variance = torch.tensor([1.0], dtype=dtype), torch.tensor([12.0], dtype=dtype)
    kl = kl_to_standard_normal(mean, log_variance)
    assert kl.dtype == torch.float32
    assert float(kl) == pytest.approx((1 + math.exp(12) - 12 - 1) / 2)


def test_gradient() -> None:
    mean, log_variance = (torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(kl_to_standard_normal, (mean, log_variance))


def test_mean_over_true_tokens_only() -> None:
    values = torch.tensor(
        [[[1.0, 2.0], [3.0, 6.0], [7.0, 1.0]], [[5.0, 5.0], [float("nan"), 9.0], [9.0, float("inf")]]]
    )
    padding = torch.tensor([[False, False, False], [False, True, True]])
    means = token_mean(values, torch.tensor([3, 1]), padding)
    assert torch.allclose(means, torch.tensor([[11 / 3, 3.0], [5.0, 5.0]]))
    assert token_mean(values[:1], torch.tensor([0]), torch.ones(1, 3, dtype=torch.bool)).tolist() == [[0.0, 0.0]]
