"""The checkpoint that a training resumes from, found as fairseq finds it."""

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
    """fairseq's options for the checkpoint that a training resumes from."""

    save_dir: str
    restore_file: str
    finetune_from_model: str | None
    checkpoint_suffix: str


class Progress(NamedTuple):
    """Progress of a training when it wrote a checkpoint; the later of two is the greater.

    Attributes:
        updates: updates made.
        epoch: the current or next epoch.
        batches: batches of that epoch already read.
        hours: hours trained so far.
        value: of the validation at that time; None without one.
        best: the best such value so far.
        has_optimizer: whether it holds the optimizer's state, without which fairseq counts updates from 0.
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
    """Name of a checkpoint with ``--checkpoint-suffix``."""
    return name.replace(".pt", f"{cfg.checkpoint_suffix}.pt") if cfg.checkpoint_suffix else name


def checkpoint_to_restore(cfg: RestoringOptions) -> Path | None:
    """The checkpoint that a training resumes from; None: it starts anew."""
    path = Path(with_suffix(cfg.restore_file, cfg))
    if cfg.restore_file == LAST:
        path = Path(cfg.save_dir, path)
        if not path.is_file() and cfg.finetune_from_model is not None:
            path = Path(cfg.finetune_from_model)
    return path if path.is_file() else None


def read_task_state(path: Path) -> dict[str, Any]:
    """The ``state_dict`` of a checkpoint's task, read without its tensors.

    Raises ValueError if the file is no checkpoint, is damaged, or holds classes that must not be loaded.
    """
    found = read_checkpoint(path).get("task_state")
    return found if isinstance(found, dict) else {}


def read_task_extras(path: Path, task: str) -> dict[str, Any]:
    """The ``get_checkpoint_dict`` of a task, named by its class; empty in checkpoints without it."""
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
    """Progress of a checkpoint, read without its tensors; None for a file that fairseq's trainer did not write."""
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
    """Damage of an existing checkpoint, worded to follow its name; None if it is whole, or names refused classes.

    ``contents`` False checks only that the file was written to its end.
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
