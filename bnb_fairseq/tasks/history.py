"""The passes of a refinement, for people to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..data.dictionary import BnbDictionary


def print_history(
    sample: Mapping[str, Any],
    hypotheses: Sequence[Sequence[Mapping[str, Any]]],
    dictionaries: tuple[BnbDictionary, BnbDictionary],
) -> None:
    """Print the passes of the best text of each sentence, if its history was kept.

    For each sentence a line ``E-S`` with its source and a line ``E-N`` for pass N, detokenised, tab-separated. Only
    ``fairseq-interactive`` needs it: its batches have no ids, and ``fairseq-generate`` prints the history itself.

    Args:
        sample: the batch.
        hypotheses: of each sentence, the best first.
        dictionaries: of source and target.
    """
    if "id" in sample:
        return
    source_dictionary, target_dictionary = dictionaries
    for source, candidates in zip(sample["net_input"]["src_tokens"], hypotheses, strict=True):
        if history := candidates[0].get("history"):
            print(f"E-S\t{source_dictionary.text(source, str(source_dictionary.unk_word))}")
            for number, step in enumerate(history):
                print(f"E-{number}\t{target_dictionary.text(step['tokens'], str(target_dictionary.unk_word))}")
