"""Checkpoint files as fairseq-train writes them, of a model that no training has made."""

from pathlib import Path
from typing import Any

import torch
from fairseq.tasks import FairseqTask
from omegaconf import DictConfig, OmegaConf
from torch import nn


def save_checkpoint(path: Path, cfg: DictConfig, task: FairseqTask, model: nn.Module, /, **changes: Any) -> Path:
    """Write a checkpoint before the first update; ``changes`` take the place of its entries."""
    state = {
        "cfg": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "model": model.state_dict(),
        "optimizer_history": [{"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 0}],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "task_state": task.state_dict(),
        **changes,
    }
    torch.save(state, path)
    return path
