"""The KL term of a batch and what is logged of the latent, by hand and from data drawn for it."""

import math
from typing import Any

import pytest
import torch
from fairseq.logging import metrics
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from bnb_fairseq.criterions.bnb_loss import BnbLoss
from bnb_fairseq.criterions.latent_statistics import LOGGED_UNITS, kl_to_standard_normal, latent_loss, token_mean
from bnb_fairseq.modules.latent import Posterior
from bnb_fairseq.modules.lazy_logits import LazyLogits
from bnb_fairseq.network.nar_network import NarOutput

from .fixed_model import FixedModel, batch, criterion

LN2 = math.log(2)
Logs = dict[str, float | Tensor]
SIZES: Logs = {"nsentences": 1, "sample_size": 1, "loss": 0.0}
SHARE = 0.5 * (math.e - 2)  # KL of variance e and mean 0


def logged(*logs: Logs) -> dict[str, float]:
    with metrics.aggregate(new_root=True) as aggregated:
        for log in logs:
            BnbLoss.reduce_metrics([log])
    return {name: float(value) for name, value in aggregated.get_smoothed_values().items()}


def posterior() -> Posterior:
    """Sentences of 3 and 1 tokens, 2 units; garbage at padding."""
    mean = torch.tensor([[[0.0, 1.0], [0.0, -1.0], [2.0, 0.0]], [[0.0, 2.0], [float("nan"), 7.0], [9.0, float("inf")]]])
    log_variance = torch.zeros(2, 3, 2)
    log_variance[1, 0, 0] = 1.0
    return Posterior(mean, log_variance)


def test_kl_by_hand() -> None:
    """Sentence 1: unit 0 has 4/2 in one of three tokens, unit 1 1/2 in two; sentence 2: SHARE and 4/2."""
    kl, logs = latent_loss(posterior(), torch.tensor([3, 1]))
    assert kl.tolist() == pytest.approx([2 / 3 + 1 / 3, SHARE + 2.0])
    expected = {
        "latent_kl": [2 / 3 + SHARE, 1 / 3 + 2],
        "latent_mean": [2.0, 2.0],
        "latent_square": [4.0, 6.0],
        "latent_tokens": 4,
    }
    assert {name: pytest.approx(value.tolist()) for name, value in logs.items()} == expected


def test_a_deterministic_latent_has_no_kl() -> None:
    with pytest.raises(ValueError, match="deterministic latent"):
        latent_loss(Posterior(torch.zeros(1, 1, 1), None), torch.tensor([1]))


def test_logged_by_hand() -> None:
    _, logs = latent_loss(posterior(), torch.tensor([3, 1]))
    values = logged({**logs, **SIZES, "nsentences": 2, "kl_factor_sum": 2 * 0.25})
    units = [(2 / 3 + SHARE) / 2 / LN2, (1 / 3 + 2) / 2 / LN2]
    expected = {"kl_loss": sum(units), "kl_unit_0": units[0], "kl_unit_1": units[1], "kl_factor": 0.25}
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=6e-4)
    assert values["active_units"] == 2  # variances 4/4 - 1/4 and 6/4 - 1/4


def test_active_units_are_counted_over_all_batches() -> None:
    """Unit 0 is constant, unit 1 constant in a batch only, unit 2 has deviation 0.09, unit 3 0.11, unit 4 is 1,000."""
    generator = torch.Generator().manual_seed(1)
    logs: list[Logs] = []
    for i in range(4):
        noise = torch.randn(8, 50, 5, generator=generator)
        mean = torch.tensor([0.0, float(i), 0.0, 0.0, 1000.0]) + noise * torch.tensor([0.0, 0.0, 0.09, 0.11, 0.05])
        _, sums = latent_loss(Posterior(mean, torch.zeros_like(mean)), torch.full((8,), 50))
        logs.append({**sums, **SIZES, "nsentences": 8})
    assert [logged(log)["active_units"] for log in logs] == [1] * 4
    assert logged(*logs)["active_units"] == 2
    workers = logged({name: sum(log[name] for log in logs) for name in logs[0]})
    assert workers == pytest.approx(logged(*logs), abs=2e-3)


@pytest.mark.parametrize("units", [LOGGED_UNITS, LOGGED_UNITS + 1])
def test_a_wide_latent_does_not_fill_the_log(units: int) -> None:
    mean = torch.zeros(1, 1, units)
    mean[0, 0, 3] = 2.0
    _, sums = latent_loss(Posterior(mean, torch.zeros_like(mean)), torch.tensor([1]))
    values = logged({**sums, **SIZES})
    assert ("kl_unit_3" in values) == (units == LOGGED_UNITS)
    assert values["kl_loss"] == pytest.approx(2 / LN2, abs=6e-4)
    if units > LOGGED_UNITS:
        assert (values["kl_unit_min"], values["kl_unit_max"]) == pytest.approx((0.0, 2 / LN2), abs=6e-4)


def test_the_criterion_adds_the_term_by_its_schedule() -> None:
    """Three target tokens in sentence 1, two in sentence 2: weights of their KL terms."""
    output = NarOutput(LazyLogits(torch.zeros(4, 2, 4)), torch.tensor([4, 4]), None, posterior())
    model = FixedModel(output, uses_ctc=True)
    sample = batch([[5] * 3, [5]], [[0, 2, 0], [2, 0]])
    options: dict[str, Any] = {"kl_factor": 0.5, "kl_schedule": "cyclic", "kl_cycles": 1, "kl_total_updates": 10}
    loss_of = criterion(0.0, **options, kl_zero_share=0.2, kl_increase_share=0.4)
    plain = float(criterion(0.0, kl_factor=0.0)(model, sample)[0])
    weighted = 3 * 1.0 + 2 * (SHARE + 2.0)
    for update, factor in ((0, 0.0), (1, 0.0), (4, 0.25), (7, 0.5), (100, 0.5)):
        model.num_updates = update
        loss, _, logs = loss_of(model.train(), sample)
        assert float(loss) == pytest.approx(plain + factor * weighted, rel=1e-6)
        assert float(logs["kl_factor_sum"]) == pytest.approx(2 * factor)
        validation, _, logs = loss_of(model.eval(), sample)  # comparable at any time
        assert float(validation) == pytest.approx(plain + 0.5 * weighted, rel=1e-6)
        assert float(logs["kl_factor_sum"]) == 2 * 0.5


def test_nothing_is_logged_without_a_posterior() -> None:
    model = FixedModel(NarOutput(LazyLogits(torch.zeros(4, 1, 4)), torch.tensor([4]), None), uses_ctc=True)
    _, _, logs = criterion()(model, batch([[5]], [[0]]))
    assert not any("latent" in name or "kl_factor" in name for name in logs)
    assert logged(logs)["nll_loss"] > 0


def test_kl_against_torch() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, log_variance = (2 * torch.randn(3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0))
    assert torch.allclose(kl_to_standard_normal(mean, log_variance), expected, rtol=1e-12, atol=1e-12)


def test_kl_to_standard_normal_by_hand() -> None:
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
