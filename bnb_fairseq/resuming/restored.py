"""The checkpoint that a training goes on from, found as fairseq finds it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from ..checkpoints.archive import check_archive
from ..checkpoints.files import REFUSED_CLASS, UNREADABLE, why_not_read
from ..checkpoints.reader import read_checkpoint

LAST = "checkpoint_last.pt"
ZIP_START = b"PK\x03\x04"  # of every file that torch.save has written since torch 1.6


class RestoringOptions(Protocol):
    """fairseq's options that say which checkpoint a training goes on from."""

    save_dir: str
    restore_file: str
    finetune_from_model: str | None
    checkpoint_suffix: str


class Progress(NamedTuple):
    """How far a training was when it wrote a checkpoint; of two, the later one is the greater.

    Attributes:
        updates: updates made.
        epoch: the epoch that comes next, or that it was in.
        batches: batches of that epoch that were read.
        hours: hours trained so far.
        value: of the validation that came with it; None without one.
        best: the best such value so far.
        has_optimizer: whether the optimizer's state is in it, without which fairseq counts updates from 0.
    """

    updates: int
    epoch: int
    batches: int
    hours: float
    value: float | None
    best: float | None
    has_optimizer: bool

    def __str__(self) -> str:
        return f"epoch {self.epoch}, {self.updates:,} updates"

    @property
    def is_best(self) -> bool:
        """Whether its validation was the best so far."""
        return self.value is not None and self.value == self.best


def with_suffix(name: str, cfg: RestoringOptions) -> str:
    """Add ``--checkpoint-suffix`` to the name of a checkpoint."""
    return name.replace(".pt", f"{cfg.checkpoint_suffix}.pt") if cfg.checkpoint_suffix else name


def checkpoint_to_restore(cfg: RestoringOptions) -> Path | None:
    """Find the checkpoint that a training goes on from.

    Args:
        cfg: fairseq's options.

    Returns:
        The checkpoint; None if the training begins anew.
    """
    path = Path(with_suffix(cfg.restore_file, cfg))
    if cfg.restore_file == LAST:
        path = Path(cfg.save_dir, path)
        if not path.is_file() and cfg.finetune_from_model is not None:
            path = Path(cfg.finetune_from_model)
    return path if path.is_file() else None


def read_task_state(path: Path) -> dict[str, Any]:
    """Read what a task wrote into a checkpoint, without reading its tensors.

    Args:
        path: the checkpoint.

    Returns:
        What ``state_dict`` of the task returned.

    Raises:
        ValueError: if the file is no checkpoint, is damaged, or says something that fairseq must not see.
    """
    found = read_checkpoint(path).get("task_state")
    return found if isinstance(found, dict) else {}


def read_task_extras(path: Path, task: str) -> dict[str, Any]:
    """Read what ``get_checkpoint_dict`` of a task, named by its class, wrote; empty in checkpoints without it."""
    extra = _read(path).get("extra_state")
    found = extra.get(task) if isinstance(extra, dict) else None
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE:
        return {}
    return state if isinstance(state, dict) else {}


def read_progress(path: Path) -> Progress | None:
    """Read how far the training of a checkpoint was, without reading its tensors.

    Args:
        path: the checkpoint.

    Returns:
        The progress; None for a file that fairseq's trainer did not write, or that cannot be read.
    """
    state = _read(path)
    try:
        extra, last = state["extra_state"], state["optimizer_history"][-1]
        place, value, best = extra["train_iterator"], extra.get("val_loss"), extra.get("best")
        return Progress(
            int(last["num_updates"]),
            int(place["epoch"]),
            int(place.get("iterations_in_epoch", 0)),
            float(extra.get("previous_training_time", 0)) / 3600,
            None if value is None else float(value),
            None if best is None else float(best),
            state.get("last_optimizer_state") is not None,
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def find_damage(path: Path, contents: bool = True) -> str | None:
    """Tell whether a checkpoint was not written to its end, or changed since.

    Args:
        path: an existing file.
        contents: False: do not read all of it, a file that ends too early is found all the same.

    Returns:
        The end of a sentence that begins with the file; None if it is whole, or torch refuses what it names.
    """
    with path.open("rb") as file:
        start = file.read(len(ZIP_START))
    if start == ZIP_START:
        try:
            check_archive(path, contents)
        except ValueError as error:
            return str(error)
        return None
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        return None if REFUSED_CLASS.search(str(error)) else why_not_read(error)
    return None
