"""The latent is a linear map, nothing at all, or a normal distribution."""

import math

import pytest
import torch
from torch import Tensor

from bnb_fairseq.modules.latent import Latent, Posterior


def values(latent: Latent, states: Tensor) -> Tensor:
    return latent.sample(latent(states))


def by_hand(variational: bool = False) -> Latent:
    latent = Latent(3, 2, variational=variational)
    assert isinstance(latent.projection, torch.nn.Linear)
    with torch.no_grad():
        latent.projection.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]]))
        latent.projection.bias.copy_(torch.tensor([0.5, 0.0]))
    return latent


STATES = torch.tensor([[[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]]])
MEANS = [[[6.5, 0.0], [7.5, -1.0]]]


def test_projection_by_hand() -> None:
    latent = Latent(3, 2)
    assert latent.output_size == 2
    assert isinstance(latent.projection, torch.nn.Linear)
    assert latent.projection.bias.tolist() == [0.0, 0.0]
    for training in (True, False):
        posterior = by_hand().train(training)(STATES)
        assert posterior.log_variance is None
        assert by_hand().sample(posterior).tolist() == MEANS


def test_no_latent_is_the_state_itself() -> None:
    latent = Latent(5, 0)
    assert latent.output_size == 5
    assert list(latent.parameters()) == []
    states = torch.randn(2, 3, 5)
    assert torch.equal(values(latent, states), states)


def test_dropout_only_in_training() -> None:
    for size in (0, 4):
        latent = Latent(6, size, dropout=0.5)
        states = torch.randn(2, 50, 6)
        expected = values(latent.eval(), states)
        torch.manual_seed(1)
        dropped = values(latent.train(), states)
        zero = dropped.eq(0)
        assert 0.35 < float(zero.float().mean()) < 0.65
        assert torch.allclose(dropped[~zero], 2 * expected[~zero], rtol=0, atol=1e-6)


def test_fresh_projection_keeps_the_scale_of_its_input() -> None:
    """BERT's deviation of 0.02 would shrink a narrow latent to nothing beside the position embeddings."""
    torch.manual_seed(1)
    latent = Latent(400, 64)(torch.randn(2, 300, 400)).mean
    assert 0.9 < float(latent.detach().std()) < 1.1


def test_a_variational_latent_is_its_mean_outside_training() -> None:
    latent = by_hand(variational=True).eval()
    posterior = latent(STATES)
    assert posterior.log_variance is not None
    assert posterior.mean.tolist() == MEANS
    assert latent.sample(posterior).tolist() == MEANS
    assert latent.log_variance is not None
    assert latent.log_variance.bias.tolist() == [0.0, 0.0]
    assert float(latent.log_variance.weight.detach().abs().max()) < 0.1  # the prior's width to begin with


@pytest.mark.parametrize("log_variance", [-3.0, 0.0, 1.5])
def test_samples_have_mean_and_deviation(log_variance: float) -> None:
    torch.manual_seed(1)
    shape = (1, 200_000, 1)
    z = (
        Latent(1, 1, variational=True)
        .train()
        .sample(Posterior(torch.full(shape, 2.0), torch.full(shape, log_variance)))
    )
    deviation = math.exp(log_variance / 2)
    assert float(z.mean()) == pytest.approx(2.0, abs=0.01 * deviation)
    assert float(z.std()) == pytest.approx(deviation, rel=0.01)
    standard = (z - 2.0) / deviation
    assert float(standard.pow(4).mean()) == pytest.approx(3.0, rel=0.03)  # of a normal distribution


def test_the_gradient_reaches_mean_and_variance() -> None:
    """z = mean + exp(log_variance / 2) eps, so dz/dmean = 1 and dz/dlog_variance = (z - mean) / 2."""
    torch.manual_seed(1)
    mean, log_variance = torch.randn(1, 4, 3, requires_grad=True), torch.randn(1, 4, 3, requires_grad=True)
    z = Latent(1, 3, variational=True).train().sample(Posterior(mean, log_variance))
    torch.autograd.backward(z.sum())
    assert mean.grad is not None
    assert log_variance.grad is not None
    assert mean.grad.eq(1).all()
    assert torch.allclose(log_variance.grad, (z - mean).detach() / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays(dtype: torch.dtype) -> None:
    latent = by_hand(variational=True).to(dtype).train()
    assert latent.sample(latent(STATES.to(dtype))).dtype == dtype
