"""What the generator can be asked for, read from fairseq's generation options; those that no generator would read."""

from typing import Any, NamedTuple

from ..problems import Problems

# fairseq's generation options that mean nothing to one parallel pass, with the value that leaves them alone.
UNUSED_OPTIONS = {
    "iter_decode_eos_penalty": 0.0,
    "lm_path": None,  # fairseq loads it as a neural model of its own
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
# Of fairseq's SequenceGenerator: option -> the option that it refines, and its neutral value.
DETAILS = {
    "sampling_topk": ("sampling", -1),
    "sampling_topp": ("sampling", -1.0),
    "diverse_beam_strength": ("diverse_beam_groups", 0.5),
}


class GeneratorOptions(NamedTuple):
    """What the generator can be asked for.

    Attributes:
        max_iter: refinement passes after pass 0 (``--iter-decode-max-iter``).
        force_max_iter: run all of them even where the text no longer changes (``--iter-decode-force-max-iter``).
        retain_history: keep every pass's text (``--retain-iter-history``).
        canvases: canvases of different length for each sentence (``--iter-decode-with-beam``).
        nbest: hypotheses to return for each sentence (``--nbest``).
        rerank: a second, autoregressive checkpoint chooses (``--iter-decode-with-external-reranker``).
        ctc_beam: texts that the prefix beam search keeps; 0: the most probable alignment decides (``--ctc-beam``).
        ctc_beam_symbols: symbols of a canvas position that the search reads (``--ctc-beam-symbols``).
        ctc_lm_path: n-gram model of the search (``--ctc-lm-path``).
        ctc_lm_weight: its weight (``--ctc-lm-weight``).
        ctc_token_bonus: what each token adds to a text's score in the search (``--ctc-token-bonus``).
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


SEARCH_OPTIONS = {
    name: default for name, default in GeneratorOptions._field_defaults.items() if name.startswith("ctc_")
}


def search_options(args: Any, task: Any) -> dict[str, Any]:
    """Read the options of the search: on a command line they are the task's, in Python they may stand beside fairseq's.

    Args:
        args: fairseq's generation config, or a namespace with some of its fields.
        task: the task's options, or None.

    Returns:
        The value of each of ``SEARCH_OPTIONS``.
    """
    given = {name: getattr(args, name, None) for name in SEARCH_OPTIONS}
    return {
        name: getattr(task, name, default) if given[name] is None else given[name]
        for name, default in SEARCH_OPTIONS.items()
    }


def generator_options(args: Any, task: Any = None) -> GeneratorOptions:
    """Read fairseq's generation options and the task's.

    Args:
        args: fairseq's generation config, or a namespace with some of its fields.
        task: the task's options, ``--ctc-beam`` and its kin, which those of ``args`` override; None: their defaults.

    Returns:
        Plain values.

    Raises:
        ValueError: if an option is set that this generator would have to ignore, or is out of range.
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
    """Refuse numbers that are out of range and options that miss another, all at once."""
    problems = Problems("decoding")
    problems.require(options.max_iter >= 0, "iter-decode-max-iter", "must not be negative", options.max_iter)
    problems.require(options.canvases >= 1, "iter-decode-with-beam", "must be at least 1", options.canvases)
    problems.require(options.nbest >= 1, "nbest", "must be at least 1", options.nbest)
    problems.require(options.ctc_beam >= 0, "ctc-beam", "must not be negative", options.ctc_beam)
    problems.require(options.ctc_beam_symbols >= 1, "ctc-beam-symbols", "must be at least 1", options.ctc_beam_symbols)
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


def refuse_unused_options(args: Any, task: Any) -> None:
    """Check fairseq's generation options ``args`` and the task's for autoregressive models.

    Raises ValueError, naming each option that has no effect, is out of range, or needs words of the source.
    """
    values = search_options(args, task)
    found = [f"--{name.replace('_', '-')} {value}" for name, value in values.items() if value != SEARCH_OPTIONS[name]]
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
    _check_autoregressive(args)


def _check_autoregressive(args: Any) -> None:
    """Refuse numbers out of range, and options without the one that they refine, all at once."""
    problems = Problems("decoding")
    beam, nbest = getattr(args, "beam", 5), getattr(args, "nbest", 1)
    problems.require(beam >= 1, "beam", "must be at least 1", beam)
    problems.require(1 <= nbest <= max(beam, 1), "nbest", f"must be from 1 to --beam {beam}", nbest)
    for name, (other, neutral) in DETAILS.items():
        value, chosen = getattr(args, name, neutral), getattr(args, other, False)
        rule = f"needs --{other.replace('_', '-')}"
        problems.require(value == neutral or (chosen is not False and chosen > 0), name.replace("_", "-"), rule, value)
    problems.raise_if_any()
