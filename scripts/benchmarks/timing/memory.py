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
    """Return the job of translating a batch of sentences of so many tokens, which is on the CPU."""
    return Job(batch, partial(system.translate, make_sample(system.dictionary, batch, tokens)))


def largest_batch(system: System, tokens: int, device: str, limit: int) -> int:
    """Double the batch until a GPU's memory is full or the limit is reached; return the largest that fitted."""
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
