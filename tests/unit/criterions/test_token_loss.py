"""Cross-entropy, AXE and OAXE through the criterion's part that chooses among them."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bnb_fairseq.criterions.token_loss import TokenLoss
from bnb_fairseq.losses.packing import Packing
from bnb_fairseq.modules.lazy_logits import LazyLogits

BLANK, SYMBOLS = 1, 7
TARGET = torch.tensor([[4, 5, 6, 2], [3, 3, 2, BLANK], [2, BLANK, BLANK, BLANK]])
EVERYTHING = TARGET.ne(BLANK)
SOME = torch.tensor([[False, True, False, True], [True, True, False, False], [True, False, False, False]])


def logits(hidden: Tensor, seed: int = 1) -> Tensor:
    return 2 * torch.randn(int(hidden.sum()), SYMBOLS, generator=torch.Generator().manual_seed(seed)).double()


def rows(values: Tensor, hidden: Tensor) -> list[Tensor]:
    return list(torch.split(values, hidden.sum(dim=1).tolist()))


def monotonic(log_probs: Tensor, tokens: list[int], skip_target: float) -> float:
    """Cheapest of all ways from the first to the last of predictions and tokens."""

    def rest(i: int, j: int) -> float:
        if (i, j) == (len(tokens), len(log_probs)):
            return 0.0
        costs = []
        if j < len(log_probs):
            weight = skip_target if i == 0 else 1.0
            costs.append(-weight * float(log_probs[j, BLANK]) + rest(i, j + 1))
        if i < len(tokens):
            costs.append(-skip_target * float(log_probs[max(j - 1, 0), tokens[i]]) + rest(i + 1, j))
        if i < len(tokens) and j < len(log_probs):
            costs.append(-float(log_probs[j, tokens[i]]) + rest(i + 1, j + 1))
        return min(costs)

    return rest(0, 0)


def any_order(log_probs: Tensor, tokens: list[int], margin: float) -> float:
    costs = [[-float(row[token]) for token in tokens] for row in log_probs]
    orders = itertools.permutations(range(len(tokens)))
    best = min(orders, key=lambda order: sum(costs[j][i] for j, i in enumerate(order)))
    return sum(costs[j][i] for j, i in enumerate(best) if math.exp(-costs[j][i]) > margin)


def in_place(log_probs: Tensor, tokens: list[int]) -> float:
    return -sum(float(row[token]) for row, token in zip(log_probs, tokens, strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("hidden", [EVERYTHING, SOME])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ce", {}),
        ("axe", {"skip_target": 1.0}),
        ("axe", {"skip_target": 3.0}),
        ("oaxe", {}),
        ("oaxe", {"margin": 0.02}),
    ],
)
def test_against_brute_force(kind: str, options: dict[str, Any], hidden: Tensor, smoothing: float) -> None:
    found, _, logs = TokenLoss(kind, smoothing, BLANK, **options)(
        LazyLogits(logits(hidden)), Packing(hidden), TARGET, update=0
    )
    references: dict[str, Callable[[Tensor, list[int]], float]] = {
        "ce": in_place,
        "axe": lambda rows, tokens: monotonic(rows, tokens, options.get("skip_target", 1.0)),
        "oaxe": lambda rows, tokens: any_order(rows, tokens, options.get("margin", 0.0)),
    }
    plain, expected, in_order = [], [], 0.0
    for log_probs, tokens in zip(
        rows(logits(hidden).log_softmax(dim=1), hidden), rows(TARGET[hidden], hidden), strict=True
    ):
        plain.append(references[kind](log_probs, tokens.tolist()))
        uniform = -float(log_probs.mean(dim=1).sum())
        expected.append((1 - smoothing) * plain[-1] + smoothing * uniform)
        in_order += in_place(log_probs, tokens.tolist())
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    assert float(logs["nll_sum"]) == pytest.approx(in_order, rel=1e-9)
    if kind != "ce":
        assert float(logs[f"{kind}_sum"]) == pytest.approx(sum(plain), rel=1e-9)
    if kind == "oaxe":
        assert 0 < int(logs["oaxe_kept"]) <= int(hidden.sum())
        assert (int(logs["oaxe_kept"]) == int(hidden.sum())) == ("margin" not in options)


def test_oaxe_takes_the_place_of_cross_entropy() -> None:
    scores = logits(EVERYTHING)

    def loss(kind: str, update: int) -> Tensor:
        return TokenLoss(kind, 0.0, BLANK, warmup_updates=40)(LazyLogits(scores), Packing(EVERYTHING), TARGET, update)[
            0
        ]

    ordered, free = loss("ce", 0), loss("oaxe", 40)
    assert float((ordered - free).sum()) > 1.0
    for update, share in ((0, 0.0), (10, 0.25), (39, 0.975), (40, 1.0), (1000, 1.0)):
        assert torch.allclose(loss("oaxe", update), share * free + (1 - share) * ordered)


@pytest.mark.parametrize("kind", ["ce", "axe", "oaxe"])
def test_gradient(kind: str) -> None:
    loss = TokenLoss(kind, 0.1, BLANK, skip_target=2.0, margin=0.01)
    scores = logits(EVERYTHING).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, Packing(EVERYTHING), TARGET, 0)[0], scores)
