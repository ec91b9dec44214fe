"""Look-ups of log-probabilities against torch's own functions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnb_fairseq.losses.token import best_and_chosen, chosen_log_probs
from bnb_fairseq.modules import lazy_logits
from bnb_fairseq.modules.lazy_logits import LazyLogits


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


def linear(rows: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """States, weight and bias of ``rows`` positions, width 4, 9 words."""
    generator = torch.Generator().manual_seed(4)
    shapes = ((rows, 4), (9, 4), (9,))
    states, weight, bias = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    return states.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


@pytest.fixture(params=[1, 2, 4, 100])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Positions of a block."""
    monkeypatch.setattr(lazy_logits, "CPU_BLOCK", 9 * request.param)
    return int(request.param)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.usefixtures("block_rows")
def test_blocks_are_the_whole(weights: tuple[float, float], dtype: torch.dtype, tolerance: float) -> None:
    """Values and the gradients of states, weight and bias, where the logits never exist at once."""
    parts, ids = linear(7, dtype), some_ids(7)
    factors = torch.rand(ids.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    results = []
    for chosen, mean in (chosen_log_probs(LazyLogits(*parts), ids), reference(F.linear(*parts), ids)):
        loss = weights[0] * (factors * chosen).sum() + weights[1] * (mean * factors[:, 0]).sum()
        gradients = [torch.autograd.grad(loss, parts, retain_graph=True) for _ in range(2)]
        assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))
        results.append((chosen, mean, *gradients[0]))
    for found, expected in zip(*results, strict=True):
        assert found.dtype == dtype
        assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("block_rows")
def test_blocks_gradcheck() -> None:
    ids = some_ids(5)
    assert torch.autograd.gradcheck(lambda *parts: chosen_log_probs(LazyLogits(*parts), ids), linear(5))


@pytest.mark.usefixtures("block_rows")
def test_what_is_frozen_gets_no_gradient() -> None:
    states, weight, bias = linear(5)
    ids = some_ids(5)
    chosen, mean = chosen_log_probs(LazyLogits(states, weight.detach(), bias), ids)
    expected, expected_mean = reference(F.linear(states, weight.detach(), bias), ids)
    found = torch.autograd.grad(chosen.sum() + mean.sum(), (states, bias))
    for one, other in zip(
        found, torch.autograd.grad(expected.sum() + expected_mean.sum(), (states, bias)), strict=True
    ):
        assert torch.allclose(one, other)


@pytest.mark.usefixtures("block_rows")
def test_autocast_multiplies_in_bfloat16() -> None:
    """Where torch's own linear layer would; gradients have the type of the parameters."""
    parts, ids = linear(7, torch.float32), some_ids(7)
    with torch.autocast("cpu", torch.bfloat16):
        found = chosen_log_probs(LazyLogits(*parts), ids)
        expected = reference(F.linear(*parts).float(), ids)
    assert found.chosen.dtype == torch.float32
    assert torch.allclose(found.chosen, expected[0], atol=1e-6)
    gradients = torch.autograd.grad(found.chosen.sum(), parts)
    for one, other in zip(gradients, torch.autograd.grad(expected[0].sum(), parts), strict=True):
        assert one.dtype == torch.float32
        assert torch.allclose(one, other, atol=0.1)
        assert (one - other).abs().mean() < 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.usefixtures("block_rows")
def test_gradients_of_half_parameters_are_added_up_in_float32(dtype: torch.dtype) -> None:
    parts, ids = linear(64, dtype), some_ids(64)
    chosen, mean = chosen_log_probs(LazyLogits(*parts), ids)
    found = torch.autograd.grad(chosen.sum() + mean.sum(), parts)
    wide = [part.detach().float().requires_grad_() for part in parts]
    expected, expected_mean = reference(F.linear(*wide), ids)
    for one, other in zip(found, torch.autograd.grad(expected.sum() + expected_mean.sum(), wide), strict=True):
        assert one.dtype == dtype
        assert (one.float() - other).abs().max() < 0.02 * other.abs().max()


def test_logits_of_one_block_exist_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 positions in blocks of 4, forward and backward: 10 blocks, and again those that are not kept."""
    monkeypatch.setattr(lazy_logits, "CPU_BLOCK", 9 * 4)
    sizes: list[int] = []
    whole = LazyLogits.whole

    def counted(logits: LazyLogits) -> Tensor:
        sizes.append(len(logits.states))
        return whole(logits)

    monkeypatch.setattr(LazyLogits, "whole", counted)
    parts, ids = linear(40), some_ids(40)
    chosen, _ = chosen_log_probs(LazyLogits(*parts), ids)
    torch.autograd.backward(chosen.sum())
    assert sizes == [4] * (10 + 10 - lazy_logits.KEPT)


@pytest.mark.usefixtures("block_rows")
def test_best_and_chosen() -> None:
    parts, ids = linear(7), some_ids(7)
    best, chosen = best_and_chosen(LazyLogits(*parts), ids)
    logits = F.linear(*parts).detach()
    assert torch.equal(best, logits.argmax(dim=1))
    assert torch.allclose(chosen, logits.gather(1, ids))
    assert not chosen.requires_grad
    none = best_and_chosen(LazyLogits(*parts), ids[:, :0])
    assert torch.equal(none.best, best)
    assert none.chosen.shape == (7, 0)
