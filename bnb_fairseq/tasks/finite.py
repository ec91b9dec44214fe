"""Losses, gradients and parameters that are NaN or infinite."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

SHOWN = 5  # items of a batch that a message names
REMEDY = "lower --lr, lengthen --warmup-updates or set --clip-norm; earlier checkpoints are unchanged"


def check_loss(loss: Tensor, sample: Mapping[str, Any], update: int) -> None:
    """Refuse a batch's loss that is NaN or infinite, before update number ``update``, counted from 1.

    Raises FloatingPointError, naming the update and the batch.
    """
    if not bool(torch.isfinite(loss).all()):
        raise FloatingPointError(f"update {update}: the loss is {float(loss)} for {_items(sample)}; {REMEDY}")


def gradient_error(sample: Mapping[str, Any], update: int) -> FloatingPointError:
    """The error for a gradient that is NaN or infinite although the loss is finite."""
    return FloatingPointError(
        f"update {update}: the loss is finite, but its gradient is not, for {_items(sample)}; {REMEDY}"
    )


def check_parameters(model: nn.Module, update: int | None = None) -> None:
    """Refuse a model from which no training can resume; ``update`` is the last one, for the message.

    Raises FloatingPointError, naming the first parameter that is NaN or infinite.
    """
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            when = "" if update is None else f" after update {update}"
            raise FloatingPointError(f"{name} is not finite{when}, so no checkpoint is written; {REMEDY}")


def _items(sample: Mapping[str, Any]) -> str:
    numbers = sample["id"].tolist() if "id" in sample else []
    shown = ", ".join(map(str, numbers[:SHOWN]))
    return f"the batch of {len(numbers)} items {shown}{', ...' if len(numbers) > SHOWN else ''}"
