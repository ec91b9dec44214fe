"""``search.json`` of a model folder: default options of a translation."""

import json
from collections.abc import Collection, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from ..problems import unknown_option
from .manifest import SEARCH, read_json

PARALLEL_OPTIONS: dict[str, Any] = {  # values of one pass, best alignment
    "iter_decode_max_iter": 0,
    "iter_decode_force_max_iter": False,
    "iter_decode_with_beam": 1,
    "ctc_beam": 0,
    "ctc_beam_symbols": 10,
    "ctc_lm_weight": 0.0,
    "ctc_token_bonus": 0.0,
    "ctc_blank_penalty": 0.0,
    "glossary_bonus": 6.0,  # for each symbol of a term; read only with a glossary
}
# Options that the canvas depends on, with or without a search of texts
OF_CANVAS = ("iter_decode_max_iter", "iter_decode_force_max_iter", "ctc_blank_penalty")
AUTOREGRESSIVE_OPTIONS: dict[str, Any] = {
    "beam": 5,
    "lenpen": 1.0,
    "max_len_a": 0.0,
    "max_len_b": 200,
    "ctc_lm_weight": 0.0,  # of the n-gram model that the n-best list is rescored with
    "ctc_token_bonus": 0.0,
}
CALIBRATION = "calibration"
SLOPE, INTERCEPT = "slope", "intercept"
LARGEST = 10_000  # whole number in a file: beams and passes take memory and time


def read_search(folder: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``search.json``.

    Args:
        folder: the model folder.
        known: the options allowed, with values of their types.

    Returns:
        The options, and the calibration of confidence if there is one.

    Raises:
        ValueError: if an option is unknown, of another type or too large.
    """
    values = read_json(folder / SEARCH)
    check_values(values, known, str(folder / SEARCH))
    return values


def check_values(values: Mapping[str, Any], known: Mapping[str, Any], origin: str) -> None:
    """Check values of ``search.json``.

    Args:
        values: the options, and perhaps the calibration.
        known: the options allowed, with values of their types.
        origin: start of messages.

    Raises:
        ValueError: if an option is unknown, of another type or too large.
    """
    options = {name: value for name, value in values.items() if name != CALIBRATION}
    check_options(options, known, origin)
    too_large = [f"{name} {value}" for name, value in options.items() if isinstance(value, int) and value > LARGEST]
    if too_large:
        raise ValueError(f"{origin}: numbers must be at most {LARGEST:,}, but are {', '.join(too_large)}")
    if CALIBRATION in values:
        _check_calibration(values[CALIBRATION], origin)


def _check_calibration(calibration: Any, origin: str) -> None:
    right = isinstance(calibration, dict) and calibration.keys() == {SLOPE, INTERCEPT}
    if not right or not all(type(number) in (int, float) and isfinite(number) for number in calibration.values()):
        raise ValueError(
            f"{origin}: {CALIBRATION} must have the numbers {SLOPE} and {INTERCEPT}, but is {calibration!r}"
        )


def check_options(
    given: Mapping[str, Any], known: Mapping[str, Any], origin: str, others: Collection[str] = ()
) -> None:
    """Check names and types of options, of ``known``, with values of their types.

    A ValueError, which begins with ``origin``, names every option that is unknown, of another type or not finite. The
    message about an unknown one may suggest ``others``, further names that the caller takes.
    """
    problems = [unknown_option(name, (*known, *others)) for name in given if name not in known]
    for name, value in given.items():
        wanted = type(known.get(name))
        fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        if name in known and (not fits or (wanted is not bool and isinstance(value, bool))):
            problems.append(f"{name} must be of type {wanted.__name__}, but is {value!r}")
        elif wanted is float and not isfinite(value):
            problems.append(f"{name} must be finite, but is {value!r}")
    if problems:
        raise ValueError(f"{origin}: {'; '.join(problems)}")


def check_beam(nbest: int, search: Mapping[str, Any]) -> None:
    """Check ``AUTOREGRESSIVE_OPTIONS`` for ``nbest`` hypotheses; a ValueError lists those out of range."""
    rescores = search["ctc_lm_weight"] != 0 or search["ctc_token_bonus"] != 0
    least = {"beam": max(nbest, 1 + rescores), "max_len_a": 0, "max_len_b": 1}
    problems = [f"{name} must be at least {n}, but is {search[name]}" for name, n in least.items() if search[name] < n]
    if problems:
        raise ValueError("; ".join(problems))


def write_search(folder: Path, values: Mapping[str, Any]) -> None:
    """Write ``search.json``."""
    (folder / SEARCH).write_text(json.dumps(dict(values), indent=2) + "\n", encoding="utf-8")
