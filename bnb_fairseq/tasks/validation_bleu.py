"""BLEU over a whole validation set, from n-gram counts that are added up over batches and workers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sacrebleu
from fairseq.logging import metrics
from fairseq.tasks.translation import EVAL_BLEU_ORDER
from sacrebleu.metrics import BLEU

LENGTHS = ("_bleu_sys_len", "_bleu_ref_len")


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Count the n-grams of a batch.

    Args:
        hypotheses: what the model wrote.
        references: what it should have written.

    Returns:
        ``_bleu_sys_len``, ``_bleu_ref_len``, and ``_bleu_counts_N`` and ``_bleu_totals_N`` for each order.
    """
    bleu = sacrebleu.corpus_bleu(list(hypotheses), [list(references)])
    found = dict(zip(LENGTHS, (bleu.sys_len, bleu.ref_len), strict=True))
    for order in range(EVAL_BLEU_ORDER):
        found |= {f"_bleu_counts_{order}": bleu.counts[order], f"_bleu_totals_{order}": bleu.totals[order]}
    return found


def log_bleu(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log the counts of some batches, and BLEU as what follows from all counts of the validation.

    fairseq's own version logs nothing where no translation has a word in it, as is usual early in CTC training; a
    training that selects its best checkpoint by BLEU then stops with a KeyError. Here such a validation has BLEU 0.

    Args:
        logging_outputs: of batches and workers, with what ``bleu_statistics`` returned; absent in training.
    """
    if not any(LENGTHS[0] in log for log in logging_outputs):
        return

    def total(name: str) -> float:
        return float(sum(log.get(name, 0) for log in logging_outputs))

    for name in LENGTHS:
        metrics.log_scalar(name, total(name))
    for name in ("_bleu_counts", "_bleu_totals"):
        metrics.log_scalar(name, np.array([total(f"{name}_{order}") for order in range(EVAL_BLEU_ORDER)]))

    def bleu(meters: Mapping[str, Any]) -> float:
        counts = [[int(n) for n in meters[name].sum] for name in ("_bleu_counts", "_bleu_totals")]
        lengths = [int(meters[name].sum) for name in LENGTHS]
        return round(float(BLEU.compute_bleu(*counts, *lengths, smooth_method="exp").score), 2)

    metrics.log_derived("bleu", bleu)
