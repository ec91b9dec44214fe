"""Compare the time that the losses take, forward and backward, on the same logits.

The token losses as the criterion computes them, label smoothing included, and torch's cross-entropy, the measure of
all, are run in turns. So is what a training step under CTC computes on a canvas of which the decoder is shown nothing:
the loss, which is the measure there, torch's cross-entropy on the same logits, and the most probable alignment of the
target, which glancing reveals a part of. Prints a table of each.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from machine import describe_machine
from speed.clock import synchronise
from speed.loss_samples import BLANK, CanvasSample, Sample, make_canvas_sample, make_sample
from torch import Tensor

from bnb_fairseq.criterions.canvas_loss import CanvasLoss
from bnb_fairseq.criterions.token_loss import TokenLoss
from bnb_fairseq.losses.ctc import words_to_score
from bnb_fairseq.losses.ctc_alignment import best_alignment
from bnb_fairseq.losses.packing import Packing
from bnb_fairseq.modules.canvas import Revealed

REFERENCE = "cross-entropy (torch)"
CTC = "CTC loss, forward and backward"
SMOOTHING = 0.1
VERSIONS = ("torch", "scipy", "numpy")

Loss = Callable[[Tensor], Tensor]
Step = Callable[[], object]


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
    parser.add_argument("--tokens", type=int, default=64, help="of the longest target; of its source, too, under CTC")
    parser.add_argument("--ctc-upsample", type=float, default=2.0, help="canvas positions per token, under CTC")
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
    if not 1 <= options.ctc_upsample < float("inf"):
        parser.error(f"--ctc-upsample must be at least 1 and finite, but is {options.ctc_upsample}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, but torch sees none")
    return options


def say(text: str) -> None:
    """Show progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


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


def make_canvas_steps(sample: CanvasSample) -> dict[str, Step]:
    """List what a training step under CTC consists of, but for the network.

    Args:
        sample: the data.

    Returns:
        Functions by name.
    """
    targets, lengths, canvas_lengths = sample.targets, sample.target_lengths, sample.canvas_lengths
    anything = torch.arange(len(sample.predicted), device=targets.device) % sample.predicted.size(1)

    def cross_entropy(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, anything, reduction="sum")

    def ctc(logits: Tensor) -> Tensor:
        revealed, packing = Revealed(None, sample.positions), Packing(sample.positions)
        loss = CanvasLoss(targets, lengths, canvas_lengths, revealed, packing, BLANK, SMOOTHING)
        return loss(logits)[0].sum()

    def align() -> Tensor:
        words = words_to_score(targets, BLANK)
        scores = sample.guessed.gather(2, words.expand(len(sample.guessed), -1, -1)).float()
        return words.gather(1, best_alignment(scores, targets, canvas_lengths, lengths))

    return {
        f"{REFERENCE}, forward and backward": with_gradient(cross_entropy, sample.predicted),
        CTC: with_gradient(ctc, sample.predicted),
        "Viterbi alignment, forward only": align,
    }


def with_gradient(loss: Loss, logits: Tensor) -> Step:
    """Make a step of a loss.

    Args:
        loss: the loss.
        logits: N x V.

    Returns:
        What computes the gradient over the logits, and returns it.
    """
    return lambda: torch.autograd.grad(loss(logits), logits)


def time_once(step: Step, device: str) -> float:
    """Run a step, and forget what it returns.

    Args:
        step: the step.
        device: ``cpu`` or ``cuda``.

    Returns:
        Seconds.
    """
    synchronise(device)
    begun = time.perf_counter()
    step()
    synchronise(device)
    return time.perf_counter() - begun


def measure(steps: dict[str, Step], options: argparse.Namespace) -> dict[str, list[float]]:
    """Time steps in turns, so that a slow moment of the machine meets all of them.

    Args:
        steps: by name.
        options: of the command line.

    Returns:
        Seconds of each step, one value a repetition.
    """
    warm = sum(time_once(step, options.device) for step in steps.values())
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(options.repetitions):
        say(f"repetition {repetition + 1} of {options.repetitions}, about {warm:.1f} s")
        for name, step in steps.items():
            seconds[name].append(time_once(step, options.device))
    return seconds


def table(
    seconds: dict[str, list[float]], reference: str = REFERENCE, head: str = "loss | ms, forward and backward"
) -> str:
    """Lay the figures out as a Markdown table.

    Args:
        seconds: of each loss or step; the reference among them.
        reference: name of what ratios are to.
        head: of the first two columns.

    Returns:
        Median milliseconds, half the distance between the slowest and the fastest run as a share of them, and the
        ratio of the medians.
    """
    base = statistics.median(seconds[reference])
    lines = [f"| {head} | ratio |", "| --- | ---: | ---: |"]
    for name, values in seconds.items():
        median = statistics.median(values)
        spread = (max(values) - min(values)) / 2 / median
        lines.append(f"| {name} | {1000 * median:.1f} ±{100 * spread:.0f}% | {median / base:.2f} |")
    return "\n".join(lines)


def compare_losses(options: argparse.Namespace) -> None:
    """Measure the token losses and print."""
    sample = make_sample(options)
    steps = {name: with_gradient(loss, sample.logits) for name, loss in make_losses(sample).items()}
    seconds = measure(steps, options)
    about = ", ".join(f"{name} {value}" for name, value in describe_machine(options.device, VERSIONS).items())
    lengths = "random lengths" if options.random_lengths else "full length"
    size = f"{options.sentences} sentences of {options.tokens} tokens ({lengths}: {len(sample.logits)} positions)"
    print(f"{about}; {size}, {options.vocabulary} words, float32; {options.repetitions} repetitions in turns.\n")
    print(table(seconds))


def compare_canvas_steps(options: argparse.Namespace) -> None:
    """Measure what a training step under CTC consists of and print."""
    sample = make_canvas_sample(options)
    seconds = measure(make_canvas_steps(sample), options)
    canvas, positions = len(sample.guessed), len(sample.predicted)
    print(f"\nUnder CTC the same targets, on canvases of up to {canvas} positions ({positions} in all).\n")
    print(table(seconds, CTC, "of a training step | ms"))


def main() -> None:
    """Measure and print, one set of logits after the other."""
    options = parse()
    torch.set_num_threads(options.threads)
    compare_losses(options)
    compare_canvas_steps(options)


if __name__ == "__main__":
    main()
