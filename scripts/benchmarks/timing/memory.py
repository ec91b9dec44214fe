"""How much memory translating takes, and the largest batch that fits."""

import ctypes
import gc
from functools import partial
from pathlib import Path

import torch

from bnb_fairseq.evaluation.clock import Job

from .systems import System
from .workload import make_sample

FIRST_LARGEST = 64


def job(system: System, batch: int, tokens: int) -> Job:
    """Make the work of translating a batch.

    Args:
        system: the system.
        batch: sentences.
        tokens: tokens of a source.

    Returns:
        The work; the batch lies on the CPU.
    """
    return Job(batch, partial(system.translate, make_sample(system.dictionary, batch, tokens)))


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
                job(system, batch, tokens).call()
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
        job(system, batch, tokens).call()
        return torch.cuda.max_memory_allocated() / 1e6
    ctypes.CDLL(None).malloc_trim(0)  # what building the system has left behind
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # restarts the peak
    job(system, batch, tokens).call()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
