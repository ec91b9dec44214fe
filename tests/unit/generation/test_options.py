"""Which of fairseq's generation options are taken, and which refused."""

import math
from argparse import Namespace
from typing import Any

import pytest
from fairseq.dataclass.configs import GenerationConfig

from bnb_fairseq.generation.options import UNUSED_OPTIONS, GeneratorOptions, generator_options
from bnb_fairseq.tasks.config import TranslationBnbConfig

from ...facts import names

REFUSED: dict[str, tuple[object, str]] = {
    "lm_path": ("lm.pt", "--lm-path lm.pt"),
    "iter_decode_eos_penalty": (0.5, "--iter-decode-eos-penalty 0.5"),
    "prefix_size": (1, "--prefix-size 1"),
    "sampling": (True, "--sampling True"),
    "constraints": ("ordered", "--constraints ordered"),
    "print_alignment": ("hard", "--print-alignment hard"),
    "replace_unk": ("@@ ", "--replace-unk @@ "),
    "score_reference": (True, "--score-reference True"),
    "no_repeat_ngram_size": (3, "--no-repeat-ngram-size 3"),
    "diverse_beam_groups": (2, "--diverse-beam-groups 2"),
    "match_source_len": (True, "--match-source-len True"),
    "lenpen": (0.6, "--lenpen 0.6"),
    "unkpen": (-1.5, "--unkpen -1.5"),
    "unnormalized": (True, "--unnormalized True"),
    "temperature": (2.0, "--temperature 2.0"),
    "min_len": (4, "--min-len 4"),
    "max_len_a": (1.2, "--max-len-a 1.2"),
    "max_len_b": (10, "--max-len-b 10"),
}


def config(**options: object) -> GenerationConfig:
    """fairseq's defaults, refinement off as the task sets it."""
    made = GenerationConfig(iter_decode_max_iter=0)
    for name, value in options.items():
        assert hasattr(made, name), name
        setattr(made, name, value)
    return made


def test_fairseqs_defaults_pass() -> None:
    assert generator_options(config()) == GeneratorOptions(0, False, False)


def test_a_namespace_with_nothing_in_it_passes() -> None:
    """What ``--eval-bleu-args '{}'`` becomes."""
    assert generator_options(Namespace()) == GeneratorOptions(0, False, False)


def test_values_are_taken() -> None:
    assert generator_options(config(iter_decode_max_iter=4)) == GeneratorOptions(4, False, False)
    assert generator_options(config(iter_decode_force_max_iter=True)) == GeneratorOptions(0, True, False)
    assert generator_options(config(retain_iter_history=True)) == GeneratorOptions(0, False, True)


def test_values_of_several_canvases_are_taken() -> None:
    found = generator_options(config(iter_decode_with_beam=5, nbest=5, iter_decode_with_external_reranker=True))
    assert found == GeneratorOptions(canvases=5, nbest=5, rerank=True)
    assert generator_options(config(iter_decode_with_beam=5)) == GeneratorOptions(canvases=5)


def test_options_of_the_search_are_taken() -> None:
    expected = {"ctc_beam": 8, "ctc_beam_symbols": 20, "ctc_token_bonus": 0.5, "ctc_lm_path": "lm", "ctc_lm_weight": 2}
    expected["ctc_blank_penalty"] = 0.7
    found = generator_options(config(), Namespace(**expected))
    assert found == GeneratorOptions(**expected)  # type: ignore[arg-type]
    assert generator_options(config(), TranslationBnbConfig()) == GeneratorOptions()
    assert generator_options(config(), Namespace(ctc_blank_penalty=1)) == GeneratorOptions(ctc_blank_penalty=1)
    found = generator_options(config(nbest=3), Namespace(ctc_beam_symbols=20))  # an n-best list comes from a search
    assert found == GeneratorOptions(nbest=3, ctc_beam_symbols=20)


def test_options_of_the_search_beside_fairseqs_come_before_the_tasks() -> None:
    """As ``Translator.translate(texts, ctc_beam=10)`` gives them."""
    task = Namespace(ctc_beam=8, ctc_token_bonus=0.5)
    found = generator_options(Namespace(ctc_beam=4, ctc_token_bonus=0.0), task)
    assert found == GeneratorOptions(ctc_beam=4)
    assert generator_options(Namespace(ctc_beam_symbols=3), task) == GeneratorOptions(
        ctc_beam=8, ctc_beam_symbols=3, ctc_token_bonus=0.5
    )
    with pytest.raises(ValueError, match=names("--ctc-beam", "-7")):
        generator_options(Namespace(ctc_beam=-7))


@pytest.mark.parametrize(
    ("options", "task", "facts"),
    [
        ({"iter_decode_with_beam": 0}, {}, ["--iter-decode-with-beam", "1", "0"]),
        ({"nbest": 0}, {}, ["--nbest", "1", "0"]),
        ({}, {"ctc_beam": -1}, ["--ctc-beam", "-1"]),
        ({}, {"ctc_beam": 2, "ctc_beam_symbols": 0}, ["--ctc-beam-symbols", "1", "0"]),
        (
            {"iter_decode_max_iter": 3},
            {"ctc_beam": 2},
            ["--iter-decode-max-iter", "0", "--ctc-beam", "3"],
        ),
        ({}, {"ctc_lm_path": "lm.pt"}, ["--ctc-lm-path", "--ctc-beam", "lm.pt"]),
        ({}, {"ctc_beam_symbols": 5}, ["--ctc-beam-symbols", "--ctc-beam", "5"]),
        ({}, {"ctc_token_bonus": 1.5}, ["--ctc-token-bonus", "--ctc-beam", "1.5"]),
        ({}, {"ctc_beam_symbols": 5}, ["--ctc-beam-symbols", "--ctc-beam", "5"]),
        ({}, {"ctc_blank_penalty": math.inf}, ["--ctc-blank-penalty", "finite", "inf"]),
        ({}, {"ctc_lm_weight": 0.5, "ctc_beam": 2}, ["--ctc-lm-weight", "--ctc-lm-path", "0.5"]),
        (
            {"nbest": 0, "iter_decode_max_iter": -1},
            {},
            ["--iter-decode-max-iter", "-1", "--nbest", "1", "0"],
        ),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], task: dict[str, Any], facts: list[str]) -> None:
    with pytest.raises(ValueError, match=names("decoding", *facts)):
        generator_options(config(**options), Namespace(**task))


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_without_a_meaning_is_refused_by_name(name: str) -> None:
    value, words = REFUSED[name]
    for options in (config(**{name: value}), Namespace(**{name: value})):
        with pytest.raises(ValueError, match=names(words)):
            generator_options(options)


def test_every_listed_option_is_tested_and_all_are_named_at_once() -> None:
    assert REFUSED.keys() == UNUSED_OPTIONS.keys()
    with pytest.raises(ValueError, match=names("--lenpen")) as refusal:
        generator_options(config(**{name: value for name, (value, _) in REFUSED.items()}))
    assert all(words in str(refusal.value) for _, words in REFUSED.values())


@pytest.mark.parametrize("value", [-1, -10])
def test_negative_max_iter(value: int) -> None:
    with pytest.raises(ValueError, match=names("decoding", "--iter-decode-max-iter", value)):
        generator_options(config(iter_decode_max_iter=value))
