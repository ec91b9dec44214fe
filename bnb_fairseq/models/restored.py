"""The checkpoint that a training goes on from, found as fairseq finds it."""

from pathlib import Path
from typing import Any, Protocol

from ..checkpoints.reader import read_checkpoint

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
        What ``state_dict`` of the task returned.

    Raises:
        ValueError: if the file is no checkpoint, is damaged, or says something that fairseq must not see.
    """
    found = read_checkpoint(path).get("task_state")
    return found if isinstance(found, dict) else {}
