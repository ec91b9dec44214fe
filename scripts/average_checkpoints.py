"""Average the parameters of several checkpoints of one training into a new checkpoint of fairseq.

The new checkpoint has no optimizer state; all else in it is that of the best one. It is complete or not there.
"""

import argparse
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnb_fairseq.checkpoints.reader import DIGEST, read_checkpoint
from bnb_fairseq.checkpoints.tensors import tensor_digest
from bnb_fairseq.checkpoints.writing import staging
from bnb_fairseq.cli.errors import one_line_errors

USAGE = "%(prog)s (--best K | --last K) SAVE_DIR OUT.pt\n       %(prog)s --checkpoints A.pt [B.pt ...] OUT.pt"
WRITTEN_IN_TRAINING = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|_last|\.best_.+_-?\d+\.?\d*)\.pt")
COPIES = ("checkpoint_best.pt", "checkpoint_last.pt")  # mostly of a checkpoint whose name says more
ENTRIES = {"cfg": Mapping, "model": Mapping, "optimizer_history": Sequence, "extra_state": Mapping}
AVERAGE_ENTRY = "average_of"  # of a checkpoint that this script wrote, beside fairseq's own
PARAMETERS = ("model", "criterion")  # the criterion's entry is None unless it has parameters
OUTDATED = ("last_optimizer_state", "ema", "ema_fp32_params")  # fairseq's own moving average is in extra_state
State = dict[str, Any]


class Checkpoint(NamedTuple):
    """What chooses a checkpoint.

    Attributes:
        path: the file.
        updates: number of updates.
        metric: the metric by which its training told the best checkpoint.
        maximize: whether higher is better.
        score: the metric; None: it was saved without a validation, or the metric was not a number.
        is_average: whether this script wrote it.
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


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__, usage=USAGE)
    add = parser.add_mutually_exclusive_group(required=True).add_argument
    add("--best", type=int, metavar="K", help="take the K best in SAVE_DIR by the training's --best-checkpoint-metric")
    add("--last", type=int, metavar="K", help="take the K newest in SAVE_DIR by number of updates")
    add("--checkpoints", action="store_true", help="take the files that are named")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="what to read; the last: file to write")
    return parser.parse_args(argv)


def load(path: Path) -> State:
    """Read a checkpoint; tensors are read from the file when they are used, and nothing in it can run.

    Args:
        path: the file.

    Returns:
        Its entries.

    Raises:
        ValueError: if it is no checkpoint of fairseq.
    """
    entries = read_checkpoint(path)
    wanted = f"{path}: must be a checkpoint of fairseq, but"
    if missing := [name for name, kind in ENTRIES.items() if not isinstance(entries.get(name), kind)]:
        raise ValueError(f"{wanted} lacks its entries ({', '.join(missing)})")
    if others := [name for name, value in _parameters(entries).items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{wanted} holds no tensor as {', '.join(others)}")
    return entries


def _describe(path: Path) -> Checkpoint:
    """Read what chooses a checkpoint."""
    state = load(path)
    options, score = state["cfg"].get("checkpoint") or {}, state["extra_state"].get("val_loss")
    return Checkpoint(
        path,
        int((state["optimizer_history"] or [{}])[-1].get("num_updates", 0)),
        str(options.get("best_checkpoint_metric", "loss")),
        bool(options.get("maximize_best_checkpoint_metric", False)),
        None if score is None or math.isnan(score) else float(score),
        AVERAGE_ENTRY in state,
    )


def _parameters(state: State) -> dict[str, Tensor]:
    """List the parameters and buffers of a checkpoint."""
    return {f"{part}.{name}": tensor for part in PARAMETERS for name, tensor in (state.get(part) or {}).items()}


def _digest(path: Path) -> str:
    """Tell whether checkpoints have the same parameters."""
    return tensor_digest(_parameters(load(path)))


def without_copies(found: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Count checkpoints once that have the same parameters after the same number of updates.

    Args:
        found: checkpoints.

    Returns:
        The different ones, with the names of their copies.
    """
    different: dict[tuple[int, str], Checkpoint] = {}
    times = Counter(each.updates for each in found)
    for each in sorted(found, key=lambda each: (each.path.name in COPIES, each.path.absolute())):
        key = (each.updates, _digest(each.path) if times[each.updates] > 1 else "")
        first = different.get(key)
        different[key] = each if first is None else first._replace(copies=(*first.copies, each.path.name))
    return list(different.values())


def _best_first(chosen: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Sort by the metric where all have the same one, else and among equals by updates, newest first."""
    comparable = _has_one_metric(chosen) and all(each.score is not None for each in chosen)

    def key(each: Checkpoint) -> tuple[float, int, Path]:
        score = each.score if comparable and each.score is not None else 0.0
        return -score if each.maximize else score, -each.updates, each.path.absolute()

    return sorted(chosen, key=key)


def _has_one_metric(found: Sequence[Checkpoint]) -> bool:
    """Whether the metrics of checkpoints can be compared."""
    return len({(each.metric, each.maximize) for each in found}) == 1


def choose(folder: Path, option: str, number: int) -> tuple[list[Checkpoint], list[str]]:
    """Choose among the checkpoints that fairseq-train wrote into a folder.

    Args:
        folder: its ``--save-dir``.
        option: ``--best`` or ``--last``.
        number: how many to take.

    Returns:
        Exactly so many different checkpoints, best first; and a line about each that cannot be one of them.

    Raises:
        ValueError: if there are too few, or their metrics differ.
    """
    if number < 1:
        raise ValueError(f"{option} must be at least 1, but is {number}")
    if not folder.is_dir():
        raise ValueError(f"{folder}: must be the --save-dir of a training, but is no folder")
    described = [_describe(path) for path in sorted(folder.iterdir()) if WRITTEN_IN_TRAINING.fullmatch(path.name)]
    lines = [f"{each.path} is an average and is left out" for each in described if each.is_average]
    found = without_copies([each for each in described if not each.is_average])
    if option == "--best":
        lines += [f"{each.path} was saved without a metric and is left out" for each in found if each.score is None]
        found = [each for each in found if each.score is not None]
        if found and not _has_one_metric(found):
            raise ValueError(f"--best needs one metric, but {folder} holds {_listing(found)}; choose by --checkpoints")
    if len(found) < number:
        known = f"{_listing(found)}; {option} {len(found)} takes all" if found else "none that fairseq-train wrote"
        problem = f"{option} {number} needs {number} different checkpoints, but {folder} holds {known}"
        raise ValueError("; ".join([problem, *lines]))
    ranked = _best_first(found) if option == "--best" else sorted(found, key=lambda each: (-each.updates, each.path))
    return _best_first(ranked[:number]), lines


def _listing(found: Sequence[Checkpoint]) -> str:
    """Name checkpoints in a message, best first."""
    each = [f"{one.path.name} ({one.updates:,} updates, {one.result})" for one in _best_first(found)]
    return f"{len(found)}: {', '.join(each)}"


def _table(chosen: Sequence[Checkpoint]) -> list[str]:
    """Lay checkpoints out as a table."""
    goal = f" ({'higher' if chosen[0].maximize else 'lower'} is better)" if _has_one_metric(chosen) else ""
    rows = [("checkpoint", "updates", f"metric{goal}", "copies")]
    rows += [(str(each.path), f"{each.updates:,}", each.result, ", ".join(each.copies) or "-") for each in chosen]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:{widths[2]}}  {d}" for a, b, c, d in rows]


def _model_options(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Take the model's options from a configuration."""
    options = cfg.get("model")
    if not isinstance(options, argparse.Namespace):
        return dict(options or {})
    # Of an architecture without a dataclass, fairseq stores the whole command line, with the options of other sections.
    others = {name for values in cfg.values() if isinstance(values, Mapping) for name in values} | cfg.keys()
    return {name: value for name, value in vars(options).items() if name == "_name" or name not in others}


def _traits(state: State) -> dict[str, object]:
    """List what checkpoints of one model have in common."""
    shapes = {name: " x ".join(map(str, tensor.shape)) or "scalar" for name, tensor in _parameters(state).items()}
    dictionaries = (state.get("task_state") or {}).get("dictionaries", {})
    return {
        **{f"option {name}": value for name, value in _model_options(state["cfg"]).items()},
        **{f"{side} dictionary": " ".join(str(x)[:12] for x in found.values()) for side, found in dictionaries.items()},
        **{name: f"{shapes[name]} {str(t.dtype).removeprefix('torch.')}" for name, t in _parameters(state).items()},
    }


def _misfits(first: State, other: State) -> list[str]:
    """Compare a checkpoint's model with another's."""
    ours, theirs = _traits(first), _traits(other)
    return [
        *(f"{name} is {theirs[name]}, not {ours[name]}" for name in ours if theirs.get(name, ours[name]) != ours[name]),
        *(f"lacks {name}" for name in ours if name not in theirs),
        *(f"has {name} besides" for name in theirs if name not in ours),
    ]


def average(chosen: Sequence[Checkpoint]) -> State:
    """Average checkpoints: floating-point tensors in float64, one checkpoint after the other.

    Args:
        chosen: the checkpoints, best first.

    Returns:
        The first one's entries with the average's parameters, which no validation has measured; no optimizer state.

    Raises:
        ValueError: if they do not fit each other, or hold values that have no average, naming all of these.
    """
    first = load(chosen[0].path)
    problems = [f"{each.path}: {line}" for each in chosen[1:] for line in _misfits(first, load(each.path))]
    if problems:
        raise ValueError(f"all checkpoints must have the model of {chosen[0].path}, but {'; '.join(problems)}")
    ours = _parameters(first)
    sums: dict[str, Tensor] = {}
    for each in chosen:
        for name, tensor in _parameters(load(each.path)).items():
            if not tensor.is_floating_point():
                if not torch.equal(tensor, ours[name]):
                    problems.append(f"{each.path}: {name} has other whole numbers than in {chosen[0].path}")
            elif tensor.isnan().any():
                problems.append(f"{each.path}: {name} holds values that are not numbers")
            elif name in sums:
                sums[name] += tensor
            else:
                sums[name] = tensor.to(torch.float64, copy=True)
    if problems:
        raise ValueError(f"there is no average: {'; '.join(problems)}")
    means: dict[str, dict[str, Tensor]] = {part: {} for part in PARAMETERS}
    shared: dict[Any, Tensor] = {}  # tied parameters stay one tensor
    for name, tensor in ours.items():
        total = sums.pop(name, None)
        mean = tensor.clone() if total is None else total.div_(len(chosen)).to(tensor.dtype)
        tied = shared.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype), mean)
        part, own = name.split(".", 1)
        means[part][own] = tied if torch.equal(tied, mean) else mean
    digest = {DIGEST: tensor_digest(means["model"])}
    history = {name: value for name, value in first["extra_state"].items() if name not in OUTDATED}
    sources = [{"file": str(each.path), "num_updates": each.updates, "val_loss": each.score} for each in chosen]
    return {
        **{name: value for name, value in first.items() if name not in OUTDATED},
        **{part: tensors for part, tensors in means.items() if tensors},
        "task_state": {**(first.get("task_state") or {}), **digest},
        "extra_state": {**history, "val_loss": None},
        AVERAGE_ENTRY: sources,
    }


def _check_output(path: Path, chosen: Sequence[Checkpoint]) -> None:
    """Refuse to overwrite anything but an average."""
    if path.exists():
        try:
            mine = _describe(path).is_average and not any(path.samefile(each.path) for each in chosen)
        except ValueError:
            mine = False
        if not mine:
            raise ValueError(f"{path} must be a new file or an earlier average, but is another that would be lost")


def _write(state: State, path: Path) -> None:
    """Write a checkpoint, which is complete or not there."""
    with staging(path.parent) as lent:
        torch.save(state, lent / path.name)


def run(arguments: argparse.Namespace) -> None:
    """Choose checkpoints, print which, and write their average.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    *sources, output = arguments.paths
    if not sources or (not arguments.checkpoints and len(sources) > 1):
        raise ValueError("the paths must be SAVE_DIR and OUT.pt, or after --checkpoints the files to read and OUT.pt")
    lines: list[str] = []
    if arguments.checkpoints:
        chosen = _best_first(without_copies([_describe(path) for path in sources]))
    else:
        option, number = ("--last", arguments.last) if arguments.best is None else ("--best", arguments.best)
        chosen, lines = choose(sources[0], option, number)
    _check_output(output, chosen)
    print("\n".join([*lines, *_table(chosen)]), flush=True)
    _write(average(chosen), output)
    print(f"{output}: the mean of {len(chosen)}; all but the parameters is that of {chosen[0].path}")


def main() -> None:
    """Run."""
    with one_line_errors("average_checkpoints", ValueError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
