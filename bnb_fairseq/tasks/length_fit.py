"""Training pairs whose target is longer than the model can write, found before the training.

Under CTC such a pair has an infinite loss, which is dropped: if the canvas is too short for all targets, the loss is 0.
A length classifier gives such a pair the last class of its range.
"""

import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.pair_dataset import SentencePairDataset
from ..modules.canvas import upsampled_lengths

SAMPLE = 20_000  # pairs read of more, evenly spaced
REFUSED, TOLERATED = 2, 100  # one misfit in so many pairs is no error; no warning
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


def smallest_value(limit: Limit, lengths: Lengths) -> float:
    """Smallest value of the option, a multiple of its step, that excludes no more pairs than tolerated."""
    values = np.sort(limit.least(lengths))
    enough = float(values[len(values) - len(values) // TOLERATED - 1])
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
