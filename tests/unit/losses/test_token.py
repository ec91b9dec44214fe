"""Token losses against torch's own and by counting."""

import pytest
import torch
import torch.nn.functional as F

from bnb_fairseq.losses.token import random_mask, smoothed_nll, sum_by_sentence


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_smoothed_nll_is_torchs_cross_entropy(dtype: torch.dtype, tolerance: float, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(50, 9, generator=generator, dtype=dtype)
    targets = torch.randint(9, (50,), generator=generator)
    loss, nll = smoothed_nll(logits.log_softmax(dim=-1), targets, smoothing)
    expected = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    assert loss.dtype == nll.dtype == dtype
    assert torch.allclose(loss, expected, rtol=tolerance, atol=tolerance)
    assert torch.allclose(nll, F.cross_entropy(logits, targets, reduction="none"), rtol=tolerance, atol=tolerance)


def test_smoothed_nll_of_no_token() -> None:
    log_probs = torch.zeros(0, 5, requires_grad=True)
    loss, nll = smoothed_nll(log_probs, torch.zeros(0, dtype=torch.long), 0.1)
    assert loss.shape == nll.shape == (0,)
    torch.autograd.backward(loss.sum())


def test_random_mask_hides_true_tokens_only_and_at_least_one() -> None:
    torch.manual_seed(1)
    lengths = torch.arange(1, 9).repeat(500)
    hidden = random_mask(lengths, 10)
    assert hidden.shape == (4000, 10)
    assert hidden.dtype == torch.bool
    assert not hidden[torch.arange(10) >= lengths.unsqueeze(1)].any()
    counts = hidden.sum(dim=1)
    for length in range(1, 9):
        assert set(counts[lengths == length].tolist()) == set(range(1, length + 1))


def test_random_mask_is_uniform() -> None:
    """Every count is equally likely, and given the count every set of positions; bounds are 5 standard errors."""
    torch.manual_seed(1)
    draws, length = 60_000, 5
    hidden = random_mask(torch.full((draws,), length), 7)[:, :length]
    counts = hidden.sum(dim=1)
    for count in range(1, length + 1):
        chosen = counts == count
        share = float(chosen.float().mean())
        assert abs(share - 0.2) < 5 * (0.2 * 0.8 / draws) ** 0.5
        for position in range(length):
            expected = count / length
            error = float(hidden[chosen, position].float().mean()) - expected
            assert abs(error) <= 5 * (expected * (1 - expected) / int(chosen.sum())) ** 0.5
    pairs = hidden[counts == 2].long() @ torch.tensor([1, 2, 4, 8, 16])
    sets = torch.bincount(pairs, minlength=32)
    sets = sets[sets > 0].double()
    assert len(sets) == 10
    assert float((sets / sets.sum() - 0.1).abs().max()) < 5 * (0.1 * 0.9 / float(sets.sum())) ** 0.5


def test_random_mask_draws_each_sentence_for_itself() -> None:
    torch.manual_seed(1)
    rows = {tuple(row) for row in random_mask(torch.full((50,), 12), 12).tolist()}
    assert len(rows) > 40


def test_sum_by_sentence_by_hand() -> None:
    positions = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0], dtype=torch.float64, requires_grad=True)
    sums = sum_by_sentence(values, positions)
    assert sums.dtype == torch.float64
    assert sums.tolist() == [3.0, 0.0, 28.0]
    (gradient,) = torch.autograd.grad((sums * torch.tensor([1.0, 10.0, 100.0])).sum(), values)
    assert gradient.tolist() == [1.0, 1.0, 100.0, 100.0, 100.0]


def test_sum_by_sentence_of_nothing_keeps_the_graph_alive() -> None:
    values = torch.zeros(0, requires_grad=True)
    sums = sum_by_sentence(values, torch.zeros(2, 3, dtype=torch.bool))
    assert sums.tolist() == [0.0, 0.0]
    torch.autograd.backward(sums.sum())
