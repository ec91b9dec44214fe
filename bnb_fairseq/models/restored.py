"""The checkpoint that a training goes on from, found as fairseq finds it."""

from pathlib import Path
from typing import Any, Protocol

import torch

from .bert_checkpoint import UNREADABLE

LAST = "checkpoint_last.pt"


class RestoringOptions(Protocol):
    """fairseq's options that say which checkpoint a training goes on from."""

    save_dir: str
    restore_file: str
    finetune_from_model: str | None


def checkpoint_to_restore(cfg: RestoringOptions) -> Path | None:
    """Find the checkpoint that a training goes on from.

    Args:
        cfg: fairseq's options.

    Returns:
        The checkpoint; None if the training begins anew.
    """
    path = Path(cfg.restore_file)
    if cfg.restore_file == LAST:
        path = Path(cfg.save_dir, LAST)
        if not path.is_file() and cfg.finetune_from_model is not None:
            path = Path(cfg.finetune_from_model)
    return path if path.is_file() else None


def read_task_state(path: Path) -> dict[str, Any]:
    """Read what a task wrote into a checkpoint, without reading its tensors.

    Args:
        path: the checkpoint.

    Returns:
        What ``state_dict`` of the task returned; empty for a file that cannot be read, of which fairseq complains.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE:
        return {}
    found = state.get("task_state") if isinstance(state, dict) else None
    return found if isinstance(found, dict) else {}
