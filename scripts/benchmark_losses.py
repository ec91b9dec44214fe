"""Compare the time that the token losses take, forward and backward, on the same logits.

The losses as the criterion computes them, label smoothing included, and torch's cross-entropy, the measure of all, are
run in turns. Prints a table.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from machine import describe_machine
from speed.clock import synchronise
from torch import Tensor

from bnb_fairseq.criterions.token_loss import TokenLoss
from bnb_fairseq.losses.packing import Packing

REFERENCE = "cross-entropy (torch)"
SMOOTHING = 0.1
BLANK = 0
VERSIONS = ("torch", "scipy", "numpy")

Loss = Callable[[Tensor], Tensor]


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


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: of the command line; None: the process's own.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=["cpu", "cuda"], default=default, help=f"default here: {default}")
    parser.add_argument("--sentences", type=int, default=32, help="in the batch")
    parser.add_argument("--tokens", type=int, default=64, help="of the longest target, and of its canvas")
    parser.add_argument("--vocabulary", type=int, default=30_522, help="words, special symbols counted")
    parser.add_argument("--repetitions", type=int, default=9, help="counted runs of each loss; one more goes ahead")
    parser.add_argument("--random-lengths", action="store_true", help="1 to --tokens; default: all of full length")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--seed", type=int, default=1, help="of logits, targets and lengths")
    options = parser.parse_args(arguments)
    for name in ("sentences", "tokens", "repetitions", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, but is {getattr(options, name)}")
    if options.vocabulary < 2:
        parser.error(f"--vocabulary must be at least 2, but is {options.vocabulary}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, but torch sees none")
    return options


def say(text: str) -> None:
    """Show progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def make_sample(options: argparse.Namespace) -> Sample:
    """Draw logits and targets.

    Args:
        options: of the command line.

    Returns:
        The sample on the device; the logits take a gradient.
    """
    generator = torch.Generator().manual_seed(options.seed)
    lengths = torch.full((options.sentences,), options.tokens)
    if options.random_lengths:
        lengths = torch.randint(1, options.tokens + 1, (options.sentences,), generator=generator)
    positions = torch.arange(options.tokens) < lengths.unsqueeze(1)
    targets = torch.randint(BLANK + 1, options.vocabulary, positions.shape, generator=generator)
    logits = 2 * torch.randn(int(positions.sum()), options.vocabulary, generator=generator)
    positions, targets = positions.to(options.device), targets.to(options.device)
    return Sample(logits.to(options.device).requires_grad_(), positions, targets)


def make_losses(sample: Sample) -> dict[str, Loss]:
    """List what is compared.

    Args:
        sample: the data.

    Returns:
        For each name a function from logits to the sum of the batch's losses.
    """
    flat = sample.targets[sample.positions]

    def torchs(smoothing: float) -> Loss:
        return lambda logits: F.cross_entropy(logits, flat, reduction="sum", label_smoothing=smoothing)

    def criterions(loss: TokenLoss) -> Loss:
        return lambda logits: loss(logits, Packing(sample.positions), sample.targets, 0)[0].sum()

    return {
        REFERENCE: torchs(0.0),
        "label-smoothed cross-entropy (torch)": torchs(SMOOTHING),
        "label-smoothed cross-entropy": criterions(TokenLoss("ce", SMOOTHING, BLANK)),
        "AXE": criterions(TokenLoss("axe", SMOOTHING, BLANK)),
        "OAXE": criterions(TokenLoss("oaxe", SMOOTHING, BLANK, margin=0.15)),
    }


def time_once(loss: Loss, logits: Tensor, device: str) -> float:
    """Compute a loss and its gradient.

    Args:
        loss: the loss.
        logits: N x V.
        device: ``cpu`` or ``cuda``.

    Returns:
        Seconds.
    """
    synchronise(device)
    begun = time.perf_counter()
    torch.autograd.grad(loss(logits), logits)
    synchronise(device)
    return time.perf_counter() - begun


def measure(losses: dict[str, Loss], logits: Tensor, options: argparse.Namespace) -> dict[str, list[float]]:
    """Time the losses in turns, so that a slow moment of the machine meets all of them.

    Args:
        losses: by name.
        logits: N x V.
        options: of the command line.

    Returns:
        Seconds of each loss, one value a repetition.
    """
    warm = sum(time_once(loss, logits, options.device) for loss in losses.values())
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for repetition in range(options.repetitions):
        say(f"repetition {repetition + 1} of {options.repetitions}, about {warm:.1f} s")
        for name, loss in losses.items():
            seconds[name].append(time_once(loss, logits, options.device))
    return seconds


def table(seconds: dict[str, list[float]]) -> str:
    """Lay the figures out as a Markdown table.

    Args:
        seconds: of each loss; the reference among them.

    Returns:
        Median milliseconds, half the distance between the slowest and the fastest run as a share of them, and the
        ratio of the medians.
    """
    reference = statistics.median(seconds[REFERENCE])
    lines = ["| loss | ms, forward and backward | ratio |", "| --- | ---: | ---: |"]
    for name, values in seconds.items():
        median = statistics.median(values)
        spread = (max(values) - min(values)) / 2 / median
        lines.append(f"| {name} | {1000 * median:.1f} ±{100 * spread:.0f}% | {median / reference:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(options.threads)
    sample = make_sample(options)
    seconds = measure(make_losses(sample), sample.logits, options)
    about = ", ".join(f"{name} {value}" for name, value in describe_machine(options.device, VERSIONS).items())
    lengths = "random lengths" if options.random_lengths else "full length"
    size = f"{options.sentences} sentences of {options.tokens} tokens ({lengths}: {len(sample.logits)} positions)"
    print(f"{about}; {size}, {options.vocabulary} words, float32; {options.repetitions} repetitions in turns.\n")
    print(table(seconds))


if __name__ == "__main__":
    main()
