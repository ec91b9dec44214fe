"""What the losses are computed from: random logits and targets."""

import argparse
from typing import NamedTuple

import torch
from torch import Tensor

from bnb_fairseq.modules.canvas import padding_mask, upsampled_lengths

BLANK = 0


class Sample(NamedTuple):
    """What the losses are computed from.

    Attributes:
        logits: N x V, float32, for the true tokens in row-major order.
        positions: B x T, True at true tokens.
        targets: B x T ids.
    """

    logits: Tensor
    positions: Tensor
    targets: Tensor


class CanvasSample(NamedTuple):
    """What a training step under CTC is computed from.

    Attributes:
        predicted: N x V, float32, what the loss reads: the logits at the positions of all canvases.
        guessed: A x B x V, what the alignment reads: the logits of a whole batch, padding too. It shares the memory of
            ``predicted``, which begins where it begins.
        positions: B x A, True at positions of the canvases.
        targets: B x T ids, right-padded.
        target_lengths: B.
        canvas_lengths: B.
    """

    predicted: Tensor
    guessed: Tensor
    positions: Tensor
    targets: Tensor
    target_lengths: Tensor
    canvas_lengths: Tensor


def draw_targets(options: argparse.Namespace, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw targets.

    Args:
        options: of the command line.
        generator: what to draw from.

    Returns:
        Their lengths, B, and their ids, B x T, none of them the blank.
    """
    lengths = torch.full((options.sentences,), options.tokens)
    if options.random_lengths:
        lengths = torch.randint(1, options.tokens + 1, (options.sentences,), generator=generator)
    shape = (options.sentences, options.tokens)
    return lengths, torch.randint(BLANK + 1, options.vocabulary, shape, generator=generator)


def draw_logits(options: argparse.Namespace, generator: torch.Generator, positions: int) -> Tensor:
    """Draw logits.

    Args:
        options: of the command line.
        generator: what to draw from.
        positions: N.

    Returns:
        N x V, float32, on the device.
    """
    return torch.randn(positions, options.vocabulary, generator=generator).mul_(2).to(options.device)


def make_sample(options: argparse.Namespace) -> Sample:
    """Draw logits and targets.

    Args:
        options: of the command line.

    Returns:
        The sample on the device; the logits take a gradient.
    """
    generator = torch.Generator().manual_seed(options.seed)
    lengths, targets = draw_targets(options, generator)
    positions = ~padding_mask(lengths, options.tokens)
    logits = draw_logits(options, generator, int(positions.sum()))
    return Sample(logits.requires_grad_(), positions.to(options.device), targets.to(options.device))


def make_canvas_sample(options: argparse.Namespace) -> CanvasSample:
    """Draw the logits of canvases, and targets; sources are as long as targets.

    Args:
        options: of the command line.

    Returns:
        The sample on the device; what the loss reads takes a gradient.
    """
    generator = torch.Generator().manual_seed(options.seed)
    lengths, targets = draw_targets(options, generator)
    canvas_lengths = upsampled_lengths(lengths, options.ctc_upsample)
    longest = int(canvas_lengths.max())
    positions = ~padding_mask(canvas_lengths, longest)
    logits = draw_logits(options, generator, positions.numel())
    guessed = logits.view(longest, options.sentences, options.vocabulary)
    predicted = logits[: int(positions.sum())].detach().requires_grad_()
    rest = (tensor.to(options.device) for tensor in (positions, targets, lengths, canvas_lengths))
    return CanvasSample(predicted, guessed, *rest)
