"""Options given in Python: their names and types, and which ones have an effect for a model."""

import os
from collections.abc import Collection, Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from fairseq.dataclass.configs import GenerationConfig

from ..generation.options import SEARCH_OPTIONS
from ..problems import unknown_option
from ..tasks.config import BnbTaskConfig

BATCHING = ("batch_size", "max_tokens")
PARALLEL = (
    "nbest",
    "iter_decode_max_iter",
    "iter_decode_force_max_iter",
    "iter_decode_with_beam",
    "iter_decode_with_external_reranker",
    "retain_iter_history",
    *SEARCH_OPTIONS,
)
AUTOREGRESSIVE = (
    "beam",
    "nbest",
    "max_len_a",
    "max_len_b",
    "min_len",
    "match_source_len",
    "unnormalized",
    "lenpen",
    "unkpen",
    "no_repeat_ngram_size",
    "sampling",
    "sampling_topk",
    "sampling_topp",
    "temperature",
    "diverse_beam_groups",
    "diverse_beam_strength",
    "diversity_rate",
)
HYPOTHESES_ONLY = ("retain_iter_history",)  # seen in what `generate` returns, not in a text

_FIELDS = {
    field.name: field
    for field in (
        *fields(GenerationConfig),
        *(field for field in fields(BnbTaskConfig) if field.name in SEARCH_OPTIONS),
    )
    if field.name != "_name"
}
# Values that ask for nothing: those of the command line, but one pass, and no beam in a model that has none.
DEFAULTS: dict[str, Any] = {name: field.default for name, field in _FIELDS.items()} | {"iter_decode_max_iter": 0}
_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "an integer"),
    float: (Real, "a number"),
}


def generation_options(
    given: Mapping[str, Any], parallel: bool, others: Collection[str] = (), of_loading: Collection[str] = ()
) -> dict[str, Any]:
    """Check options of generation.

    Args:
        given: values by name.
        parallel: whether the model is non-autoregressive.
        others: further names that the caller takes, for the message about an unknown one.
        of_loading: names that ``from_pretrained`` takes, for the same.

    Returns:
        The values, each of the type that its option has.

    Raises:
        ValueError: naming every option that does not exist, has no effect for the model, or is of another type.
    """
    useful = PARALLEL if parallel else AUTOREGRESSIVE
    problems = [
        f"{name} is an option of from_pretrained" if name in of_loading else unknown_option(name, (*useful, *others))
        for name in given
        if name not in _FIELDS
    ]
    values, useless = {}, []
    for name in given.keys() & _FIELDS.keys():
        try:
            values[name] = typed_value(name, given[name], _FIELDS[name].type)
        except ValueError as error:
            problems.append(str(error))
            continue
        if name not in useful and values[name] not in _harmless(name, parallel):
            useless.append(f"{name}={values[name]!r}")
    if useless:
        kind = "non-autoregressive" if parallel else "autoregressive"
        problems.append(
            f"{', '.join(sorted(useless))} would have no effect: the model is {kind} and reads {', '.join(useful)}"
        )
    if problems:
        raise ValueError("; ".join(problems))
    return values


def _harmless(name: str, parallel: bool) -> tuple[Any, ...]:
    """List the values of an option that a model can do without."""
    return (1,) if parallel and name == "beam" else (DEFAULTS[name],)


def typed_value(name: str, value: Any, kind: Any) -> Any:
    """Convert a value to the type of its option.

    Args:
        name: the option.
        value: what was given.
        kind: type of the dataclass field; anything but a number or a truth value is taken as text, or None.

    Returns:
        The value.

    Raises:
        ValueError: if it is of another type.
    """
    if kind in _KINDS:
        wanted, words = _KINDS[kind]
        if isinstance(value, wanted) and (kind is bool or not isinstance(value, bool)):
            return kind(value)
        raise ValueError(f"{name} must be {words}, but is {value!r}")
    if value is None or isinstance(value, str | os.PathLike):
        return value if value is None else os.fspath(value)
    raise ValueError(f"{name} must be text or None, but is {value!r}")


def batch_limits(given: Mapping[str, int | None], trained: Mapping[str, int | None]) -> dict[str, int | None]:
    """Choose the limits of a batch.

    Args:
        given: ``batch_size`` and ``max_tokens`` as the caller wants them; None: no wish.
        trained: the same of the training, which hold where there is no wish at all.

    Returns:
        Both limits, not both None.

    Raises:
        ValueError: if a limit is no integer, or below 1.
    """
    for name, value in given.items():
        if value is not None and typed_value(name, value, int) < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")
    chosen = given if any(value is not None for value in given.values()) else trained
    limits = {name: chosen.get(name) for name in BATCHING}
    return limits if any(limits.values()) else {**limits, "batch_size": 1}
