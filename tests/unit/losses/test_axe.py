"""AXE against the cost of every monotonic alignment, written out."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from bnb_fairseq.losses.axe import axe_loss, best_alignment
from bnb_fairseq.losses.token import chosen_log_probs

from .parity import read_case

Path = tuple[str, ...]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]
PENALTIES = [0.0, 0.4, 1.0, 3.0]


@cache
def paths(predictions: int, tokens: int) -> list[Path]:
    """Every way to use up all predictions and all tokens, from left to right."""

    def steps() -> Iterator[Path]:
        for move, used in {"align": (1, 1), "skip prediction": (1, 0), "skip token": (0, 1)}.items():
            if predictions >= used[0] and tokens >= used[1]:
                for rest in paths(predictions - used[0], tokens - used[1]):
                    yield (*rest, move)

    return list(steps()) if predictions or tokens else [()]


def weights(path: Path, predictions: int, tokens: int, penalty: float) -> tuple[Tensor, Tensor]:
    """What a path counts: weights of log p_j(y_i), predictions x tokens, and of the blanks, predictions."""
    of_tokens, of_blanks = torch.zeros(predictions, tokens).double(), torch.zeros(predictions).double()
    i = j = 0
    for move in path:
        if move == "align":
            of_tokens[j, i] = 1
            i, j = i + 1, j + 1
        elif move == "skip prediction":
            of_blanks[j] = 1 if i else penalty
            j += 1
        else:
            of_tokens[max(j - 1, 0), i] = penalty
            i += 1
    return of_tokens, of_blanks


def cheapest(scores: Tensor, blank_scores: Tensor, penalty: float) -> tuple[float, Tensor, Tensor]:
    """Cost and weights of the best of all paths of a sentence without padding."""
    predictions, tokens = scores.shape
    found = []
    for path in paths(predictions, tokens):
        of_tokens, of_blanks = weights(path, predictions, tokens, penalty)
        read = [*zip(of_tokens.flatten().tolist(), scores.flatten().tolist(), strict=True)]
        read += zip(of_blanks.tolist(), blank_scores.tolist(), strict=True)
        found.append((-sum(weight * score for weight, score in read if weight), of_tokens, of_blanks))
    return min(found, key=lambda entry: entry[0])


def table(scores: Tensor, blank_scores: Tensor, penalty: float) -> float:
    """The recurrence cell by cell, for sentences with too many paths."""
    token, blank = (-scores).tolist(), (-blank_scores).tolist()
    predictions, tokens = scores.shape
    cost = [[0.0] * (predictions + 1) for _ in range(tokens + 1)]
    for j in range(1, predictions + 1):
        cost[0][j] = cost[0][j - 1] + penalty * blank[j - 1]
    for i in range(1, tokens + 1):
        cost[i][0] = cost[i - 1][0] + penalty * token[0][i - 1]
        for j in range(1, predictions + 1):
            align, skip = cost[i - 1][j - 1] + token[j - 1][i - 1], cost[i - 1][j] + penalty * token[j - 1][i - 1]
            cost[i][j] = min(align, skip, cost[i][j - 1] + blank[j - 1])
    return cost[tokens][predictions]


def random_batch(sizes: list[tuple[int, int]], seed: int, fill: float = 0.0, extra: int = 0) -> Batch:
    """Random log-probabilities for sentences of (predictions, tokens); padding holds ``fill``."""
    generator = torch.Generator().manual_seed(seed)
    longest = [max(size[k] for size in sizes) + extra for k in (0, 1)]
    scores = torch.full((len(sizes), *longest), fill, dtype=torch.float64)
    blank_scores = torch.full((len(sizes), longest[0]), fill, dtype=torch.float64)
    for b, (predictions, tokens) in enumerate(sizes):
        drawn = -3 * torch.rand(predictions, tokens + 1, generator=generator, dtype=torch.float64)
        scores[b, :predictions, :tokens] = drawn[:, 1:]
        blank_scores[b, :predictions] = drawn[:, 0]
    lengths = torch.tensor(sizes)
    return scores, blank_scores, lengths[:, 0], lengths[:, 1]


SIZES = [(predictions, tokens) for predictions in range(1, 6) for tokens in range(5)]


def gradients(batch: Batch, penalty: float) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, and their gradients over both kinds of scores."""
    scores, blank_scores = batch[0].clone().requires_grad_(), batch[1].clone().requires_grad_()
    loss = axe_loss(scores, blank_scores, *batch[2:], penalty)
    of_tokens, of_blanks = torch.autograd.grad(loss.sum(), (scores, blank_scores))
    return loss.detach(), of_tokens, of_blanks


@pytest.mark.parametrize("penalty", [1, 3])
@pytest.mark.parametrize("size", ["small", "mid"])
def test_the_original_codes_numbers(size: str, penalty: int) -> None:
    case = read_case(size)
    loss = axe_loss(case.scores, case.blank_scores, case.lengths, case.lengths, penalty)
    assert float(loss.mean()) == pytest.approx(case.expected[f"axe_sum_delta{penalty}"], rel=0, abs=1e-4)


def test_the_number_of_paths() -> None:
    """Delannoy numbers."""
    assert [len(paths(n, n)) for n in range(5)] == [1, 3, 13, 63, 321]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("penalty", PENALTIES)
def test_loss_and_gradient_are_the_best_paths(penalty: float, seed: int) -> None:
    """All sizes in one batch; the gradient is the path's weights, 0 at padding."""
    batch = random_batch(SIZES, seed, fill=-0.5, extra=1)
    loss, of_tokens, of_blanks = gradients(batch, penalty)
    for b, (predictions, tokens) in enumerate(SIZES):
        scores, blank_scores = batch[0][b, :predictions, :tokens], batch[1][b, :predictions]
        cost, token_weights, blank_weights = cheapest(scores, blank_scores, penalty)
        assert float(loss[b]) == pytest.approx(cost, rel=0, abs=1e-12), (predictions, tokens)
        if penalty:  # with 0, tokens are free wherever they are read
            expected = torch.zeros_like(of_tokens[b]), torch.zeros_like(of_blanks[b])
            expected[0][:predictions, :tokens], expected[1][:predictions] = -token_weights, -blank_weights
            assert torch.equal(of_tokens[b], expected[0]), (predictions, tokens)
            assert torch.equal(of_blanks[b], expected[1]), (predictions, tokens)


def test_all_moves_are_used() -> None:
    """What the comparison above rests on: best paths with each move, before, between and after tokens."""
    moves = set()
    for seed in range(3):
        scores, blank_scores, _, _ = random_batch([(5, 4)], seed)
        best = cheapest(scores[0], blank_scores[0], 0.4)
        moves |= {float(weight) for weight in best[2]} | {-float(weight) for weight in best[1].flatten()}
    assert moves == {0.0, 0.4, 1.0, -0.4, -1.0}


@pytest.mark.parametrize("penalty", [0.4, 3.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_long_sentences(dtype: torch.dtype, tolerance: float, penalty: float, device: str) -> None:
    sizes = [(70, 60), (40, 60), (60, 3), (70, 31)]
    batch = random_batch(sizes, seed=5)
    scores, blank_scores, canvas, tokens = (tensor.to(device) for tensor in batch)
    loss = axe_loss(scores.to(dtype), blank_scores.to(dtype), canvas, tokens, penalty)
    assert loss.dtype == dtype
    assert loss.device.type == device
    for b, (predictions, length) in enumerate(sizes):
        expected = table(batch[0][b, :predictions, :length], batch[1][b, :predictions], penalty)
        assert float(loss[b]) == pytest.approx(expected, rel=tolerance), sizes[b]


def test_by_hand() -> None:
    """Target "a b". Penalty 2; the first prediction is the blank with 1/2, the second is a with 1/4, the third b."""
    half, quarter, tiny = math.log(1 / 2), math.log(1 / 4), math.log(1e-6)
    scores = torch.tensor([[[tiny, tiny], [quarter, tiny], [tiny, 0.0]]])
    blank_scores = torch.tensor([[half, tiny, tiny]])
    three, two = torch.tensor([3]), torch.tensor([2])
    loss = axe_loss(scores, blank_scores, three, two, 2.0)
    assert float(loss) == pytest.approx(2 * math.log(2) + math.log(4))
    alignment = best_alignment(scores, blank_scores, three, two, 2.0)
    assert alignment.places.tolist() == [[1, 2]]
    assert alignment.token_weights.tolist() == [[1, 1]]
    assert alignment.blank_weights.tolist() == [[2, 0, 0]]


def test_skipped_tokens_by_hand() -> None:
    """Target "a b c", one prediction: b, the dearest, is aligned; a and c are skipped and cost 3 times as much."""
    scores = torch.tensor([[1 / 2, 1 / 4, 1 / 2]]).log().unsqueeze(0)
    three, one = torch.tensor([3]), torch.tensor([1])
    loss = axe_loss(scores, torch.tensor([[-20.0]]), one, three, 3.0)
    assert float(loss) == pytest.approx((3 * 1 + 2 + 3 * 1) * math.log(2))
    alignment = best_alignment(scores, torch.tensor([[-20.0]]), one, three, 3.0)
    assert alignment.places.tolist() == [[0, 0, 0]]
    assert alignment.token_weights.tolist() == [[3, 1, 3]]
    assert alignment.blank_weights.tolist() == [[0]]


def test_equal_lengths_and_confident_predictions_give_cross_entropy() -> None:
    scores = torch.full((2, 6, 6), -30.0).diagonal_scatter(torch.full((2, 6), -0.25), dim1=1, dim2=2)
    lengths = torch.tensor([6, 4])
    loss = axe_loss(scores, torch.full((2, 6), -30.0), lengths, lengths, 1.0)
    assert loss.tolist() == [1.5, 1.0]


def test_gradcheck() -> None:
    """Predictions more and fewer than tokens."""
    scores, blank_scores, canvas, tokens = random_batch([(4, 3), (3, 5), (2, 0), (1, 4)], seed=7, fill=-1.0)

    def loss(scores: Tensor, blank_scores: Tensor) -> Tensor:
        return axe_loss(scores, blank_scores, canvas, tokens, 1.5)

    assert torch.autograd.gradcheck(loss, (scores.requires_grad_(), blank_scores.requires_grad_()))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_batch_equals_its_sentences(penalty: float) -> None:
    batch = random_batch(SIZES, seed=11)
    together = axe_loss(*batch, penalty)
    for b, (predictions, tokens) in enumerate(SIZES):
        scores, blank_scores = batch[0][b : b + 1, :predictions, :tokens], batch[1][b : b + 1, :predictions]
        alone = axe_loss(scores, blank_scores, batch[2][b : b + 1], batch[3][b : b + 1], penalty)
        assert float(together[b]) == pytest.approx(float(alone), rel=1e-14, abs=0), (predictions, tokens)


@pytest.mark.parametrize("fill", [math.nan, math.inf, -math.inf, 1e30, 0.0])
def test_padding_does_not_matter(fill: float) -> None:
    expected = gradients(random_batch(SIZES, seed=13, fill=-1.0, extra=2), 1.5)
    found = gradients(random_batch(SIZES, seed=13, fill=fill, extra=2), 1.5)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("penalty", [0.4, 3.0])
def test_impossible_words_are_avoided(penalty: float) -> None:
    """With log 0 in a third of the places, the best path is the best of those that are left, if one is."""
    sizes = [size for size in SIZES if size[0] > 2] * 2
    scores, blank_scores, canvas, tokens = random_batch(sizes, seed=17)
    generator = torch.Generator().manual_seed(17)
    scores = scores.masked_fill(torch.rand(scores.shape, generator=generator) < 0.35, -math.inf)
    blank_scores = blank_scores.masked_fill(torch.rand(blank_scores.shape, generator=generator) < 0.35, -math.inf)
    loss, *grads = gradients((scores, blank_scores, canvas, tokens), penalty)
    for b, (predictions, length) in enumerate(sizes):
        expected, _, _ = cheapest(scores[b, :predictions, :length], blank_scores[b, :predictions], penalty)
        assert float(loss[b]) == pytest.approx(expected, rel=1e-12), (predictions, length)
    assert 5 < int(loss.isinf().sum()) < len(sizes) - 5
    assert all(bool(grad.isfinite().all()) for grad in grads)


def test_no_possible_path() -> None:
    scores, blank_scores, canvas, tokens = random_batch([(3, 2), (3, 2)], seed=19)
    scores[0], blank_scores[0] = -math.inf, -math.inf
    loss, *grads = gradients((scores, blank_scores, canvas, tokens), 1.5)
    assert math.isinf(loss[0])
    assert math.isfinite(loss[1])
    assert all(bool(grad.isfinite().all()) for grad in grads)


def test_a_diverged_prediction_makes_its_sentence_nan() -> None:
    scores, blank_scores, canvas, tokens = random_batch([(4, 3), (4, 3), (4, 3)], seed=23)
    scores[1, 2], blank_scores[1, 2] = math.nan, math.nan
    assert axe_loss(scores, blank_scores, canvas, tokens, 1.0).isnan().tolist() == [False, True, False]


def test_nothing_to_align() -> None:
    """Tokens without predictions are impossible; predictions without tokens are skipped, with the penalty."""
    scores = torch.full((3, 2, 2), math.nan)
    blank_scores = torch.tensor([[math.nan, math.nan], [math.nan, math.nan], [-1.0, -2.0]]).requires_grad_()
    canvas, tokens = torch.tensor([0, 0, 2]), torch.tensor([0, 2, 0])
    loss = axe_loss(scores, blank_scores, canvas, tokens, 3.0)
    assert loss.tolist() == [0.0, math.inf, 9.0]
    (gradient,) = torch.autograd.grad(loss.sum(), blank_scores)
    assert gradient.tolist() == [[0, 0], [0, 0], [-3, -3]]
    for shape in ((2, 0, 3), (2, 3, 0), (2, 0, 0), (0, 3, 3), (0, 0, 0)):
        empty = torch.zeros(shape, requires_grad=True)
        none = torch.zeros(shape[0], dtype=torch.long)
        loss = axe_loss(empty, torch.zeros(shape[:2]), none, none, 1.0)
        assert loss.tolist() == [0.0] * shape[0]
        torch.autograd.backward(loss.sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits(dtype: torch.dtype) -> None:
    """The loss itself is float32, and its gradient reaches the logits in their own type."""
    logits = torch.randn(5, 20, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
    ids = torch.tensor([3, 1, 4, 1, 0]).expand(5, 5)

    def loss(logits: Tensor) -> Any:
        scores = chosen_log_probs(logits, ids).chosen.unsqueeze(0)
        return axe_loss(scores[..., :-1], scores[..., -1], torch.tensor([5]), torch.tensor([4]), 2.0)

    assert loss(logits).dtype == torch.float32
    assert float(loss(logits)) == pytest.approx(float(loss(logits.detach().float())), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss(logits), logits)
    assert gradient.dtype == dtype


def test_the_search_leaves_no_graph() -> None:
    """The gradient needs no more tensors for more rows."""

    def tensors_saved(tokens: int) -> int:
        saved: list[Tensor] = []

        def save(tensor: Tensor) -> Tensor:
            saved.append(tensor)
            return tensor

        scores, blank_scores, canvas, length = random_batch([(6, tokens)], seed=1)
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            axe_loss(scores.requires_grad_(), blank_scores.requires_grad_(), canvas, length, 1.0)
        return len(saved)

    assert tensors_saved(3) == tensors_saved(30) > 0
