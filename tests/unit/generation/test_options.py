"""Which of fairseq's generation options are taken, and which refused."""

import re
from argparse import Namespace

import pytest
from fairseq.dataclass.configs import GenerationConfig

from bnb_fairseq.generation.generator import UNUSED_OPTIONS, GeneratorOptions, generator_options

REFUSED: dict[str, tuple[object, str]] = {
    "nbest": (4, "--nbest 4"),
    "iter_decode_with_beam": (3, "--iter-decode-with-beam 3"),
    "iter_decode_eos_penalty": (0.5, "--iter-decode-eos-penalty 0.5"),
    "iter_decode_with_external_reranker": (True, "--iter-decode-with-external-reranker True"),
    "prefix_size": (1, "--prefix-size 1"),
    "sampling": (True, "--sampling True"),
    "lm_path": ("lm.pt", "--lm-path lm.pt"),
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


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_without_a_meaning_is_refused_by_name(name: str) -> None:
    value, words = REFUSED[name]
    message = f"a non-autoregressive model decodes in parallel and cannot use {words}"
    for options in (config(**{name: value}), Namespace(**{name: value})):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            generator_options(options)


def test_every_listed_option_is_tested_and_all_are_named_at_once() -> None:
    assert REFUSED.keys() == UNUSED_OPTIONS.keys()
    with pytest.raises(ValueError, match="cannot use") as refusal:
        generator_options(config(**{name: value for name, (value, _) in REFUSED.items()}))
    assert all(words in str(refusal.value) for _, words in REFUSED.values())


@pytest.mark.parametrize("value", [-1, -10])
def test_negative_max_iter(value: int) -> None:
    with pytest.raises(ValueError, match=f"^--iter-decode-max-iter must not be negative, but is {value}$"):
        generator_options(config(iter_decode_max_iter=value))
