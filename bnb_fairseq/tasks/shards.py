"""Shards of a part of the data, ``--num-shards`` and ``--shard-id``, which fairseq accepts but ignores."""

import logging
import sys
from pathlib import Path
from typing import Any

from ..data.whole_batches import WHOLE, Shard

GENERATE = ("fairseq-generate", "generate.py")
logger = logging.getLogger(__name__)


def read_shard(cfg: Any) -> Shard:
    """The shard that the options select; a ValueError if there is none such."""
    shard = _asked_for(cfg)
    if shard.total < 1:
        raise ValueError(f"--num-shards must be at least 1, but is {shard.total}")
    if not 0 <= shard.number < shard.total:
        raise ValueError(
            f"--shard-id must lie between 0 and {shard.total - 1} with --num-shards {shard.total}, but is "
            f"{shard.number}"
        )
    return shard


def refuse_shards(cfg: Any, why: str) -> None:
    """Raise a ValueError if the options select a shard where they have no effect; ``why`` is the reason."""
    shard = _asked_for(cfg)
    if shard != WHOLE:
        raise ValueError(
            f"--num-shards {shard.total} and --shard-id {shard.number} are for fairseq-generate and fairseq-validate: "
            f"{why}"
        )


def _asked_for(cfg: Any) -> Shard:
    """The shard that the options select; everything if no command set them."""
    return Shard(cfg.num_shards, cfg.shard_id) if isinstance(cfg.num_shards, int) else WHOLE


def handle_no_batches(name: str, items: int, shard: Shard) -> None:
    """End a command that has no batch of the part ``name`` with ``items`` items.

    Raises SystemExit, with status 0, under ``fairseq-generate``, which would divide by its running time. Raises
    ValueError under every other command.
    """
    if items == 0:
        message = f"{name} is empty"
    elif shard != WHOLE:
        message = f"{name}: there is no batch for --shard-id {shard.number} of --num-shards {shard.total}"
    else:
        message = f"{name}: all {items:,} sentences are too long"
    if Path(sys.argv[0]).name in GENERATE:
        logger.warning("%s; there is nothing to translate", message)
        raise SystemExit(0)
    raise ValueError(message)
