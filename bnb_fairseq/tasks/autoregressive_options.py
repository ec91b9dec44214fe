"""Options that fairseq's SequenceGenerator would ignore or fail with, and those of its n-best list's rescoring."""

from typing import Any

from ..generation.options import SEARCH_OPTIONS, GeneratorOptions, search_options
from ..problems import Problems

RERANKER = "iter_decode_with_external_reranker"
RESCORING = ("ctc_lm_path", "ctc_lm_weight", "ctc_token_bonus")
# Option -> the option that it refines, and its neutral value.
DETAILS = {
    "sampling_topk": ("sampling", -1),
    "sampling_topp": ("sampling", -1.0),
    "diverse_beam_strength": ("diverse_beam_groups", 0.5),
}


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
    _check(args, rescoring)
    return rescoring


def _check(args: Any, rescoring: GeneratorOptions) -> None:
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
