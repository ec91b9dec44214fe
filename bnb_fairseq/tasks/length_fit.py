"""Training pairs whose target is longer than the model can write, found before the training.

Under CTC such a pair has an infinite loss, which is dropped: if the canvas is too short for all targets, the loss is 0.
A length classifier gives such a pair the last class of its range.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.pair_dataset import SentencePairDataset
from ..modules.canvas import upsampled_lengths
from ..problems import Problems

SAMPLE = 20_000  # pairs read of more, evenly spaced
REFUSED, TOLERATED = 2, 100  # one misfit in so many pairs is no error; no warning
AUTO_TOLERATED = 200  # one misfit in so many pairs under --ctc-upsample auto
MOST_EXTRA = 64  # that it tries
logger = logging.getLogger(__name__)
Integers = NDArray[np.int64]


class Lengths(NamedTuple):
    """Lengths of N pairs, int64, [CLS] and [SEP] included.

    Attributes:
        source: of the sources.
        target: of the targets.
        needed: canvas positions that CTC needs for the targets: their tokens, and a blank between equal neighbours.
    """

    source: Integers
    target: Integers
    needed: Integers


class Limit(NamedTuple):
    """An option that limits the length of targets.

    Attributes:
        fits: for each pair, whether it is within a value of the option.
        least: for each pair, the option's smallest value (``ctc_upsample``: the value to exceed).
        step: the option's values are multiples of it.
        fault: for messages, the fault of pairs that do not fit.
    """

    fits: Callable[[Lengths, float], NDArray[np.bool_]]
    least: Callable[[Lengths], NDArray[Any]]
    step: float
    fault: str


NO_ROOM = "need more positions than their canvas has, so that they do not count in the loss"
LIMITS = {
    "ctc_upsample": Limit(
        lambda lengths, ratio: upsampled_lengths(torch.from_numpy(lengths.source), ratio).numpy() >= lengths.needed,
        lambda lengths: (lengths.needed - 1) / lengths.source,
        0.01,
        NO_ROOM,
    ),
    "ctc_canvas_length": Limit(
        lambda lengths, positions: lengths.needed <= positions, lambda lengths: lengths.needed, 1, NO_ROOM
    ),
    "length_range": Limit(
        lambda lengths, longest: np.abs(lengths.target - lengths.source) <= longest,
        lambda lengths: np.abs(lengths.target - lengths.source),
        1,
        "differ in length by more than the length classifier can predict",
    ),
}


def limiting_option(model: Any) -> str:
    """Key of ``LIMITS``: the option that limits the output of a ``bnb_transformer`` with these options."""
    if str(model.length_control) == "length":
        return "length_range"
    return "ctc_canvas_length" if model.ctc_canvas_length > 0 else "ctc_upsample"


def measure(dataset: SentencePairDataset, longest: tuple[int, int]) -> Lengths:
    """Lengths of at most ``SAMPLE`` pairs, without those that are longer than ``longest``, source and target."""
    count = len(dataset)
    chosen = np.arange(count) if count <= SAMPLE else np.linspace(0, count - 1, SAMPLE).astype(np.int64)
    kept, _ = dataset.filter_indices_by_size(chosen, longest)
    rows = np.empty((3, len(kept)), dtype=np.int64)
    for row, index in enumerate(kept.tolist()):
        item = dataset[index]
        target = item["target"]
        written = len(target) + int(dataset.target_bos)
        repeats = int((target[1:] == target[:-1]).sum())
        rows[:, row] = len(item["source"]), written, written + repeats
    return Lengths(*rows)


class Rule(NamedTuple):
    """Positions of a canvas: ``upsample`` for each source token, and ``extra``."""

    upsample: float
    extra: int

    def positions(self, lengths: Lengths) -> Integers:
        """Return the canvas lengths of N pairs."""
        found: Integers = upsampled_lengths(torch.from_numpy(lengths.source), *self).numpy()
        return found


def choose_rule(lengths: Lengths) -> Rule:
    """Choose the rule with the shortest canvas on average among those with room for 99.5% of the pairs.

    The ratio is a multiple of 0.01; the extra positions are at most ``MOST_EXTRA``.
    """
    limit = LIMITS["ctc_upsample"]
    rules = []
    for extra in range(MOST_EXTRA + 1):
        upsample = smallest_value(limit, _without(lengths, extra), AUTO_TOLERATED)
        rules.append(Rule(max(upsample, limit.step), extra))
    return min(rules, key=lambda rule: (int(rule.positions(lengths).sum()), rule.extra))


def _without(lengths: Lengths, extra: int) -> Lengths:
    """Leave out of what is needed what extra positions give."""
    return lengths._replace(needed=lengths.needed - extra)


def set_canvas(cfg: Any, datasets: Sequence[SentencePairDataset], longest: tuple[int, int]) -> None:
    """Choose the rule of the canvas for the training pairs, write it into the model's options, and log it.

    Args:
        cfg: the options of the ``bnb_transformer``, with ``--ctc-upsample auto``.
        datasets: the pairs.
        longest: longest source and target that the training takes.

    Raises:
        ValueError: if other options say how long the canvas is, or there are no pairs.
    """
    problems = Problems("bnb_transformer")
    control = str(cfg.length_control)
    problems.require(control == "ctc", "ctc-upsample auto", "needs --length-control ctc", control)
    for name in ("ctc_extra", "ctc_canvas_length"):
        value = getattr(cfg, name)
        problems.require(value == 0, name.replace("_", "-"), "must stay 0 with --ctc-upsample auto", value)
    problems.raise_if_any()
    measured = [measure(each, longest) for each in datasets if each.target is not None]
    lengths = Lengths(*map(np.concatenate, zip(*measured, strict=True))) if measured else None
    if lengths is None or len(lengths.source) == 0:
        raise ValueError(f"--ctc-upsample auto needs training pairs of at most {longest} tokens, but there are none")
    cfg.ctc_upsample, cfg.ctc_extra = rule = choose_rule(lengths)
    positions = rule.positions(lengths)
    logger.info(
        "--ctc-upsample auto is --ctc-upsample %g --ctc-extra %d: %.2f canvas positions per source token on average, "
        "room for %.2f%% of %d training pairs",
        *(*rule, positions.sum() / lengths.source.sum()),
        *(100 * (positions >= lengths.needed).mean(), len(positions)),
    )


def smallest_value(limit: Limit, lengths: Lengths, tolerated: int = TOLERATED) -> float:
    """Smallest value of the option, a multiple of its step, that excludes at most one in ``tolerated`` pairs."""
    values = np.sort(limit.least(lengths))
    enough = float(values[len(values) - len(values) // tolerated - 1])
    if limit.step == 1:
        return enough
    return round((math.floor(enough / limit.step) + 1) * limit.step, 2)


def check_lengths(name: str, dataset: SentencePairDataset, model: Any, longest: tuple[int, int]) -> None:
    """Compare the lengths of training pairs with the model's limit; warn of some misfits, refuse many.

    Args:
        name: of the data, for messages.
        dataset: the pairs.
        model: the options of the ``bnb_transformer``.
        longest: longest source and target that the training takes.

    Raises:
        ValueError: if more than half of the pairs do not fit, with the smallest sufficient value of the option.
    """
    lengths = measure(dataset, longest)
    if len(lengths.source) == 0:
        return
    field = limiting_option(model)
    if field == "ctc_upsample":
        lengths = _without(lengths, model.ctc_extra)
    limit, value = LIMITS[field], getattr(model, field)
    count, misfits = len(lengths.source), int((~limit.fits(lengths, value)).sum())
    if misfits <= count // TOLERATED:
        return
    option, read = f"--{field.replace('_', '-')}", f"{count:,} training pairs"
    if len(dataset) > SAMPLE:
        read += f", evenly spaced among {len(dataset):,},"
    found = f"{misfits / count:.1%} of {read} {limit.fault}"
    wanted = f"{smallest_value(limit, lengths):g}"
    if misfits > count / REFUSED:
        raise ValueError(f"{name}: {option} must be at least {wanted}, but is {value:g}: {found}")
    logger.warning("%s: with %s %g, %s; with %s %s, at most 1%% would", name, option, value, found, option, wanted)
