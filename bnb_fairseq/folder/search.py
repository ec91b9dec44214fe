"""``search.json`` of a model folder: the options that a translation has unless it is asked for others."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .manifest import SEARCH, read_json

PARALLEL_OPTIONS: dict[str, Any] = {  # with the values of one pass, best alignment
    "iter_decode_max_iter": 0,
    "iter_decode_force_max_iter": False,
    "iter_decode_with_beam": 1,
    "ctc_beam": 0,
    "ctc_beam_symbols": 10,
    "ctc_lm_weight": 0.0,
    "ctc_token_bonus": 0.0,
    "glossary_bonus": 6.0,  # for each symbol of a term; read where a glossary is given
}
AUTOREGRESSIVE_OPTIONS: dict[str, Any] = {"beam": 5, "lenpen": 1.0, "max_len_a": 0.0, "max_len_b": 200}
CALIBRATION = "calibration"


def read_search(folder: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``search.json``.

    Args:
        folder: the model folder.
        known: the options that may stand there, with values of their types.

    Returns:
        The options, and the calibration of confidence if there is one.

    Raises:
        ValueError: if an option is unknown or of another type.
    """
    path = folder / SEARCH
    values = read_json(path)
    check_options({name: value for name, value in values.items() if name != CALIBRATION}, known, str(path))
    calibration = values.get(CALIBRATION)
    if calibration is not None:
        numbers = list(calibration.values()) if isinstance(calibration, dict) else []
        if set(calibration) != {"slope", "intercept"} or not all(isinstance(number, int | float) for number in numbers):
            raise ValueError(f"{path}: {CALIBRATION} must have the numbers slope and intercept, but is {calibration!r}")
    return values


def check_options(given: Mapping[str, Any], known: Mapping[str, Any], origin: str) -> None:
    """Check names and types of options.

    Args:
        given: what was given.
        known: the options that there are, with values of their types.
        origin: what messages begin with.

    Raises:
        ValueError: naming every option that is unknown or of another type.
    """
    problems = [f"there is no option {name}; there are {', '.join(known)}" for name in given if name not in known]
    for name, value in given.items():
        wanted = type(known.get(name))
        fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        if name in known and (not fits or (wanted is not bool and isinstance(value, bool))):
            problems.append(f"{name} must be of type {wanted.__name__}, but is {value!r}")
    if problems:
        raise ValueError(f"{origin}: {'; '.join(problems)}")


def write_search(folder: Path, values: Mapping[str, Any]) -> None:
    """Write ``search.json``."""
    (folder / SEARCH).write_text(json.dumps(dict(values), indent=2) + "\n", encoding="utf-8")
