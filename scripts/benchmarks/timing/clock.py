"""Timing systems in turns."""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from .systems import Outcome, System
from .workload import make_sample

SHORT = 0.5  # seconds; a shorter call is preceded by one that is not counted, after other systems held the caches,
REPEATED = 3  # and is repeated; the median counts
PAUSE = 0.25  # seconds between systems; idle threads of some libraries spin for a fifth of a second
FIRST_LARGEST = 64


class Timing(NamedTuple):
    """Seconds that a system took for a batch.

    Attributes:
        batch: sentences.
        seconds: one value a run.
        outcome: what came out.
    """

    batch: int
    seconds: list[float]
    outcome: Outcome

    def median(self) -> float:
        """Return the median of the runs, in seconds."""
        return statistics.median(self.seconds)

    def spread(self) -> float:
        """Return half the distance between the slowest and the fastest run, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median()


def synchronise(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def call(system: System, batch: int, tokens: int, device: str) -> tuple[float, Outcome]:
    """Translate a batch once.

    Args:
        system: the system.
        batch: sentences.
        tokens: tokens of a source.
        device: ``cpu`` or ``cuda``.

    Returns:
        Seconds, and what came out.
    """
    sample = make_sample(system.dictionary, batch, tokens)
    synchronise(device)
    begun = time.perf_counter()
    outcome = system.translate(sample)
    synchronise(device)
    return time.perf_counter() - begun, outcome


def time_in_turns(
    systems: Sequence[System], batches: Sequence[int], tokens: int, device: str, runs: int, say: Callable[[str], None]
) -> list[Timing]:
    """Time systems in turns, so that a slow moment of the machine meets all of them.

    Args:
        systems: the systems.
        batches: for each of them, sentences in a batch.
        tokens: tokens of a source.
        device: ``cpu`` or ``cuda``.
        runs: counted calls of each.
        say: receives a line of progress for each run.

    Returns:
        One timing for each system.
    """
    jobs = list(zip(systems, batches, strict=True))
    warm = [call(system, batch, tokens, device) for system, batch in jobs]
    timings = [Timing(batch, [], outcome) for (_, batch), (_, outcome) in zip(jobs, warm, strict=True)]
    for run in range(runs):
        say(f"run {run + 1} of {runs}, about {sum(seconds for seconds, _ in warm):.0f} s")
        for i, (system, batch) in enumerate(jobs):
            time.sleep(PAUSE)
            short = warm[i][0] < SHORT
            if short:
                call(system, batch, tokens, device)
            seconds = [call(system, batch, tokens, device)[0] for _ in range(REPEATED if short else 1)]
            timings[i].seconds.append(statistics.median(seconds))
    return timings


def largest_batch(system: System, tokens: int, device: str, limit: int) -> int:
    """Double the batch until the device's memory is full or a limit is reached.

    Args:
        system: the system.
        tokens: tokens of a source.
        device: ``cpu`` or ``cuda``; on a CPU only the limit stops it.
        limit: largest number of sentences.

    Returns:
        The largest number of sentences that fitted.
    """
    fitted, batch = 0, min(FIRST_LARGEST, limit)
    while batch <= limit:
        if device == "cuda":
            try:
                call(system, batch, tokens, device)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
        fitted, batch = batch, batch * 2
    return fitted


def peak_memory(system: System, batch: int, tokens: int, device: str) -> float:
    """Measure the largest memory that the process holds while it translates, weights and libraries included.

    Args:
        system: the only system in this process.
        batch: sentences.
        tokens: tokens of a source.
        device: ``cuda``: memory of the device; ``cpu``: resident memory, from Linux's account of it.

    Returns:
        MB.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        call(system, batch, tokens, device)
        return torch.cuda.max_memory_allocated() / 1e6
    ctypes.CDLL(None).malloc_trim(0)  # what building the system has left behind
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # restarts the peak
    call(system, batch, tokens, device)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
