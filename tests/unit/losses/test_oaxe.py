"""OAXE against every permutation."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from bnb_fairseq.losses.oaxe import AssignmentProblem

from .parity import read_case

LENGTHS = [1, 2, 3, 4, 5, 5, 4, 3]


def random_scores(lengths: list[int], seed: int, fill: float = 0.0, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Random log-probabilities; padding holds ``fill``."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths) + extra
    scores = torch.full((len(lengths), longest, longest), fill, dtype=torch.float64)
    for b, length in enumerate(lengths):
        scores[b, :length, :length] = -3 * torch.rand(length, length, generator=generator, dtype=torch.float64)
    return scores, torch.tensor(lengths)


def best_permutation(scores: Tensor) -> tuple[int, ...]:
    """The token of each prediction, by trying all."""
    values = scores.tolist()
    return max(
        itertools.permutations(range(len(values))), key=lambda order: sum(values[j][i] for j, i in enumerate(order))
    )


@pytest.mark.parametrize("size", ["small", "mid"])
def test_the_original_codes_numbers(size: str) -> None:
    case = read_case(size)
    loss, kept = AssignmentProblem(case.scores, case.lengths).loss(0)
    assert float(loss.sum()) == pytest.approx(case.expected["oaxe_sum"], rel=0, abs=1e-4)
    assert torch.equal(kept, case.lengths)
    in_order = case.scores.diagonal(dim1=1, dim2=2).sum(dim=1)  # padding is 0
    assert float(-in_order.sum() / case.lengths.sum()) == pytest.approx(case.expected["xe_mean"], rel=0, abs=1e-4)


@pytest.mark.parametrize("margin", [0.0, 0.15, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_are_the_best_permutations(seed: int, margin: float) -> None:
    scores, lengths = random_scores(LENGTHS, seed, fill=-0.01, extra=1)
    loss, kept = AssignmentProblem(scores.requires_grad_(), lengths).loss(margin)
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    expected = torch.zeros_like(scores)
    for b, length in enumerate(LENGTHS):
        pairs = enumerate(best_permutation(scores[b, :length, :length]))
        pairs_kept = [(j, i) for j, i in pairs if math.exp(scores[b, j, i]) > margin]
        assert float(loss[b]) == pytest.approx(-sum(float(scores[b, j, i]) for j, i in pairs_kept), rel=1e-12)
        assert int(kept[b]) == len(pairs_kept)
        for j, i in pairs_kept:
            expected[b, j, i] = -1
    assert torch.equal(gradient, expected)


def test_the_margins_above_drop_some_tokens_and_keep_some() -> None:
    problem = AssignmentProblem(*random_scores(LENGTHS, 0))
    counts = [int(problem.loss(margin)[1].sum()) for margin in (0.0, 0.15, 0.5, 1.0)]
    assert counts[0] == sum(LENGTHS)
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 4
    assert counts[-1] == 0


def test_by_hand() -> None:
    """Target "a b": the predictions come in the other order. Probabilities that equal the margin are dropped."""
    scores = torch.tensor([[[0.25, 0.5], [0.25, 0.125]]]).log()
    two = torch.tensor([2])
    for margin, value, count in ((0.0, 8, 2), (0.2, 8, 2), (0.25, 2, 1), (0.4, 2, 1), (0.5, 1, 0)):
        loss, kept = AssignmentProblem(scores, two).loss(margin)
        assert float(loss) == pytest.approx(math.log(value)), margin
        assert kept.tolist() == [count], margin
    assert AssignmentProblem(scores, two).solve().tolist() == [[1, 0]]


def test_order_does_not_matter() -> None:
    scores, lengths = random_scores([6, 6], seed=3)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    expected, _ = AssignmentProblem(scores, lengths).loss(0)
    assert torch.allclose(AssignmentProblem(scores[:, order], lengths).loss(0)[0], expected)
    assert torch.allclose(AssignmentProblem(scores[:, :, order], lengths).loss(0)[0], expected)


def test_gradcheck() -> None:
    scores, lengths = random_scores([3, 1, 4], seed=5, fill=-1.0)
    assert torch.autograd.gradcheck(
        lambda scores: AssignmentProblem(scores, lengths).loss(0.15)[0], (scores.requires_grad_(),)
    )


def test_a_batch_equals_its_sentences() -> None:
    scores, lengths = random_scores(LENGTHS, seed=7)
    together, kept = AssignmentProblem(scores, lengths).loss(0.3)
    for b, length in enumerate(LENGTHS):
        alone, kept_alone = AssignmentProblem(scores[b : b + 1, :length, :length], lengths[b : b + 1]).loss(0.3)
        assert float(together[b]) == pytest.approx(float(alone), rel=1e-14)
        assert int(kept[b]) == int(kept_alone)


@pytest.mark.parametrize("fill", [math.nan, math.inf, -math.inf, 1e30, 0.0])
def test_padding_does_not_matter(fill: float) -> None:
    results = []
    for padding in (-1.0, fill):
        scores, lengths = random_scores(LENGTHS, seed=9, fill=padding, extra=2)
        loss, kept = AssignmentProblem(scores.requires_grad_(), lengths).loss(0.3)
        results.append((loss.detach(), kept, *torch.autograd.grad(loss.sum(), scores)))
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)


def test_impossible_words_are_avoided() -> None:
    """log 0 everywhere but at one permutation, which nothing else would choose."""
    scores = torch.full((1, 4, 4), -math.inf)
    for j, i in enumerate((2, 0, 3, 1)):
        scores[0, j, i] = -50.0
    scores[0, 0, 0] = scores[0, 3, 3] = 0.0
    loss, kept = AssignmentProblem(scores.requires_grad_(), torch.tensor([4])).loss(0)
    assert loss.tolist() == [200.0]
    assert kept.tolist() == [4]
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    assert bool(gradient.isfinite().all())


def test_no_possible_assignment() -> None:
    """The loss is infinite, unless the margin drops the impossible token."""
    scores = torch.tensor([[[0.0, -math.inf], [-1.0, -math.inf]]])
    for margin, value, count in ((0.0, math.inf, 2), (0.01, 0.0, 1)):
        loss, kept = AssignmentProblem(scores, torch.tensor([2])).loss(margin)
        assert loss.tolist() == [value]
        assert kept.tolist() == [count]


def test_ties() -> None:
    scores = torch.full((1, 5, 5), -2.0)
    assert sorted(AssignmentProblem(scores, torch.tensor([5])).solve()[0].tolist()) == [0, 1, 2, 3, 4]
    assert AssignmentProblem(scores, torch.tensor([5])).loss(0)[0].tolist() == [10.0]


@pytest.mark.parametrize("margin", [0.0, 0.15])
def test_a_diverged_prediction_makes_its_sentence_nan(margin: float) -> None:
    scores, lengths = random_scores([4, 4, 4], seed=11)
    scores[1, 2] = math.nan
    assert AssignmentProblem(scores, lengths).loss(margin)[0].isnan().tolist() == [False, True, False]


def test_nothing_to_assign() -> None:
    for shape in ((2, 3, 3), (2, 0, 0), (0, 3, 3)):
        scores = torch.full(shape, math.nan, requires_grad=True)
        loss, kept = AssignmentProblem(scores, torch.zeros(shape[0], dtype=torch.long)).loss(0.15)
        assert loss.tolist() == [0.0] * shape[0]
        assert kept.tolist() == [0] * shape[0]
        torch.autograd.backward(loss.sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_long_sentences_on_the_device(dtype: torch.dtype, device: str) -> None:
    """One cell of each row and column holds -1; all others are worse than that by more than a swap can mend."""
    generator = torch.Generator().manual_seed(1)
    orders = torch.stack([torch.randperm(70, generator=generator) for _ in range(3)])
    scores = -5 - torch.rand(3, 70, 70, generator=generator, dtype=dtype)
    scores = scores.scatter(2, orders.unsqueeze(2), -1.0).to(device)
    problem = AssignmentProblem(scores, torch.full((3,), 70, device=device))
    later = scores * 2  # queued between the copy and the search
    loss, _ = problem.loss(0)
    assert torch.equal(problem.solve().cpu(), orders)
    assert loss.dtype == dtype
    assert loss.device.type == later.device.type == device
    assert loss.tolist() == [70.0] * 3
