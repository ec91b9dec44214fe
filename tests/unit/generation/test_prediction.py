"""Tokens and scores against a softmax over the whole vocabulary, whatever the size of a block."""

import math

import pytest
import torch
from torch import Tensor

from bnb_fairseq.generation import prediction
from bnb_fairseq.generation.prediction import predict

POSITIONS, WIDTH, SYMBOLS = 23, 6, 11


@pytest.fixture
def states() -> Tensor:
    return torch.randn(POSITIONS, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def table() -> Tensor:
    return 3 * torch.randn(SYMBOLS, WIDTH, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("block", [1, 2 * SYMBOLS, 5 * SYMBOLS + 1, 1000 * SYMBOLS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_are_log_probabilities(
    states: Tensor, table: Tensor, block: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "CPU_BLOCK", block)
    logits = (states @ table.T).to(dtype)
    expected, tokens = logits.double().log_softmax(dim=-1).max(dim=-1)
    predicted = predict(lambda x: (x @ table.T).to(dtype), states, SYMBOLS)
    assert torch.equal(predicted.tokens, tokens)
    assert predicted.scores.dtype == torch.float32
    assert torch.allclose(predicted.scores.double(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_scores_of_confident_tokens_are_exact(dtype: torch.dtype) -> None:
    """They must not tie at 0: their order decides what is masked again."""
    logits = torch.randn(50, 200, generator=torch.Generator().manual_seed(1))
    logits[:, 7] += torch.linspace(6, 14, 50)
    logits = logits.to(dtype)
    expected = logits.double().log_softmax(dim=-1).amax(dim=-1)
    scores = predict(lambda x: x, logits, 200).scores
    assert scores.dtype == torch.float32
    assert torch.allclose(scores.double(), expected, rtol=0, atol=2e-6)
    assert len(set(scores.tolist())) == 50


def test_no_block_is_larger_than_allowed(states: Tensor, table: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "CPU_BLOCK", 4 * SYMBOLS + 3)
    sizes = []

    def output_layer(block: Tensor) -> Tensor:
        sizes.append(len(block))
        return block @ table.T

    predict(output_layer, states, SYMBOLS)
    assert sizes == [4, 4, 4, 4, 4, 3]


@pytest.mark.parametrize("block", [3 * SYMBOLS, 1000 * SYMBOLS])
def test_unscored_tokens_get_zero(states: Tensor, table: Tensor, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "CPU_BLOCK", block)
    everything = predict(lambda x: x @ table.T, states, SYMBOLS)
    common = int(everything.tokens.mode().values)
    some = predict(lambda x: x @ table.T, states, SYMBOLS, unscored=common)
    assert torch.equal(some.tokens, everything.tokens)
    skipped = some.tokens == common
    assert 1 < int(skipped.sum()) < POSITIONS
    assert torch.equal(some.scores[skipped], torch.zeros(int(skipped.sum())))
    assert torch.allclose(some.scores[~skipped], everything.scores[~skipped], rtol=0, atol=1e-6)


def test_no_states(table: Tensor) -> None:
    predicted = predict(lambda x: x @ table.T, torch.zeros(0, WIDTH), SYMBOLS)
    assert predicted.tokens.shape == predicted.scores.shape == (0,)


def test_large_logits_do_not_overflow() -> None:
    predicted = predict(lambda x: x, torch.tensor([[3e4, 3e4, -3e4], [-1e30, 0.0, -1e30]]), 3)
    assert torch.allclose(predicted.scores, torch.tensor([-math.log(2), 0.0]), atol=1e-6)
