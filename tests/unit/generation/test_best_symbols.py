"""The best symbols of a position against a sort of its log-softmax, whatever the size of a block."""

import pytest
import torch
from torch import Tensor

from bnb_fairseq.generation import prediction
from bnb_fairseq.generation.best_symbols import AskedSymbols, BestSymbols, best_symbols

from ...facts import names

POSITIONS, WIDTH, SYMBOLS = 23, 6, 11


@pytest.fixture
def states() -> Tensor:
    return torch.randn(POSITIONS, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def table() -> Tensor:
    return 3 * torch.randn(SYMBOLS, WIDTH, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("block", [1, 2 * SYMBOLS, 5 * SYMBOLS + 1, 1000 * SYMBOLS])
@pytest.mark.parametrize("blank", [0, 4, SYMBOLS - 1])
@pytest.mark.parametrize("k", [1, 3, SYMBOLS - 1, SYMBOLS + 5])
def test_against_a_sort(
    states: Tensor, table: Tensor, k: int, blank: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "CPU_BLOCK", block)
    logits = states @ table.T  # not block by block: a product's rounding depends on the number of rows
    found = best_symbols(torch.clone, logits, SYMBOLS, blank, k)
    log_probs = logits.double().log_softmax(dim=1)
    for scores, tokens, blank_score, row in zip(*found, log_probs, strict=True):
        order = sorted((i for i in range(SYMBOLS) if i != blank), key=lambda i: -float(row[i]))[:k]
        assert tokens.tolist() == order
        assert torch.allclose(scores.double(), row[order], rtol=0, atol=2e-6)
        assert float(blank_score) == pytest.approx(float(row[blank]), abs=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_scored_in_float32(states: Tensor, table: Tensor, dtype: torch.dtype) -> None:
    logits = (states @ table.T).to(dtype)
    found = best_symbols(lambda x: x, logits, SYMBOLS, 0, 4)
    assert found.scores.dtype == found.blank_scores.dtype == torch.float32
    expected = logits.double().log_softmax(dim=1)
    assert torch.allclose(found.scores.double(), expected.gather(1, found.tokens), rtol=0, atol=2e-6)
    assert torch.allclose(found.blank_scores.double(), expected[:, 0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("certain", [0, 3])
def test_scores_of_certain_symbols_are_exact(certain: int) -> None:
    logits = torch.zeros(4, SYMBOLS) + 40
    margins = torch.tensor([8.0, 12.0, 15.0, 30.0])
    logits[:, certain] += margins
    expected = -torch.log1p((SYMBOLS - 1) * torch.exp(-margins.double()))
    found = best_symbols(torch.clone, logits, SYMBOLS, 0, 2)
    scores = found.blank_scores if certain == 0 else found.scores[:, 0]
    assert torch.allclose(scores.double(), expected, rtol=1e-6, atol=0)


def test_no_block_is_larger_than_allowed(states: Tensor, table: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "CPU_BLOCK", 4 * SYMBOLS + 3)
    sizes = []

    def output_layer(block: Tensor) -> Tensor:
        sizes.append(len(block))
        return block @ table.T

    best_symbols(output_layer, states, SYMBOLS, 0, 3)
    assert sizes == [4, 4, 4, 4, 4, 3]


def test_on_canvas() -> None:
    positions = torch.tensor([[True, True, False], [False, False, False], [True, False, True]])
    listed = BestSymbols(torch.arange(8.0).view(4, 2), torch.arange(10, 18).view(4, 2), torch.arange(20.0, 24))
    placed = listed.on_canvas(positions)
    assert placed.scores[positions.numpy()].tolist() == listed.scores.tolist()
    assert placed.tokens[2].tolist() == [[14, 15], [0, 0], [16, 17]]
    assert placed.blank_scores[2].tolist() == [22.0, float("-inf"), 23.0]
    assert (placed.scores[~positions.numpy()] == float("-inf")).all()


def test_no_states(table: Tensor) -> None:
    found = best_symbols(lambda x: x @ table.T, torch.zeros(0, WIDTH), SYMBOLS, 0, 3)
    assert [part.shape for part in found] == [(0, 3), (0, 3), (0,)]


def test_k_must_be_positive(states: Tensor) -> None:
    with pytest.raises(ValueError, match=names("1", "0")):
        best_symbols(lambda x: x, states, WIDTH, 0, 0)


@pytest.mark.parametrize("block", [1, 5 * SYMBOLS + 1, 1000 * SYMBOLS])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_asked_symbols_stand_behind_the_best(
    states: Tensor, table: Tensor, count: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those asked for come in order, unless they are among the best, the blank, missing or below the floor."""
    monkeypatch.setattr(prediction, "CPU_BLOCK", block)
    logits, blank, k = states @ table.T, 3, 2
    drawn = torch.Generator().manual_seed(5)
    ids = torch.stack([torch.randperm(SYMBOLS, generator=drawn)[:4] for _ in range(POSITIONS)])
    ids[::3, 1] = -1
    log_probs = logits.double().log_softmax(dim=1)
    floor = float(log_probs.gather(1, ids.clamp(min=0)).median())
    plain = best_symbols(torch.clone, logits, SYMBOLS, blank, k)
    found = best_symbols(torch.clone, logits, SYMBOLS, blank, k, AskedSymbols(ids, count, floor))
    assert torch.equal(found.scores[:, :k], plain.scores)
    assert torch.equal(found.tokens[:, :k], plain.tokens)
    added = 0
    for i, row in enumerate(log_probs):
        wanted = [t for t in ids[i].tolist() if t >= 0 and t != blank and t not in plain.tokens[i].tolist()]
        expected = sorted((t for t in wanted if row[t] >= floor), key=lambda t: -float(row[t]))[:count]
        there = found.scores[i, k:].isfinite()
        assert found.tokens[i, k:][there].tolist() == expected
        assert torch.allclose(found.scores[i, k:][there].double(), row[expected], rtol=0, atol=2e-6)
        added += len(expected)
    assert 0 < added < POSITIONS * min(count, 4)


def test_asked_symbols_of_sentences_on_positions() -> None:
    positions = torch.tensor([[True, True], [False, True]])
    asked = AskedSymbols(torch.tensor([[4, 5], [6, -1]]), 2, -9.0)
    assert asked.on_positions(positions).tokens.tolist() == [[4, 5], [4, 5], [6, -1]]
