"""Checkpoints of models that fill a canvas."""

from pathlib import Path
from typing import Any

from ..checkpoints.reader import load_models
from ..models.bnb_transformer import BnbTransformer


def load_non_autoregressive(path: Path, data: Path) -> tuple[BnbTransformer, Any]:
    """Load the checkpoint of ``--path`` with the dictionaries of a data-bin folder; return model and task.

    Raises a ValueError if the file is no checkpoint of a non-autoregressive model.
    """
    try:
        models, task = load_models([path], {"data": str(data)})
    except ValueError as error:
        raise ValueError(f"--path {path}: {str(error).removeprefix(f'{path}: ')}") from error
    model = models[0]
    if not isinstance(model, BnbTransformer):
        raise ValueError(
            f"--path must be a checkpoint of the non-autoregressive bnb_transformer, but {path} holds a "
            f"{type(model).__name__}, which has no canvas"
        )
    return model, task
