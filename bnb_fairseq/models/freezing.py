"""Parts of a model that are not trained: ``--freeze``."""

import logging
from collections.abc import Sequence

from torch import nn

logger = logging.getLogger(__name__)

PARTS = {  # name on the command line -> prefix of its parameters' names
    "encoder-embeddings": "encoder.embeddings.",
    "decoder-embeddings": "decoder.embeddings.",
    "encoder": "encoder.",
    "head": "decoder.head.",
}


def split_parts(text: str) -> list[str]:
    """Names of parts in ``--freeze``: split at commas, surrounding spaces dropped."""
    return [part.strip() for part in text.split(",")]


def freeze(model: nn.Module, parts: str | None) -> None:
    """Exclude parts of a model from training: keys of ``PARTS``, separated by commas; None: train everything."""
    starts = () if parts is None else tuple(PARTS[part] for part in split_parts(parts))
    for name, parameter in model.named_parameters():
        if name.startswith(starts):
            parameter.requires_grad = False


def check_frozen(module: nn.Module, side: str, started: Sequence[str], fresh_rows: int) -> None:
    """Refuse frozen parameters that start random, and log the number of frozen ones.

    Args:
        module: ``BertEncoder`` or a ``BertDecoder``.
        side: ``encoder`` or ``decoder``.
        started: names of the parameters that start from a BERT.
        fresh_rows: number of symbols outside the BERT's vocabulary, whose embeddings start random.

    Raises:
        ValueError: listing the frozen parameters that start random.
    """
    frozen = {name: parameter for name, parameter in module.named_parameters() if not parameter.requires_grad}
    if random := [f"{side}.{name}" for name in frozen if name not in started]:
        raise ValueError(
            f"--freeze must not name parameters that start random, but the BERT of the {side} lacks {', '.join(random)}"
        )
    if frozen:
        count = sum(parameter.numel() for parameter in frozen.values())
        logger.info(f"{side}: {count:,} parameters in {len(frozen)} tensors are frozen")
    if fresh_rows and "embeddings.tokens.weight" in frozen:
        logger.warning(
            f"{side}: the frozen embeddings of {fresh_rows:,} symbols start random: the BERT has no row for them"
        )
