"""Shards of a part of the data, ``--num-shards`` and ``--shard-id``: fairseq reads both options and uses neither."""

import logging
import sys
from pathlib import Path
from typing import Any

from ..data.whole_batches import WHOLE, Shard

GENERATE = ("fairseq-generate", "generate.py")
logger = logging.getLogger(__name__)


def read_shard(cfg: Any) -> Shard:
    """Read the options.

    Args:
        cfg: the task's options.

    Returns:
        The shard that is asked for.

    Raises:
        ValueError: if there is no such shard.
    """
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
    """Refuse the options where they would have no effect.

    Args:
        cfg: the task's options.
        why: the reason, for the message.

    Raises:
        ValueError: if one is set.
    """
    shard = _asked_for(cfg)
    if shard != WHOLE:
        raise ValueError(
            f"--num-shards {shard.total} and --shard-id {shard.number} are for fairseq-generate and fairseq-validate: "
            f"{why}"
        )


def _asked_for(cfg: Any) -> Shard:
    """Return what the options ask for; everything, where they belong to no command."""
    return Shard(cfg.num_shards, cfg.shard_id) if isinstance(cfg.num_shards, int) else WHOLE


def handle_no_batches(name: str, items: int, shard: Shard) -> None:
    """End ``fairseq-generate``, which divides by the time that it took, where it has nothing to do; else refuse.

    Args:
        name: of the part.
        items: how many it has; all of them were left out, or are in other shards.
        shard: the shard.

    Raises:
        SystemExit: with status 0, under ``fairseq-generate``.
        ValueError: under every other command.
    """
    if items == 0:
        message = f"{name} is empty"
    elif shard != WHOLE:
        message = f"{name}: no batch is left for --shard-id {shard.number} of --num-shards {shard.total}"
    else:
        message = f"{name}: all {items:,} sentences are left out, since they are too long"
    if Path(sys.argv[0]).name in GENERATE:
        logger.warning("%s; there is nothing to translate", message)
        raise SystemExit(0)
    raise ValueError(message)
