"""CTC against sums over every alignment, written out."""

import itertools
import math
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

from bnb_fairseq.losses.ctc import (
    CtcLoss,
    ctc_loss,
    known_scores,
    needed_positions,
    uniform_divergence,
    words_to_score,
)

SYMBOLS = 4
Target = tuple[int, ...]
# Indices into the symbols that are not the blank: single, double and triple tokens, and more than any canvas holds.
SHAPES: list[Target] = [
    (),
    (0,),
    (2,),
    (0, 0),
    (0, 1),
    (1, 1, 1),
    (0, 1, 0),
    (2, 2, 1),
    (0, 0, 2, 2),
    (2, 1, 0, 1),
    (0, 1, 1, 2),
    (0, 1, 2, 0, 1),
    (2, 2, 0, 1, 2),
    (0, 1, 2, 0, 1, 2),
]


def collapse(alignment: Sequence[int], blank: int) -> Target:
    return tuple(symbol for symbol, _ in itertools.groupby(alignment) if symbol != blank)


@cache
def alignments(canvas: int, blank: int) -> dict[Target, list[Target]]:
    """Every alignment of the canvas, by the target it collapses to."""
    found: dict[Target, list[Target]] = {}
    for alignment in itertools.product(range(SYMBOLS), repeat=canvas):
        found.setdefault(collapse(alignment, blank), []).append(alignment)
    return found


def padded(targets: Sequence[Target], fill: int, extra: int = 0) -> tuple[Tensor, Tensor]:
    rows = torch.full((len(targets), max(map(len, targets)) + extra), fill)
    for row, target in zip(rows, targets, strict=True):
        row[: len(target)] = torch.tensor(target, dtype=torch.long)
    return rows, torch.tensor([len(target) for target in targets])


def cases(blank: int) -> list[tuple[int, Target]]:
    """Canvas length and target."""
    letters = [symbol for symbol in range(SYMBOLS) if symbol != blank]
    return [(canvas, tuple(letters[i] for i in shape)) for canvas in range(1, 6) for shape in SHAPES]


def random_log_probs(canvas: int, sentences: int, seed: int = 1) -> Tensor:
    logits = 2 * torch.randn(canvas, sentences, SYMBOLS, generator=torch.Generator().manual_seed(seed)).double()
    return logits.log_softmax(dim=-1)


def loss_of(log_probs: Tensor, targets: Tensor, canvases: Tensor, lengths: Tensor, blank: int) -> CtcLoss:
    """The loss from log-probabilities of the whole vocabulary, A x B x V."""
    words = words_to_score(targets, blank).expand(len(log_probs), -1, -1)
    return ctc_loss(log_probs.gather(2, words), targets, canvases, lengths)


@pytest.mark.parametrize("blank", [0, 1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_loss_is_the_sum_over_all_alignments(dtype: torch.dtype, tolerance: float, blank: int) -> None:
    """All cases in one batch, canvases of 1 to 5 positions padded to 7, targets padded with an ordinary token."""
    sentences = cases(blank)
    log_probs = random_log_probs(7, len(sentences))
    targets, lengths = padded([target for _, target in sentences], fill=2)
    canvases = torch.tensor([canvas for canvas, _ in sentences])
    result = loss_of(log_probs.to(dtype), targets, canvases, lengths, blank)
    assert result.nll.dtype == dtype
    for b, (canvas, target) in enumerate(sentences):
        matching = alignments(canvas, blank).get(target, [])
        assert bool(result.fits[b]) == bool(matching), (canvas, target)
        if matching:
            total = sum(math.exp(sum(float(log_probs[a, b, v]) for a, v in enumerate(path))) for path in matching)
            expected = -math.log(total)
            assert float(result.nll[b]) == pytest.approx(expected, rel=tolerance, abs=tolerance), (canvas, target)
        else:
            assert float(result.nll[b]) == 0
    assert 15 < int(result.fits.sum()) < len(sentences) - 15


def test_needed_positions_by_brute_force() -> None:
    """Every target of up to 4 letters from an alphabet of 2, in company of longer ones."""
    targets = [target for length in range(5) for target in itertools.product((1, 2), repeat=length)]
    expected = []
    for target in targets:
        paths = (
            size
            for size in range(8)
            for path in itertools.product(range(3), repeat=size)
            if collapse(path, blank=0) == target
        )
        expected.append(next(paths))
    assert max(expected) == 7
    for fill in (0, 1, 2):
        for extra in (0, 3):
            rows, lengths = padded(targets, fill, extra)
            assert needed_positions(rows, lengths).tolist() == expected
    assert needed_positions(torch.tensor([[2], [2]]), torch.tensor([1, 0])).tolist() == [1, 0]


def test_gradient() -> None:
    """Double tokens, an empty target, one that does not fit, and canvases shorter than the batch's."""
    targets, lengths = padded([(1, 1), (2, 1, 2), (), (1, 2, 2), (2,)], fill=1)
    canvases = torch.tensor([4, 5, 3, 3, 1])

    def loss(logits: Tensor) -> Tensor:
        return loss_of(logits.log_softmax(dim=-1), targets, canvases, lengths, blank=0).nll

    logits = torch.randn(5, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (logits,))
    (gradient,) = torch.autograd.grad(loss(logits).sum(), logits)
    reached = gradient.abs().sum(dim=2).gt(0).transpose(0, 1)
    assert reached.sum(dim=1).tolist() == [4, 5, 3, 0, 1]


def test_gradient_over_the_log_probabilities_themselves() -> None:
    """It is minus the posterior of each word at each position, where torch's takes a softmax for granted."""
    targets, lengths = padded([(1, 1), (2, 1, 2), (), (1, 2, 2), (2,)], fill=1)
    canvases = torch.tensor([4, 5, 3, 3, 1])
    scores = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)

    def loss(scores: Tensor) -> Tensor:  # columns of equal words are equal
        tied = torch.cat([scores[..., :1], scores.gather(2, (1 + targets).expand(6, -1, -1))], dim=2)
        return ctc_loss(tied, targets, canvases, lengths).nll

    assert torch.autograd.gradcheck(loss, (scores,))
    (gradient,) = torch.autograd.grad(loss(scores).sum(), scores)
    inside = torch.arange(6).unsqueeze(1) < canvases.masked_fill(torch.tensor([0, 0, 0, 1, 0]).bool(), 0)
    assert torch.allclose(-gradient.sum(dim=2), inside.double())


def test_a_target_of_probability_0() -> None:
    """It fits, so its loss is not the 0 of targets that do not; it has no gradient."""
    scores = torch.full((3, 2, 3), -1.0)
    scores[0, 0], scores[1:, 0, 1] = -torch.inf, -torch.inf
    scores.requires_grad_()
    found = ctc_loss(scores, torch.tensor([[1, 2], [1, 2]]), torch.tensor([3, 1]), torch.tensor([2, 2]))
    assert found.nll.tolist() == [torch.inf, 0.0]
    assert found.fits.tolist() == [True, False]
    (gradient,) = torch.autograd.grad(found.nll.sum(), scores)
    assert not gradient.any()


def test_loss_does_not_depend_on_padding() -> None:
    sentences = cases(blank=3)
    targets, lengths = padded([target for _, target in sentences], fill=0)
    canvases = torch.tensor([canvas for canvas, _ in sentences])
    log_probs = random_log_probs(5, len(sentences))
    expected = loss_of(log_probs, targets, canvases, lengths, blank=3)
    beyond = torch.arange(9).unsqueeze(1) >= canvases  # A x B
    longer = torch.cat([log_probs, random_log_probs(4, len(sentences))])
    longer[beyond] = random_log_probs(9, len(sentences), seed=7)[beyond]
    for fill in (0, 1, 3):
        rows, _ = padded([target for _, target in sentences], fill, extra=2)
        found = loss_of(longer, rows, canvases, lengths, blank=3)
        assert torch.allclose(found.nll, expected.nll, rtol=0, atol=1e-12)
        assert torch.equal(found.fits, expected.fits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_divergence_by_hand(dtype: torch.dtype) -> None:
    """KL((1/2, 1/2) || (1/4, 3/4)) = ln(2)/2 + ln(2/3)/2 = ln(4/3)/2."""
    skew, uniform = (0.25, 0.75), (0.5, 0.5)
    probabilities = torch.tensor([[skew, uniform], [uniform, skew]], dtype=dtype)
    divergence = uniform_divergence(probabilities.log().mean(dim=2), 2)
    assert divergence.dtype == dtype
    half = math.log(4 / 3) / 2
    assert divergence.flatten().tolist() == pytest.approx([half, 0.0, 0.0, half], abs=1e-7)


def test_uniform_divergence_over_more_symbols() -> None:
    """KL(uniform || (1/2, 1/8, 1/8, 1/4)) = (ln(1/2) + ln(2) + ln(2) + ln(1)) / 4 = ln(2) / 4."""
    probabilities = torch.tensor([0.5, 0.125, 0.125, 0.25], dtype=torch.float64)
    assert float(uniform_divergence(probabilities.log().mean(), 4)) == pytest.approx(math.log(2) / 4)


def test_known_positions_leave_the_sum_over_the_alignments_that_agree_with_them() -> None:
    """Position 1 is known to be the blank (3) in one sentence and token 1 in the other; other positions stay free."""
    target, canvas = (0, 1, 1), 6
    log_probs = random_log_probs(canvas, 2)
    targets = torch.tensor([target, target])
    words = words_to_score(targets, 3)
    scores = log_probs.gather(2, words.expand(canvas, -1, -1)).transpose(0, 1)  # B x A x (1 + T)
    tokens = torch.tensor([[3], [1]]).expand(-1, canvas)
    known = torch.zeros(2, canvas, dtype=torch.bool)
    known[:, 1] = True
    scores = torch.where(known.unsqueeze(2), known_scores(tokens, words), scores).transpose(0, 1).requires_grad_()
    nll = ctc_loss(scores, targets, torch.tensor([canvas, canvas]), torch.tensor([3, 3])).nll
    for b, symbol in enumerate((3, 1)):
        agreeing = [path for path in alignments(canvas, 3)[target] if path[1] == symbol]
        assert 0 < len(agreeing) < len(alignments(canvas, 3)[target])
        others = [a for a in range(canvas) if a != 1]
        total = sum(math.exp(sum(float(log_probs[a, b, path[a]]) for a in others)) for path in agreeing)
        assert float(nll[b]) == pytest.approx(-math.log(total), rel=1e-9)
    (gradient,) = torch.autograd.grad(nll.sum(), scores)
    assert bool(gradient.isfinite().all())
