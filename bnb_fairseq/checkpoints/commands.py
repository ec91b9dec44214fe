"""Checks of the checkpoints that fairseq's commands are about to read.

The tasks check those in their options. That is too late for ``fairseq-validate``, which builds the checkpoint's own
task, and for commands with another task; so the command line is read as soon as fairseq imports this package for
``--user-dir``.
"""

import sys
from argparse import ArgumentError, ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from fairseq import checkpoint_utils, utils

from .reader import read_checkpoint

READING = ("generate", "interactive", "validate", "hydra_validate", "eval_lm")  # commands that build what they read
OPTIONS = ("path", "lm_path")
HYDRA = ("common_eval.path=", "generation.lm_path=")


class NamedCheckpoints(Protocol):
    """fairseq's options that name the checkpoints of a translation."""

    path: str | None
    lm_path: str | None
    checkpoint_suffix: str
    checkpoint_shard_count: int


def check_named(cfg: NamedCheckpoints) -> None:
    """Check the checkpoints that ``--path`` and ``--lm-path`` name.

    Raises ValueError if one is damaged or cannot be trusted.
    """
    shards = cfg.checkpoint_shard_count if isinstance(cfg.checkpoint_shard_count, int) else 1  # else no command's
    _check([cfg.path, cfg.lm_path], str(cfg.checkpoint_suffix or ""), shards)


def fairseq_command(argv: Sequence[str]) -> str | None:
    """The fairseq command of a command line, such as ``eval_lm``; None for another program."""
    place = Path(argv[0] if argv else "")
    is_fairseqs = place.name.startswith("fairseq-") or place.parent.name == "fairseq_cli"
    return place.stem.removeprefix("fairseq-").replace("-", "_") if is_fairseqs else None


def check_command_line(argv: Sequence[str] | None = None) -> None:
    """Check the checkpoints on the command line of a command that builds the models in them.

    Args:
        argv: the command and its arguments; None: ``sys.argv``.

    Raises:
        ValueError: if one is damaged or cannot be trusted.
    """
    line = argv if argv is not None else sys.argv
    if fairseq_command(line) not in READING:
        return
    parser = ArgumentParser(add_help=False, exit_on_error=False)
    for name in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}")
    parser.add_argument("--checkpoint-suffix", default="")
    parser.add_argument("--checkpoint-shard-count", type=int, default=1)
    try:
        found = parser.parse_known_args(line[1:])[0]
    except ArgumentError:  # fairseq says what is wrong with the line
        return
    named = [getattr(found, name) for name in OPTIONS]
    named += [word.removeprefix(key) for word in line[1:] for key in HYDRA if word.startswith(key)]
    _check(named, found.checkpoint_suffix, found.checkpoint_shard_count)


def _check(named: Iterable[str | None], suffix: str, shards: int) -> None:
    for text in named:
        for path in _files(text, suffix, shards):
            if path.exists():  # fairseq says better what is missing
                read_checkpoint(path)


def _files(text: str | None, suffix: str, shards: int) -> Iterator[Path]:
    """Files that fairseq reads for a name; others if parts of a model lie beside it."""
    for name in utils.split_paths(text) if text else []:
        for shard in range(min(max(shards, 1), 1000)):
            yield Path(checkpoint_utils.get_maybe_sharded_checkpoint_filename(name, suffix, shard, shards))
