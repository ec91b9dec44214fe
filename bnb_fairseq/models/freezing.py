"""Parts of a model that are not trained: ``--freeze``."""

import logging
from collections.abc import Sequence

from torch import nn

logger = logging.getLogger(__name__)

PARTS = {  # name on the command line -> where its parameters' names begin
    "encoder-embeddings": "encoder.embeddings.",
    "decoder-embeddings": "decoder.embeddings.",
    "encoder": "encoder.",
    "head": "decoder.head.",
}


def split_parts(text: str) -> list[str]:
    """Split ``--freeze`` into names of parts: at commas, spaces around them left out."""
    return [part.strip() for part in text.split(",")]


def freeze(model: nn.Module, parts: str | None) -> None:
    """Exclude parts of a model from training; fairseq gives its optimizers what is left.

    Args:
        model: ``BnbTransformer`` or ``Bert2Bert``.
        parts: keys of ``PARTS``, separated by commas; None: everything is trained.
    """
    starts = () if parts is None else tuple(PARTS[part] for part in split_parts(parts))
    for name, parameter in model.named_parameters():
        if name.startswith(starts):
            parameter.requires_grad = False


def check_frozen(module: nn.Module, side: str, started: Sequence[str], fresh_rows: int) -> None:
    """See that what is frozen is a BERT's, and log how much it is.

    Args:
        module: ``BertEncoder`` or a ``BertDecoder``, its parameters frozen or not.
        side: ``encoder`` or ``decoder``.
        started: names of the parameters that start from a BERT.
        fresh_rows: symbols that are not in the BERT's vocabulary, so that their embeddings are random.

    Raises:
        ValueError: listing the frozen parameters that start random.
    """
    frozen = {name: parameter for name, parameter in module.named_parameters() if not parameter.requires_grad}
    if random := [f"{side}.{name}" for name in frozen if name not in started]:
        raise ValueError(
            f"--freeze must leave what starts random, but the BERT of the {side} lacks {', '.join(random)}"
        )
    if frozen:
        count = sum(parameter.numel() for parameter in frozen.values())
        logger.info(f"{side}: {count:,} parameters in {len(frozen)} tensors are frozen")
    if fresh_rows and "embeddings.tokens.weight" in frozen:
        logger.warning(
            f"{side}: the frozen embeddings of {fresh_rows:,} symbols are random, no row of the BERT matches"
        )
