"""The one way to read a checkpoint of fairseq: the file is checked before fairseq sees it."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import is_zipfile

import torch
from fairseq import checkpoint_utils
from torch import Tensor

from .. import compat  # noqa: F401  (lets torch read what fairseq pickles)
from .archive import check_archive
from .files import UNREADABLE, find_file_fault, why_not_read
from .tensors import find_faults, find_size_faults, tensor_digest
from .trust import find_untrusted, options_of

DIGEST = "tensors"  # entry of a checkpoint's task_state
# What reading a damaged or hostile file can raise, beside an error of the file system.
BROKEN = (*UNREADABLE, LookupError, TypeError, ValueError, AttributeError, AssertionError, MemoryError, RecursionError)
UNKNOWN_CLASSES = -1  # of a classifier; the data say how many there are
MOST_FAULTS = 5  # in one message
LONGEST_SHOWN = 200  # characters of a path in a message
logger = logging.getLogger(__name__)


class Version(NamedTuple):
    """A file as it was when it was checked."""

    path: Path
    inode: int
    size: int
    changed: int


_checked: set[Version] = set()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint: plain values, and tensors that are read from the file on use; no code in it runs.

    Raises ValueError if it is no checkpoint of fairseq, is damaged, or cannot be trusted.
    """
    wanted = f"{path}: must be a checkpoint of fairseq, but"
    if fault := find_file_fault(path):
        raise ValueError(f"{wanted} {fault}")
    version = _version(path)
    zipped = is_zipfile(path)
    if zipped and version not in _checked:
        try:
            check_archive(path)
        except ValueError as error:
            raise ValueError(f"{wanted} {error}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (*BROKEN, OSError) as error:
        raise ValueError(f"{wanted} {why_not_read(error)}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{wanted} holds a {type(state).__name__}")
    if version not in _checked:
        if faults := _find_faults(path, state):
            more = [f"{len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
            listed = "; ".join([*faults[:MOST_FAULTS], *more])
            raise ValueError(f"{path}: must be a checkpoint that can be trusted, but {listed}")
        _note_user_dir(path, state)
        _checked.add(version)
    return state


def _version(path: Path) -> Version:
    now = path.stat()
    return Version(path.resolve(), now.st_ino, now.st_size, now.st_mtime_ns)


def _find_faults(path: Path, state: Mapping[str, Any]) -> list[str]:
    """Faults of a checkpoint's values and tensors."""
    if faults := find_untrusted(state):
        return faults
    tensors = state.get("model", {})
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        return ["model must hold tensors by name"]
    cfg = state.get("cfg") or {}
    classes = options_of(cfg.get("task")).get("num_classes")
    classes = None if classes == UNKNOWN_CLASSES else classes
    options = {**options_of(cfg.get("model")), "num_classes": classes}
    faults = [*find_size_faults(options, path.stat().st_size), *find_faults(tensors)]
    return faults or _digest_faults(path, state, tensors)


def _note_user_dir(path: Path, state: Mapping[str, Any]) -> None:
    """Warn that the training's plugin is not imported, unless the command has imported one of that name."""
    named = options_of((state.get("cfg") or {}).get("common")).get("user_dir")
    if isinstance(named, str) and named and Path(named).name not in sys.modules:
        logger.warning(
            "%s: --user-dir %s of its training is not imported; add the option if you trust it and the model needs it",
            *(path, named if len(named) <= LONGEST_SHOWN else f"{named[:LONGEST_SHOWN]}..."),
        )


def _digest_faults(path: Path, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[str]:
    """Compare the tensors with their digest in the task's state."""
    task_state = state.get("task_state") or {}
    if not isinstance(task_state, dict):
        return ["task_state must hold values by name"]
    expected = task_state.get(DIGEST)
    if expected is None:
        logger.info("%s: has no digest of its tensors, because an older version wrote it or it was converted", path)
        return []
    found = tensor_digest(tensors)
    if found == expected:
        return []
    return [f"the digest of its tensors must be {expected}, but is {found}"]


def read_state(path: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a checkpoint as fairseq does, after checking it; ``overrides`` replace its options.

    Raises ValueError as ``read_checkpoint``, or if it lacks ``cfg`` or ``model``.
    """
    read_checkpoint(path)
    given = None if overrides is None else dict(overrides)
    try:
        state: dict[str, Any] = checkpoint_utils.load_checkpoint_to_cpu(str(path), given)
    except BROKEN as error:
        raise ValueError(f"{path}: must be a checkpoint of fairseq, but lacks its entries ({error})") from error
    if state.get("cfg") is None or "model" not in state:
        raise ValueError(f"{path}: must be a checkpoint of fairseq, but lacks its entries (cfg and model)")
    return state


def load_models(paths: Sequence[Path], overrides: Mapping[str, Any], task: Any = None) -> tuple[list[Any], Any]:
    """Build the models of checkpoints.

    Args:
        paths: the files.
        overrides: values that replace the checkpoints' options.
        task: the task; None: the first checkpoint's.

    Returns:
        The models, and the task.

    Raises:
        ValueError: as ``read_state``.
    """
    models: list[Any] = []
    for path in paths:
        state = read_state(path, overrides)
        loaded, _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], dict(overrides), task, state=state)
        models += loaded
    return models, task
