"""Timing systems in turns."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

SHORT = 0.5  # seconds; a shorter call is preceded by one that is not counted, after other systems held the caches,
REPEATED = 3  # and is repeated; the median counts
PAUSE = 0.25  # seconds between systems; idle threads of some libraries spin for a fifth of a second


class Job(NamedTuple):
    """Work of one system: translating a number of sentences; ``call`` returns once the output is there."""

    sentences: int
    call: Callable[[], Any]


class Timing(NamedTuple):
    """Seconds that a system took for its sentences, one value a run, and the output of its first call."""

    sentences: int
    seconds: list[float]
    outcome: Any

    def median(self) -> float:
        """Return the median of the runs, in seconds."""
        return statistics.median(self.seconds)

    def spread(self) -> float:
        """Return half the distance between the slowest and the fastest run, as a share of the median."""
        return spread(self.seconds)

    def speed(self) -> float:
        """Return the sentences per second of the median run."""
        return self.sentences / self.median()


def spread(values: Sequence[float]) -> float:
    """Return half the distance between the smallest and the largest value, as a share of the median."""
    return (max(values) - min(values)) / 2 / statistics.median(values)


def synchronise(device: str) -> None:
    """Wait until the device has done all its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(call: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Make a call on ``cpu`` or ``cuda``; return its seconds and what it returns."""
    synchronise(device)
    begun = time.perf_counter()
    outcome = call()
    synchronise(device)
    return time.perf_counter() - begun, outcome


def time_in_turns(jobs: Sequence[Job], device: str, runs: int, say: Callable[[str], None]) -> list[Timing]:
    """Time systems in turns, so that a slow moment of the machine meets all of them.

    Args:
        jobs: one for each system.
        device: ``cpu`` or ``cuda``.
        runs: counted calls of each.
        say: receives a line of progress for each run.

    Returns:
        One timing for each job.
    """
    warm = [timed(job.call, device) for job in jobs]
    timings = [Timing(job.sentences, [], outcome) for job, (_, outcome) in zip(jobs, warm, strict=True)]
    for run in range(runs):
        say(f"run {run + 1} of {runs}, about {sum(seconds for seconds, _ in warm):.0f} s")
        for job, (first, _), timing in zip(jobs, warm, timings, strict=True):
            time.sleep(PAUSE)
            short = first < SHORT
            if short:
                timed(job.call, device)
            seconds = [timed(job.call, device)[0] for _ in range(REPEATED if short else 1)]
            timing.seconds.append(statistics.median(seconds))
    return timings
