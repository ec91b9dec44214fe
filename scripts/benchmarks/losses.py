"""Measure time and memory of the losses, from the decoder's states through the output layer and back.

Each loss runs beside one that computes all logits at once with torch's own functions: log_softmax and ctc_loss, or
cross_entropy. Prints a table: milliseconds forward and backward, peak memory above what the states, the output layer
and the targets take, and how far gradients are from those of torch's loss.
"""

import argparse
import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bnb_fairseq.criterions.canvas_loss import CanvasLoss
from bnb_fairseq.criterions.token_loss import TokenLoss
from bnb_fairseq.evaluation.clock import synchronise
from bnb_fairseq.evaluation.machine import describe_machine
from bnb_fairseq.losses.packing import Packing
from bnb_fairseq.modules.canvas import Revealed
from bnb_fairseq.modules.lazy_logits import LazyLogits

BLANK, SMOOTHING = 0, 0.1
TORCHS = {"CTC": "CTC (torch)", "cross-entropy": "cross-entropy (torch)"}
VERSIONS = ("torch", "scipy", "numpy")
HEAD = "| loss | ms | ratio to torch's | MB, forward | MB, forward and backward | difference of gradients |"

Loss = Callable[[LazyLogits], Tensor]


class Batch(NamedTuple):
    """Logits and targets of the losses.

    Attributes:
        logits: of B A positions; states, weight and bias take gradients.
        targets: B x A ids, for a canvas of the target's length.
        half: B x A/2 ids, for CTC.
        sentences: B.
    """

    logits: LazyLogits
    targets: Tensor
    half: Tensor
    sentences: int


class Measured(NamedTuple):
    """Figures of a loss: seconds; bytes above what was there; and the gradients of states, weight and bias."""

    seconds: float
    forward: int
    both: int
    gradients: tuple[Tensor, ...]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; None: the process's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=["cpu", "cuda"], default=default, help=f"default here: {default}")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="of states and output layer"
    )
    parser.add_argument("--sentences", type=int, default=32, help="in the batch (default: 32)")
    parser.add_argument("--positions", type=int, default=100, help="canvas positions of a sentence (default: 100)")
    parser.add_argument("--vocabulary", type=int, default=30_000, help="words, blank included (default: 30,000)")
    parser.add_argument("--width", type=int, default=768, help="of the decoder's states (default: 768)")
    parser.add_argument("--repetitions", type=int, default=5, help="counted runs of each loss; one more goes ahead")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--seed", type=int, default=1, help="of states, output layer and targets")
    options = parser.parse_args(arguments)
    for name, least in (("sentences", 1), ("positions", 2), ("width", 1), ("repetitions", 1), ("threads", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}, but is {getattr(options, name)}")
    if options.vocabulary < 2:
        parser.error(f"--vocabulary must be at least 2, but is {options.vocabulary}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, but torch sees none")
    return options


def make_batch(options: argparse.Namespace) -> Batch:
    """Draw states, an output layer and targets on the device."""
    generator = torch.Generator().manual_seed(options.seed)
    rows = options.sentences * options.positions
    states = torch.randn(rows, options.width, generator=generator)
    weight = torch.randn(options.vocabulary, options.width, generator=generator) / options.width**0.5
    parts = (states, weight, torch.zeros(options.vocabulary))
    dtype = getattr(torch, options.dtype)
    logits = LazyLogits(*(part.to(options.device, dtype).requires_grad_() for part in parts))
    shape = (options.sentences, options.positions)
    targets = torch.randint(BLANK + 1, options.vocabulary, shape, generator=generator).to(options.device)
    return Batch(logits, targets, targets[:, : options.positions // 2].contiguous(), options.sentences)


def make_losses(batch: Batch) -> dict[str, Loss]:
    """Return the compared losses by name: functions from logits to the sum over the batch."""
    device, (count, positions) = batch.targets.device, batch.targets.shape
    everywhere = torch.ones_like(batch.targets, dtype=torch.bool)
    lengths, half = (torch.full((count,), size, device=device) for size in (positions, batch.half.size(1)))
    packing = Packing(everywhere)

    def torchs_ctc(logits: LazyLogits) -> Tensor:
        log_probs = F.log_softmax(logits.whole(), dim=1, dtype=torch.float32).view(count, positions, -1)
        nll = F.ctc_loss(log_probs.transpose(0, 1), batch.half, lengths, half, reduction="sum")
        uniform = -torch.log(torch.tensor(log_probs.size(2))) - log_probs.mean()
        return (1 - SMOOTHING) * nll + SMOOTHING * uniform * batch.half.numel()

    def ctc(logits: LazyLogits) -> Tensor:
        revealed = Revealed(None, everywhere)
        return CanvasLoss(batch.half, half, lengths, revealed, packing, BLANK, SMOOTHING)(logits)[0].sum()

    def torchs_cross_entropy(logits: LazyLogits) -> Tensor:
        flat = batch.targets.flatten()
        return F.cross_entropy(logits.whole().float(), flat, reduction="sum", label_smoothing=SMOOTHING)

    def criterions(loss: TokenLoss) -> Loss:
        return lambda logits: loss(logits, packing, batch.targets, 0)[0].sum()

    return {
        TORCHS["CTC"]: torchs_ctc,
        "CTC": ctc,
        TORCHS["cross-entropy"]: torchs_cross_entropy,
        "cross-entropy": criterions(TokenLoss("ce", SMOOTHING, BLANK)),
        "AXE": criterions(TokenLoss("axe", SMOOTHING, BLANK)),
        "OAXE": criterions(TokenLoss("oaxe", SMOOTHING, BLANK, margin=0.15)),
    }


class Memory:
    """Peak memory of a device above what was in use at the start.

    Args:
        device: ``cpu`` or ``cuda``; of the former the whole process is measured, on Linux.
    """

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        gc.collect()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # lets the peak begin anew
        self._start = self._now()

    def _now(self) -> int:
        return torch.cuda.memory_allocated() if self._cuda else _kilobytes("VmRSS") * 1024

    def peak(self) -> int:
        """Return the largest number of bytes in use since then, above the start's."""
        highest = torch.cuda.max_memory_allocated() if self._cuda else _kilobytes("VmHWM") * 1024
        return max(0, highest - self._start)


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def run(loss: Loss, logits: LazyLogits, device: str) -> Measured:
    """Compute a loss and its gradients once, on ``cpu`` or ``cuda``."""
    memory = Memory(device)
    synchronise(device)
    begun = time.perf_counter()
    value = loss(logits)
    forward = memory.peak()
    gradients = torch.autograd.grad(value, [part for part in logits if part is not None])
    synchronise(device)
    return Measured(time.perf_counter() - begun, forward, memory.peak(), gradients)


def measure(losses: dict[str, Loss], batch: Batch, options: argparse.Namespace) -> list[str]:
    """Measure losses in turns, so that a slow moment of the machine meets all of them.

    Args:
        losses: by name.
        batch: the data.
        options: of the command line.

    Returns:
        The rows of the table.
    """
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    rest: dict[str, tuple[str, ...]] = {}
    for repetition in range(options.repetitions + 1):
        print(f"{time.strftime('%H:%M:%S')}  round {repetition} of {options.repetitions}", file=sys.stderr, flush=True)
        exact: tuple[Tensor, ...] = ()
        for name, loss in losses.items():
            measured = run(loss, batch.logits, options.device)
            if repetition:
                seconds[name].append(measured.seconds)
            if name in TORCHS.values():
                exact, difference = measured.gradients, "0"
            else:
                difference = f"{largest_difference(measured.gradients, exact):.0e}" if name in TORCHS else "-"
            memory = (f"{size / 1e6:,.0f}" for size in (measured.forward, measured.both))
            rest[name] = (*memory, difference)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    kinds = {name: TORCHS.get(name, name if name in TORCHS.values() else TORCHS["cross-entropy"]) for name in losses}
    rows = []
    for name, median in medians.items():
        spread = (max(seconds[name]) - min(seconds[name])) / 2 / median
        ratio = f"{median / medians[kinds[name]]:.2f}"
        rows.append("| " + " | ".join((name, f"{1000 * median:,.0f} ±{100 * spread:.0f}%", ratio, *rest[name])) + " |")
    return rows


def largest_difference(found: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """Compare gradients.

    Args:
        found: of some parameters.
        exact: of the same.

    Returns:
        The largest difference as a share of the parameter's largest gradient.
    """
    pairs = zip(found, exact, strict=True)
    return max(float((one.float() - other.float()).abs().max() / other.float().abs().max()) for one, other in pairs)


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(options.threads)
    batch = make_batch(options)
    rows = measure(make_losses(batch), batch, options)
    about = ", ".join(f"{name} {value}" for name, value in describe_machine(options.device, VERSIONS).items())
    size = f"{options.sentences} sentences of {options.positions} canvas positions, {options.vocabulary:,} words"
    print(f"{about}; {size}, width {options.width}, {options.dtype}; {options.repetitions} repetitions in turns.\n")
    print("\n".join([HEAD, "| --- | ---: | ---: | ---: | ---: | ---: |", *rows]))


if __name__ == "__main__":
    main()
