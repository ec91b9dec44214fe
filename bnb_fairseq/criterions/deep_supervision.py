"""Deep supervision (Huang et al. 2022): every decoder layer is to predict the output by itself.

The states of each layer but the last go through the model's output head and the loss of tokens; with what the layers
predict nothing is done. It is there for training alone: validation, which compares models, has the loss of the output.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fairseq.logging import metrics
from torch import Tensor

from .logged import Derived

PREFIX, SUFFIX = "layer", "_loss"
DERIVED = (Derived("layerN_loss", "bits per token", "loss of decoder layer N, in training with --deep-supervision"),)


def supervise(layers: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Combine the losses of a decoder's inner layers.

    Args:
        layers: the loss of each sentence, B, by layer; of one layer at least.

    Returns:
        The mean over the layers of the loss of each sentence, B; and the loss of each layer, summed, for the log.
    """
    losses = torch.stack([*layers])
    logs = {f"{PREFIX}{i}{SUFFIX}": loss for i, loss in enumerate(losses.detach().sum(dim=1), start=1)}
    return losses.mean(dim=0), logs


def log_layers(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log the loss of each inner layer, bits a token.

    Args:
        logging_outputs: of some batches or workers, with what ``supervise`` returned if it was called.
    """
    tokens = sum(float(log.get("sample_size", 0)) for log in logging_outputs)
    names = {name for log in logging_outputs for name in log if name.startswith(PREFIX) and name.endswith(SUFFIX)}
    for name in sorted(names, key=lambda name: int(name[len(PREFIX) : -len(SUFFIX)])):
        total = sum(float(log.get(name, 0)) for log in logging_outputs)
        metrics.log_scalar(name, total / max(tokens, 1) / math.log(2), tokens, round=3)
