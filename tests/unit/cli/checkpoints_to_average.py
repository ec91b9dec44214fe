"""Hand-made checkpoints of fairseq, to be averaged."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Average = Callable[..., dict[str, Any]]
DICTIONARIES = {side: {"size": 90, "sha256": side * 9} for side in ("source", "target")}


def save(path: Path, model: dict[str, Any], updates: int = 1, score: float | None = None, **changes: object) -> Path:
    """Write a checkpoint with fairseq's entries; ``changes`` replace or add entries, ``None`` takes one away."""
    state = {
        "args": None,
        "cfg": {"checkpoint": {"best_checkpoint_metric": "bleu", "maximize_best_checkpoint_metric": True}, "model": {}},
        "model": model,
        "criterion": None,
        "optimizer_history": [{"num_updates": updates, "optimizer_name": "FairseqAdam"}],
        "task_state": {"dictionaries": DICTIONARIES},
        "extra_state": {"train_iterator": {"epoch": 1}, "val_loss": score, "best": 99.0, "ema": model},
        "last_optimizer_state": {"state": torch.zeros(3)},
        **changes,
    }
    torch.save({name: value for name, value in state.items() if value is not None or name not in changes}, path)
    return path


def configured(metric: str = "bleu", maximize: bool = True, **model: object) -> dict[str, Any]:
    checkpoint = {"best_checkpoint_metric": metric, "maximize_best_checkpoint_metric": maximize}
    return {"checkpoint": checkpoint, "model": {"_name": "bnb_transformer", **model}}


def tensor(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def save_all(folder: Path, models: Sequence[Tensors]) -> list[Path]:
    return [save(folder / f"{i}.pt", model, updates=i) for i, model in enumerate(models)]
