"""The only module that knows about versions of fairseq and numpy; ``torch_compat`` knows torch's.

Importing it makes fairseq's own checkpoints loadable under torch's safe loader. It silences, one by one and by name,
warnings that a user can do nothing about.
"""

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, MutableSequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import fairseq
import numpy as np
import torch
from fairseq.logging import progress_bar
from omegaconf import DictConfig

KNOWN_WARNINGS = (
    "hydra.experimental.initialize.* is no longer experimental",
    "hydra.experimental.compose.* is no longer experimental",
    "The version_base parameter is not specified",
    "Future Hydra versions will no longer change working directory",
    "The strict flag in the compose API is deprecated",
    "Usage of deprecated keyword in package header",
    "is validated against ConfigStore schema with the same name",
    "'pin_memory' argument is set as true but no accelerator is found",
    "torch.cuda.amp.(autocast|GradScaler).* is deprecated",
    "weight_norm.* is deprecated",
    "pkg_resources is deprecated as an API",
)
TALKATIVE_LOGGERS = ("filelock", "fsspec", "httpcore", "httpx", "hydra", "matplotlib", "urllib3")


def allow_fairseq_checkpoints() -> None:
    """Let ``torch.load`` build the few harmless classes that fairseq pickles into its checkpoints.

    These are the namespace of the arguments and, once validation BLEU has put counts into the saved meters, numpy
    arrays and scalars; and omegaconf's containers and fairseq's placeholder for a tensor, which are in no file, but in
    what the first of several processes sends to the others when it has read one. A checkpoint that names any other
    class is refused by torch before anything in it runs.
    """
    from fairseq.distributed.utils import _TensorPlaceholder
    from omegaconf import AnyNode, ListConfig
    from omegaconf.base import ContainerMetadata, Metadata

    numeric = {type(np.dtype(name)) for name in ("bool", "int32", "int64", "uint8", "float16", "float32", "float64")}
    modules = ("numpy._core.multiarray", "numpy.core.multiarray")  # numpy's name since 2.0, and before
    multiarray = importlib.import_module(modules[0] if hasattr(np, "_core") else modules[1])
    rebuilders = [multiarray._reconstruct, multiarray.scalar]
    renamed = [(function, f"{module}.{function.__name__}") for function in rebuilders for module in modules]
    torch.serialization.add_safe_globals([argparse.Namespace, np.ndarray, np.dtype, *numeric, *rebuilders, *renamed])
    configuration = [DictConfig, ListConfig, AnyNode, ContainerMetadata, Metadata, Any, defaultdict, dict, int, list]
    torch.serialization.add_safe_globals([*configuration, _TensorPlaceholder])


def answer_to_short_name(path: MutableSequence[str]) -> None:
    """Let fairseq find by ``--user-dir bnb_fairseq`` the package that Python has imported already.

    Where the working directory has no such folder, fairseq looks beside itself, in site-packages. It takes an imported
    package for another one of the same name unless the package's ``__path__`` has the folder in just this spelling.

    Args:
        path: the ``__path__`` of this package, changed in place.
    """
    beside = Path(fairseq.__file__).parent / ".." / __package__
    if beside.is_dir() and beside.samefile(path[0]) and str(beside) not in path:
        path.append(str(beside))


class EarlyStopping(NamedTuple):
    """Counters of ``--patience``.

    Attributes:
        best: the best value of a validation; None before the first.
        bad_validations: validations in a row without a better one.
    """

    best: float | None = None
    bad_validations: int = 0


def early_stopping() -> EarlyStopping:
    """Read what fairseq remembers of early stopping, which is in none of its checkpoints."""
    for memory in _early_stopping_memories():
        if (best := getattr(memory, "best", None)) is not None:
            return EarlyStopping(float(best), int(memory.num_runs))
    return EarlyStopping()


def set_early_stopping(state: EarlyStopping) -> None:
    """Let fairseq remember it.

    Args:
        state: from ``early_stopping``.
    """
    for memory in _early_stopping_memories():
        memory.best, memory.num_runs = state


def _early_stopping_memories() -> list[Any]:
    """Find fairseq's function whose attributes are the memory: ``fairseq_cli.train`` may have been started by path."""
    modules = (sys.modules.get(name) for name in ("fairseq_cli.train", "__main__"))
    return [module.should_stop_early for module in modules if module and hasattr(module, "should_stop_early")]


def end_earlier_logs() -> None:
    """Close tensorboard's files and the run of wandb that an earlier training of this process has left open.

    fairseq would go on writing to them: it keeps one writer for each kind of log, whatever ``--tensorboard-logdir``.
    """
    for writer in progress_bar._tensorboard_writers.values():
        writer.close()
    progress_bar._tensorboard_writers.clear()
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()


def whole_options(part: Any) -> DictConfig | None:
    """Find the configuration of the whole command that a part of it, such as a task's options, belongs to.

    Args:
        part: the options.

    Returns:
        fairseq's configuration; None for options that stand alone, as in a program that builds a task by itself.
    """
    whole = part._get_parent() if isinstance(part, DictConfig) else None
    return whole if isinstance(whole, DictConfig) and "dataset" in whole and "checkpoint" in whole else None


@cache
def torchrun_address() -> str:
    """Return where processes of torchrun meet, for ``torch.distributed.init_process_group``.

    It is ``env://``, apart from what processes of an earlier start have left there. Since torchrun shares one store
    among all starts, a process that ``--max-restarts`` has started again may find the address of one that is dead
    (https://github.com/pytorch/pytorch/issues/167288).
    """
    # Torch may be built without these.
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import register_rendezvous_handler, rendezvous

    def meet(url: str, **options: Any) -> Iterator[tuple[Any, int, int]]:
        for store, rank, processes in rendezvous(url.replace("torchrun", "env", 1), **options):
            start = f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
            yield PrefixStore(start, store), rank, processes

    register_rendezvous_handler("torchrun", meet)  # type: ignore[no-untyped-call]
    return "torchrun://"


def quiet_known_warnings() -> None:
    """Silence warnings of hydra, torch and setuptools that fairseq's commands print at every start."""
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=f"(?s).*{message}")
    # One of fairseq's modules sets the root logger to DEBUG, which makes other libraries talk.
    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


allow_fairseq_checkpoints()
quiet_known_warnings()
