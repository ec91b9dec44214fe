"""Options given in Python: names, types, and what has no effect."""

from pathlib import Path
from typing import Any

import pytest
from fairseq.dataclass.configs import GenerationConfig

from bnb_fairseq.generation.options import SEARCH_OPTIONS, UNUSED_OPTIONS
from bnb_fairseq.hub.options import AUTOREGRESSIVE, DEFAULTS, PARALLEL, batch_limits, generation_options

from ...facts import names

OTHER_VALUES: dict[type, Any] = {bool: True, int: 7, float: 0.25}
ACCEPTED = {
    "nbest": 3,
    "iter_decode_max_iter": 4,
    "iter_decode_force_max_iter": True,
    "iter_decode_with_beam": 5,
    "iter_decode_with_external_reranker": True,
    "retain_iter_history": True,
    "ctc_beam": 10,
    "ctc_beam_symbols": 20,
    "ctc_lm_path": "lm.arpa",
    "ctc_lm_weight": 0.4,
    "ctc_token_bonus": 2.0,
}


def another_value(name: str) -> Any:
    kind = {**GenerationConfig.__annotations__, "ctc_lm_path": str}.get(name, type(SEARCH_OPTIONS.get(name)))
    return OTHER_VALUES.get(kind, "soft")


def test_all_of_a_parallel_model() -> None:
    assert generation_options(ACCEPTED, parallel=True) == ACCEPTED
    assert set(ACCEPTED) == set(PARALLEL)


def test_all_of_an_autoregressive_model() -> None:
    given = {name: another_value(name) for name in AUTOREGRESSIVE}
    assert generation_options(given, parallel=False) == given
    assert given["beam"] == 7
    assert given["sampling"] is True


@pytest.mark.parametrize("parallel", [True, False])
def test_every_other_option_of_fairseq_is_refused(parallel: bool) -> None:
    useless = set(DEFAULTS) - set(PARALLEL if parallel else AUTOREGRESSIVE)
    assert {"print_step", "retain_dropout", "lm_path", "score_reference", "lenpen_mt"} < useless
    assert ("beam" in useless) == parallel
    for name in useless:
        value = another_value(name)
        with pytest.raises(ValueError, match=names(f"{name}={value!r}")):
            generation_options({name: value}, parallel)


def test_what_the_generator_refuses_is_refused_here() -> None:
    assert not set(UNUSED_OPTIONS) & set(PARALLEL)


def test_values_that_ask_for_nothing_pass() -> None:
    given = {"beam": 1, "sampling": False, "lenpen": 1, "replace_unk": None}
    assert generation_options(given, parallel=True) == given
    with pytest.raises(ValueError, match=names("beam=5")):  # fairseq's default, but asked for
        generation_options({"beam": 5}, parallel=True)


def test_unknown_names_and_close_ones() -> None:
    with pytest.raises(ValueError, match=names("ctc_beem", "ctc_beam", "n-best", "nbest")):
        generation_options({"ctc_beem": 5, "n-best": 2}, parallel=True)
    with pytest.raises(ValueError, match=names("batchsize", "batch_size")):
        generation_options({"batchsize": 5}, True, ("batch_size",))
    with pytest.raises(ValueError, match=names("truncate_source", "from_pretrained")):
        generation_options({"truncate_source": True}, True, (), ("truncate_source",))


@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        ("ctc_beam", "5", ["integer"]),
        ("ctc_beam", 2.5, ["integer"]),
        ("ctc_beam", True, ["integer"]),
        ("nbest", None, ["integer"]),
        ("ctc_lm_weight", "0.4", ["number"]),
        ("iter_decode_force_max_iter", 1, ["True", "False"]),
        ("ctc_lm_path", 3, ["text", "None"]),
    ],
)
def test_values_of_another_type(name: str, value: object, facts: list[str]) -> None:
    with pytest.raises(ValueError, match=names(name, *facts, value)):
        generation_options({name: value}, parallel=True)


def test_values_are_converted() -> None:
    found = generation_options({"ctc_lm_path": Path("a/lm"), "ctc_token_bonus": 2}, parallel=True)
    assert found == {"ctc_lm_path": "a/lm", "ctc_token_bonus": 2.0}
    assert isinstance(found["ctc_token_bonus"], float)


def test_limits_of_a_batch() -> None:
    trained = {"batch_size": 64, "max_tokens": 4000}
    assert batch_limits({"batch_size": None, "max_tokens": None}, trained) == trained
    assert batch_limits({"batch_size": 2, "max_tokens": None}, trained) == {"batch_size": 2, "max_tokens": None}
    assert batch_limits({"batch_size": None, "max_tokens": 9}, trained) == {"batch_size": None, "max_tokens": 9}
    assert batch_limits({}, {}) == {"batch_size": 1, "max_tokens": None}
    for name in trained:
        with pytest.raises(ValueError, match=names(name, "1", "0")):
            batch_limits({name: 0}, trained)
        with pytest.raises(ValueError, match=names(name, "2")):
            batch_limits({name: "2"}, trained)  # type: ignore[dict-item]
