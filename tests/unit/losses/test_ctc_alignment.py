"""The best alignment against every alignment, written out."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from bnb_fairseq.losses.ctc import needed_positions, words_to_score
from bnb_fairseq.losses.ctc_alignment import best_alignment

BLANK = 3
TARGETS = [(), (0,), (0, 0), (0, 1), (1, 1, 1), (0, 1, 0), (2, 2, 1), (2, 1, 0, 1), (0, 1, 1, 2), (0, 1, 2, 0, 1)]


def collapse(alignment: Sequence[int]) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(alignment) if symbol != BLANK)


def batch(cases: list[tuple[int, tuple[int, ...]]], extra: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Targets, canvas lengths and target lengths."""
    targets = torch.full((len(cases), max(len(target) for _, target in cases) + extra), 1)
    for row, (_, target) in zip(targets, cases, strict=True):
        row[: len(target)] = torch.tensor(target, dtype=torch.long)
    return targets, torch.tensor([canvas for canvas, _ in cases]), torch.tensor([len(target) for _, target in cases])


def logits(canvas: int, sentences: int, seed: int = 1) -> Tensor:
    return 2 * torch.randn(canvas, sentences, 4, generator=torch.Generator().manual_seed(seed)).double()


def scored(values: Tensor, targets: Tensor) -> Tensor:
    return values.gather(2, words_to_score(targets, BLANK).expand(len(values), -1, -1))


@pytest.mark.parametrize("normalised", [True, False])
def test_best_of_all_alignments(normalised: bool) -> None:
    """Canvases of 1 to 6 positions in one batch, padded to 7; whatever does not fit is blank."""
    cases = [(canvas, target) for canvas in range(1, 7) for target in TARGETS]
    targets, canvases, lengths = batch(cases)
    values = logits(7, len(cases))
    values = values.log_softmax(dim=2) if normalised else values
    found = best_alignment(scored(values, targets), targets, canvases, lengths)
    words = words_to_score(targets, BLANK).gather(1, found)
    fits = needed_positions(targets, lengths) <= canvases
    assert 15 < int(fits.sum()) < len(cases) - 15
    for b, (canvas, target) in enumerate(cases):
        assert found[b, canvas:].eq(0).all()
        if not fits[b]:
            assert found[b].eq(0).all()
            continue
        alignments = (a for a in itertools.product(range(4), repeat=canvas) if collapse(a) == target)
        best = max(alignments, key=lambda a: sum(float(values[place, b, symbol]) for place, symbol in enumerate(a)))
        assert tuple(words[b, :canvas].tolist()) == best


def test_columns_name_the_token_not_the_word() -> None:
    """Of a target with a word twice, each position says which of the two it stands for."""
    values = torch.full((5, 1, 4), -5.0)
    for place, symbol in enumerate([0, BLANK, 1, 0, 0]):
        values[place, 0, symbol] = 0.0
    targets = torch.tensor([[0, 1, 0]])
    found = best_alignment(scored(values, targets), targets, torch.tensor([5]), torch.tensor([3]))
    assert found.tolist() == [[1, 0, 2, 3, 3]]


def test_padding_does_not_matter() -> None:
    cases = [(4, (0, 0)), (6, (2, 1, 0)), (2, (1,)), (3, ())]
    targets, canvases, lengths = batch(cases)
    values = logits(6, len(cases))
    expected = best_alignment(scored(values, targets), targets, canvases, lengths)
    wider, _, _ = batch(cases, extra=2)
    longer = torch.cat([values, logits(3, len(cases), seed=5)])
    longer[torch.arange(9).unsqueeze(1) >= canvases] = float("nan")
    found = best_alignment(scored(longer, wider), wider, canvases, lengths)
    assert torch.equal(found[:, :6], expected)
    for b in range(len(cases)):
        alone = best_alignment(
            scored(values[:, b : b + 1], targets[b : b + 1]),
            targets[b : b + 1],
            canvases[b : b + 1],
            lengths[b : b + 1],
        )
        assert torch.equal(alone[0], expected[b])


def test_nothing() -> None:
    targets = torch.zeros(2, 0, dtype=torch.long)
    zeros = torch.tensor([0, 0])
    assert best_alignment(torch.zeros(0, 2, 1), targets, zeros, zeros).shape == (2, 0)
    assert best_alignment(torch.zeros(3, 2, 1), targets, torch.tensor([3, 1]), zeros).tolist() == [[0, 0, 0]] * 2
