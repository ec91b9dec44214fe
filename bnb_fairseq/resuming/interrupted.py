"""Folders of checkpoints in which a save was interrupted.

fairseq writes the first checkpoint of a save and then copies it: to ``checkpoint_best.pt`` if it is the best, last to
``checkpoint_last.pt``. If the process ends in between, or the disk is full, a copy is too short or missing.
"""

import logging
import os
import re
import shutil
from collections.abc import Container, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple, Protocol

from ..processes import do_in_first
from .restored import LAST, Progress, RestoringOptions, find_damage, read_progress, with_suffix

logger = logging.getLogger(__name__)

BEST = "checkpoint_best.pt"
SAVING = "checkpoint_saving"  # a file that is there from the beginning to the end of a save
DAMAGED = ".damaged"  # behind the name of a file that is set aside
# The names that fairseq gives to checkpoints of a training, all but crash.pt, which no training can go on from.
CHECKPOINT = re.compile(r"checkpoint(?:\d+|_\d+_\d+|_best|_last|\.best_.+)")
COPIED_AT_ONCE = 16 << 20  # bytes


class Whole(NamedTuple):
    """An undamaged checkpoint."""

    path: Path
    progress: Progress


class SavingOptions(RestoringOptions, Protocol):
    """fairseq's options for the checkpoints that a training writes."""

    keep_best_checkpoints: int
    no_last_checkpoints: bool


def begin_save(cfg: RestoringOptions) -> None:
    """Leave a note in the folder of checkpoints that a save has begun."""
    _note(cfg).touch()


def end_save(cfg: RestoringOptions) -> None:
    """Remove the note of ``begin_save``."""
    _note(cfg).unlink(missing_ok=True)


def _note(cfg: RestoringOptions) -> Path:
    return Path(cfg.save_dir, f"{SAVING}{cfg.checkpoint_suffix}")


def mend(cfg: SavingOptions) -> None:
    """Complete an interrupted save, so that fairseq resumes from the newest undamaged checkpoint; else do nothing.

    Damaged files are renamed, never deleted. With several processes the first does it while the others wait.

    Raises OSError if there is no room for a copy. Raises ValueError if a checkpoint that an option names is damaged, or
    the last one is and no other is whole.
    """
    do_in_first(partial(_mend, cfg))


def _mend(cfg: SavingOptions) -> None:
    _check_named(cfg)
    if cfg.restore_file == LAST and Path(cfg.save_dir).is_dir():
        _mend_folder(cfg)


def _check_named(cfg: RestoringOptions) -> None:
    """Refuse a damaged file that an option names: nothing may replace it."""
    if cfg.restore_file != LAST:
        option, name = "--restore-file", with_suffix(cfg.restore_file, cfg)
    elif cfg.finetune_from_model is None or Path(cfg.save_dir, with_suffix(LAST, cfg)).is_file():
        return
    else:
        option, name = "--finetune-from-model", cfg.finetune_from_model
    if Path(name).is_file() and (damage := find_damage(Path(name))):
        raise ValueError(f"{option} must be a whole checkpoint, but {name} {damage}")


def _mend_folder(cfg: SavingOptions) -> None:
    last, best = (Path(cfg.save_dir, with_suffix(name, cfg)) for name in (LAST, BEST))
    damage = {
        path: reason
        for path, sums in ((last, True), (best, False))
        if path.is_file() and (reason := find_damage(path, sums))
    }
    if not damage and not _note(cfg).exists():
        return
    _note(cfg).touch()  # until all is done, should this be interrupted, too
    found = _checkpoints(cfg, damage)
    start = _start(cfg, found, last, damage)
    done = [_set_aside(path, reason) for path, reason in damage.items()]
    if start is not None:
        if start.path != last:
            _copy(start.path, last)
        _complete_best(best, start, found)
        done.append(f"training resumes from {start.path} ({start.progress})")
    else:
        done.append("training starts anew")
    end_save(cfg)
    logger.warning("a save was interrupted: %s", "; ".join(done))


def _complete_best(best: Path, start: Whole, found: Sequence[Whole]) -> None:
    """Restore the best checkpoint as it was when the one to resume from was written."""
    if not start.progress.is_best:
        if best.is_file():
            return
        holders = [each for each in found if each.progress.is_best and each.progress.value == start.progress.best]
    elif any(each.path == best and each.progress[:3] == start.progress[:3] for each in found):
        return
    else:
        holders = [start]
    for each in holders:
        if find_damage(each.path) is None:
            _copy(each.path, best)
            return


def _checkpoints(cfg: RestoringOptions, damage: Container[Path]) -> list[Whole]:
    """Undamaged checkpoints of a folder, the newest first, of equal ones ``checkpoint_last`` first."""
    found = [Whole(path, progress) for path in _named(cfg) if path not in damage and (progress := read_progress(path))]
    return sorted(
        found, key=lambda each: (each.progress[:3], each.path.stem.startswith("checkpoint_last")), reverse=True
    )


def _named(cfg: RestoringOptions) -> list[Path]:
    """Files of a folder that have the name of a checkpoint."""
    end = with_suffix(".pt", cfg)
    files = sorted(Path(cfg.save_dir).glob(f"checkpoint*{end}"))
    return [path for path in files if CHECKPOINT.fullmatch(path.name.removesuffix(end))]


def _start(cfg: SavingOptions, found: Sequence[Whole], last: Path, damage: Mapping[Path, str]) -> Whole | None:
    """The checkpoint to resume from; None: training starts anew.

    With several best checkpoints, a save without its last copy is made again: only fairseq knows their names.
    """
    kept = next((each for each in found if each.path == last), None)
    if last not in damage and cfg.keep_best_checkpoints > 0:
        return kept
    if last not in damage and kept is None and cfg.no_last_checkpoints:
        return None
    for each in found:
        if each is kept or find_damage(each.path) is None:
            return each
    if last in damage:
        raise ValueError(
            f"--save-dir {cfg.save_dir}: {last.name} {damage[last]}, and no other checkpoint is whole; to train anew, "
            f"move it away"
        )
    if others := [path.name for path in _named(cfg) if path not in damage]:
        raise ValueError(
            f"--save-dir {cfg.save_dir}: no checkpoint is whole; to train anew, move {', '.join(others)} away"
        )
    return None


def _set_aside(path: Path, reason: str) -> str:
    """Rename a damaged file, and say so."""
    names = (path.with_name(f"{path.name}{DAMAGED}{number or ''}") for number in count())
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    return f"{path.name} {reason} and is now {aside.name}"


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that the target is the old one or the new one at any moment."""
    unfinished = target.with_name(f"{target.name}.tmp")
    try:
        with source.open("rb") as whole, unfinished.open("wb") as copy:
            shutil.copyfileobj(whole, copy, COPIED_AT_ONCE)
            copy.flush()
            os.fsync(copy.fileno())
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OSError(
            f"--save-dir {target.parent}: {source.name} cannot be copied to {target.name}: {error}"
        ) from error
    unfinished.replace(target)
