"""Options of decoding, read from fairseq's generation options; those that no generator would read are refused."""

from math import isfinite
from typing import Any, NamedTuple

from ..problems import Problems

# fairseq's generation options without a meaning in a parallel pass, and their neutral values.
UNUSED_OPTIONS = {
    "iter_decode_eos_penalty": 0.0,
    "lm_path": None,  # fairseq loads it as a neural model
    "prefix_size": 0,
    "sampling": False,
    "constraints": None,
    "print_alignment": None,
    "replace_unk": None,
    "score_reference": False,
    "no_repeat_ngram_size": 0,
    "diverse_beam_groups": -1,
    "match_source_len": False,
    "lenpen": 1.0,
    "unkpen": 0.0,
    "unnormalized": False,
    "temperature": 1.0,
    "min_len": 1,
    "max_len_a": 0.0,
    "max_len_b": 200,
}

RERANKER = "iter_decode_with_external_reranker"
RESCORING = ("ctc_lm_path", "ctc_lm_weight", "ctc_token_bonus")  # of an autoregressive model's n-best list
# Of fairseq's SequenceGenerator: option -> the option that it refines, and its neutral value.
DETAILS = {
    "sampling_topk": ("sampling", -1),
    "sampling_topp": ("sampling", -1.0),
    "diverse_beam_strength": ("diverse_beam_groups", 0.5),
}


class GeneratorOptions(NamedTuple):
    """Options of decoding.

    Attributes:
        max_iter: refinement passes after pass 0 (``--iter-decode-max-iter``).
        force_max_iter: run all of them even if the text no longer changes (``--iter-decode-force-max-iter``).
        retain_history: keep every pass's text (``--retain-iter-history``).
        canvases: canvases of different length for each sentence (``--iter-decode-with-beam``).
        nbest: hypotheses to return for each sentence (``--nbest``).
        rerank: a second, autoregressive checkpoint chooses (``--iter-decode-with-external-reranker``).
        ctc_beam: texts that the prefix beam search keeps; 0: the most probable alignment decides (``--ctc-beam``).
        ctc_beam_symbols: symbols of a canvas position that the search reads (``--ctc-beam-symbols``).
        ctc_lm_path: n-gram model of the search (``--ctc-lm-path``).
        ctc_lm_weight: its weight (``--ctc-lm-weight``).
        ctc_token_bonus: gain of each token in the search (``--ctc-token-bonus``).
        ctc_blank_penalty: subtracted from the blank's logit (``--ctc-blank-penalty``).
    """

    max_iter: int = 0
    force_max_iter: bool = False
    retain_history: bool = False
    canvases: int = 1
    nbest: int = 1
    rerank: bool = False
    ctc_beam: int = 0
    ctc_beam_symbols: int = 10
    ctc_lm_path: str | None = None
    ctc_lm_weight: float = 0.0
    ctc_token_bonus: float = 0.0
    ctc_blank_penalty: float = 0.0


SEARCH_OPTIONS = {
    name: default for name, default in GeneratorOptions._field_defaults.items() if name.startswith("ctc_")
}


def search_options(args: Any, task: Any) -> dict[str, Any]:
    """Values of ``SEARCH_OPTIONS``: Python code may set them in fairseq's options ``args``, commands in the task's."""
    given = {name: getattr(args, name, None) for name in SEARCH_OPTIONS}
    return {
        name: getattr(task, name, default) if given[name] is None else given[name]
        for name, default in SEARCH_OPTIONS.items()
    }


def generator_options(args: Any, task: Any = None) -> GeneratorOptions:
    """Options of decoding, from fairseq's and the task's; a ValueError lists those out of range or without effect here.

    ``args`` is fairseq's generation config, or a namespace with some of its fields. Its search options override those
    of ``task``, such as ``--ctc-beam``; None: their defaults.
    """
    problems = [
        f"--{name.replace('_', '-')} {getattr(args, name)}"
        for name, neutral in UNUSED_OPTIONS.items()
        if getattr(args, name, neutral) not in (neutral, None)
    ]
    if problems:
        raise ValueError(f"a non-autoregressive model decodes in parallel and cannot use {', '.join(problems)}")
    options = GeneratorOptions(
        getattr(args, "iter_decode_max_iter", 0),
        bool(getattr(args, "iter_decode_force_max_iter", False)),
        bool(getattr(args, "retain_iter_history", False)),
        getattr(args, "iter_decode_with_beam", 1),
        getattr(args, "nbest", 1),
        bool(getattr(args, "iter_decode_with_external_reranker", False)),
        **search_options(args, task),
    )
    _check(options)
    return options


def _check(options: GeneratorOptions) -> None:
    """Refuse numbers out of range and options that lack another, all at once."""
    problems = Problems("decoding")
    problems.require(options.max_iter >= 0, "iter-decode-max-iter", "must not be negative", options.max_iter)
    problems.require(options.canvases >= 1, "iter-decode-with-beam", "must be at least 1", options.canvases)
    problems.require(options.nbest >= 1, "nbest", "must be at least 1", options.nbest)
    problems.require(options.ctc_beam >= 0, "ctc-beam", "must not be negative", options.ctc_beam)
    problems.require(options.ctc_beam_symbols >= 1, "ctc-beam-symbols", "must be at least 1", options.ctc_beam_symbols)
    finite = isfinite(options.ctc_blank_penalty)
    problems.require(finite, "ctc-blank-penalty", "must be finite", options.ctc_blank_penalty)
    if options.ctc_beam > 0:
        rule = "must be 0 beside --ctc-beam, which searches one pass"
        problems.require(options.max_iter == 0, "iter-decode-max-iter", rule, options.max_iter)
    else:
        for name in ("ctc_lm_path", "ctc_token_bonus"):
            value, neutral = getattr(options, name), SEARCH_OPTIONS[name]
            problems.require(value == neutral, name.replace("_", "-"), "must stand beside --ctc-beam", value)
        if options.nbest == 1:  # an n-best list may come from a search, too
            symbols, default = options.ctc_beam_symbols, SEARCH_OPTIONS["ctc_beam_symbols"]
            problems.require(symbols == default, "ctc-beam-symbols", "must stand beside --ctc-beam", symbols)
    if options.ctc_lm_path is None:
        problems.require(
            options.ctc_lm_weight == 0, "ctc-lm-weight", "must stand beside --ctc-lm-path", options.ctc_lm_weight
        )
    problems.raise_if_any()


def rescoring_options(args: Any, task: Any) -> GeneratorOptions:
    """Check fairseq's generation options ``args`` and the task's for autoregressive models.

    Returns those of the n-best list's rescoring. Raises ValueError, naming each option that has no effect, is out of
    range, or needs words of the source.
    """
    values = search_options(args, task)
    changed = [name for name, value in values.items() if value != SEARCH_OPTIONS[name]]
    found = [f"--{name.replace('_', '-')} {values[name]}" for name in changed if name not in RESCORING]
    if getattr(args, RERANKER, False):
        found.append(f"--{RERANKER.replace('_', '-')} True")
    if found:
        raise ValueError(f"an autoregressive model writes word by word and cannot use {', '.join(found)}")
    replacement = getattr(args, "replace_unk", None)
    if replacement not in (None, False):
        raise ValueError(
            f"--replace-unk must not be set with --task {task._name}, whose data have no words to copy, but is "
            f"{replacement!r}"
        )
    rescoring = GeneratorOptions(**{name: values[name] for name in RESCORING})
    _check_autoregressive(args, rescoring)
    return rescoring


def _check_autoregressive(args: Any, rescoring: GeneratorOptions) -> None:
    """Refuse numbers out of range, and options without the one that they refine, all at once."""
    problems = Problems("decoding")
    beam, nbest = getattr(args, "beam", 5), getattr(args, "nbest", 1)
    problems.require(beam >= 1, "beam", "must be at least 1", beam)
    problems.require(1 <= nbest <= max(beam, 1), "nbest", f"must be from 1 to --beam {beam}", nbest)
    weight, path, bonus = rescoring.ctc_lm_weight, rescoring.ctc_lm_path, rescoring.ctc_token_bonus
    problems.require(weight == 0 or path is not None, "ctc-lm-weight", "must stand beside --ctc-lm-path", weight)
    rescores = path is not None or bonus != 0
    problems.require(
        beam > 1 or not rescores, "beam", "must be at least 2 for --ctc-lm-path or --ctc-token-bonus", beam
    )
    for name, (other, neutral) in DETAILS.items():
        value, chosen = getattr(args, name, neutral), getattr(args, other, False)
        rule = f"needs --{other.replace('_', '-')}"
        problems.require(value == neutral or (chosen is not False and chosen > 0), name.replace("_", "-"), rule, value)
    problems.raise_if_any()
