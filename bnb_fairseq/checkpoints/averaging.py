"""The mean of checkpoints of one training: choosing them, checking that they match, and the new checkpoint."""

import argparse
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .reader import DIGEST, read_checkpoint
from .tensors import tensor_digest
from .writing import staging

WRITTEN_IN_TRAINING = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|_last|\.best_.+_-?\d+\.?\d*)\.pt")
COPIES = ("checkpoint_best.pt", "checkpoint_last.pt")  # mostly of a checkpoint whose name says more
ENTRIES = {"cfg": Mapping, "model": Mapping, "optimizer_history": Sequence, "extra_state": Mapping}
AVERAGE_ENTRY = "average_of"  # of an average, beside fairseq's own
PARAMETERS = ("model", "criterion")  # the criterion's entry is None unless it has parameters
NOISE = "dropout"  # end of the names of options that may differ: a trained model has none
MISSING = "missing"  # in place of the value, in a message
OUTDATED = ("last_optimizer_state", "ema", "ema_fp32_params")  # fairseq's own moving average is in extra_state
State = dict[str, Any]


class Checkpoint(NamedTuple):
    """The properties by which a checkpoint is chosen.

    Attributes:
        path: the file.
        updates: number of updates.
        metric: the metric of its training's best checkpoint.
        maximize: whether higher is better.
        score: the metric; None: it was saved without a validation, or the metric was not a number.
        is_average: whether it is an average itself.
        copies: other files with the same parameters.
    """

    path: Path
    updates: int
    metric: str
    maximize: bool
    score: float | None
    is_average: bool
    copies: tuple[str, ...] = ()

    @property
    def result(self) -> str:
        """The metric with its name."""
        return f"no {self.metric}" if self.score is None else f"{self.metric} {self.score:g}"


def _load(path: Path) -> State:
    """Entries of a checkpoint; its tensors are read from the file on use."""
    state = read_checkpoint(path)
    wanted = f"{path}: must be a checkpoint of fairseq, but"
    if missing := [name for name, kind in ENTRIES.items() if not isinstance(state.get(name), kind)]:
        raise ValueError(f"{wanted} lacks its entries ({', '.join(missing)})")
    if others := [name for name, value in _parameters(state).items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{wanted} holds no tensor as {', '.join(others)}")
    return state


def _parameters(state: State) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for part in PARAMETERS for name, tensor in (state.get(part) or {}).items()}


def _describe(path: Path) -> Checkpoint:
    state = _load(path)
    options, score = state["cfg"].get("checkpoint") or {}, state["extra_state"].get("val_loss")
    return Checkpoint(
        path,
        int((state["optimizer_history"] or [{}])[-1].get("num_updates", 0)),
        str(options.get("best_checkpoint_metric", "loss")),
        bool(options.get("maximize_best_checkpoint_metric", False)),
        None if score is None or math.isnan(score) else float(score),
        AVERAGE_ENTRY in state,
    )


def _without_copies(found: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Count checkpoints with the same parameters after the same number of updates once."""
    ordered = sorted(found, key=lambda each: (each.path.name in COPIES, each.path.absolute()))
    times = Counter(each.updates for each in ordered)
    different: dict[tuple[int, str], Checkpoint] = {}
    for each in ordered:
        key = (each.updates, tensor_digest(_parameters(_load(each.path))) if times[each.updates] > 1 else "")
        first = different.get(key)
        different[key] = each if first is None else first._replace(copies=(*first.copies, each.path.name))
    return list(different.values())


def have_one_metric(found: Iterable[Checkpoint]) -> bool:
    """Whether checkpoints can be compared."""
    return len({(each.metric, each.maximize) for each in found}) == 1


def _best_first(chosen: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Sort by the metric if all have the same one, else and among equals by updates, newest first."""
    comparable = have_one_metric(chosen) and all(each.score is not None for each in chosen)

    def key(each: Checkpoint) -> tuple[float, int, Path]:
        score = (each.score or 0.0) * (-1 if each.maximize else 1) if comparable else 0.0
        return score, -each.updates, each.path.absolute()

    return sorted(chosen, key=key)


def choose(paths: Sequence[Path], option: str, number: int = 0) -> tuple[list[Checkpoint], list[str]]:
    """Choose checkpoints of a training.

    Args:
        paths: with ``--checkpoints`` the files; else the training's ``--save-dir`` alone.
        option: ``--checkpoints``, ``--best`` or ``--last``.
        number: how many to take of a folder.

    Returns:
        Different checkpoints, best first; and a line about each of the folder that is unusable.

    Raises:
        ValueError: if there are too few, their metrics differ, or one is no checkpoint of fairseq.
    """
    if option == "--checkpoints":
        return _best_first(_without_copies(map(_describe, paths))), []
    (folder,) = paths
    if number < 1:
        raise ValueError(f"{option} must be at least 1, but is {number}")
    if not folder.is_dir():
        raise ValueError(f"{folder}: must be the --save-dir of a training, but is no folder")
    described = [_describe(path) for path in sorted(folder.iterdir()) if WRITTEN_IN_TRAINING.fullmatch(path.name)]
    lines = [f"{each.path} is an average and is left out" for each in described if each.is_average]
    found = _without_copies(each for each in described if not each.is_average)
    if option == "--best":
        lines += [f"{each.path} was saved without a metric and is left out" for each in found if each.score is None]
        found = [each for each in found if each.score is not None]
    found = _best_first(found)
    listing = ", ".join(f"{each.path.name} ({each.updates:,} updates, {each.result})" for each in found)
    if option == "--best" and found and not have_one_metric(found):
        raise ValueError(
            f"--best needs one metric, but {folder} holds {len(found)}: {listing}; choose by --checkpoints"
        )
    if len(found) < number:
        known = (
            f"{len(found)}: {listing}; {option} {len(found)} takes all" if found else "none that fairseq-train wrote"
        )
        problem = f"{option} {number} needs {number} different checkpoints, but {folder} holds {known}"
        raise ValueError("; ".join([problem, *lines]))
    if option == "--last":
        found.sort(key=lambda each: (-each.updates, each.path))
    return _best_first(found[:number]), lines


def _model_options(cfg: Mapping[str, Any]) -> dict[str, Any]:
    options = cfg.get("model")
    if not isinstance(options, argparse.Namespace):
        return dict(options or {})
    # Of an architecture without a dataclass, fairseq stores the whole command line, with the options of other sections.
    others = {name for values in cfg.values() if isinstance(values, Mapping) for name in values} | cfg.keys()
    return {name: value for name, value in vars(options).items() if name == "_name" or name not in others}


def _traits(state: State) -> dict[str, object]:
    """Traits that all checkpoints of one model share."""
    dictionaries = (state.get("task_state") or {}).get("dictionaries", {})
    options = {name: value for name, value in _model_options(state["cfg"]).items() if not name.endswith(NOISE)}
    traits: dict[str, object] = {f"option {name}": value for name, value in options.items()}
    traits |= {
        f"{side} dictionary": " ".join(str(x)[:12] for x in found.values()) for side, found in dictionaries.items()
    }
    for name, tensor in _parameters(state).items():
        traits[name] = f"{' x '.join(map(str, tensor.shape)) or 'scalar'} {str(tensor.dtype).removeprefix('torch.')}"
    return traits


def _add(state: State, first: State, sums: dict[str, Tensor]) -> list[str]:
    """Add a checkpoint's floating-point tensors to sums in float64, or list its differences from the first one."""
    ours, theirs = _traits(first), _traits(state)
    names = [name for name in {**ours, **theirs} if ours.get(name, MISSING) != theirs.get(name, MISSING)]
    faults = [f"{name} is {theirs.get(name, MISSING)}, not {ours.get(name, MISSING)}" for name in names]
    if faults:
        return faults
    expected = _parameters(first)
    for name, tensor in _parameters(state).items():
        if not tensor.is_floating_point():
            if not torch.equal(tensor, expected[name]):
                faults.append(f"{name} has other integers")
        elif tensor.isnan().any():
            faults.append(f"{name} holds NaN")
        elif name in sums:
            sums[name] += tensor
        else:
            sums[name] = tensor.to(torch.float64, copy=True)
    return faults


def average(chosen: Sequence[Checkpoint]) -> State:
    """Average checkpoints: floating-point tensors in float64, one checkpoint after the other.

    Args:
        chosen: the checkpoints, best first.

    Returns:
        The first one's entries with the mean parameters, without a validation's metric and the optimizer's state.

    Raises:
        ValueError: listing every difference between them, and every NaN.
    """
    first = _load(chosen[0].path)
    sums: dict[str, Tensor] = {}
    problems = [f"{each.path}: {fault}" for each in chosen for fault in _add(_load(each.path), first, sums)]
    if problems:
        raise ValueError(f"all checkpoints must fit {chosen[0].path}, but {'; '.join(problems)}")
    means: dict[str, dict[str, Tensor]] = {part: {} for part in PARAMETERS}
    shared: dict[Any, Tensor] = {}  # tied parameters stay one tensor
    for name, tensor in _parameters(first).items():
        mean = sums.pop(name).div_(len(chosen)).to(tensor.dtype) if name in sums else tensor.clone()
        tied = shared.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype), mean)
        part, own = name.split(".", 1)
        means[part][own] = tied if torch.equal(tied, mean) else mean
    history = {name: value for name, value in first["extra_state"].items() if name not in OUTDATED}
    return {
        **{name: value for name, value in first.items() if name not in OUTDATED},
        **{part: tensors for part, tensors in means.items() if tensors},
        "task_state": {**(first.get("task_state") or {}), DIGEST: tensor_digest(means["model"])},
        "extra_state": {**history, "val_loss": None},
        AVERAGE_ENTRY: [
            {"file": str(each.path), "num_updates": each.updates, "val_loss": each.score} for each in chosen
        ],
    }


def check_output(path: Path, chosen: Sequence[Checkpoint]) -> None:
    """Refuse, by a ValueError, to overwrite anything but an average that is none of the chosen ones."""
    if path.exists():
        try:
            mine = _describe(path).is_average and not any(path.samefile(each.path) for each in chosen)
        except ValueError:
            mine = False
        if not mine:
            raise ValueError(f"{path} must be a new file or an earlier average, but is another file")


def write(state: State, path: Path) -> None:
    """Write a checkpoint completely or not at all."""
    with staging(path.parent) as lent:
        torch.save(state, lent / path.name)
