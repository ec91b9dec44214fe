"""Scores of texts over a whole validation set: BLEU from n-gram counts, other metrics as means over sentences.

Counts and sums are added up over batches and workers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sacrebleu
from fairseq.logging import metrics
from fairseq.tasks.translation import EVAL_BLEU_ORDER
from sacrebleu.metrics import BLEU

from ..metrics.sentence_metric import SentenceMetric

LENGTHS = ("_bleu_sys_len", "_bleu_ref_len")
SENTENCES = "_scored_sentences"


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """n-gram counts of a batch.

    Returns ``_bleu_sys_len``, ``_bleu_ref_len``, and ``_bleu_counts_N`` and ``_bleu_totals_N`` for each order.
    """
    bleu = sacrebleu.corpus_bleu(list(hypotheses), [list(references)])
    found = dict(zip(LENGTHS, (bleu.sys_len, bleu.ref_len), strict=True))
    for order in range(EVAL_BLEU_ORDER):
        found |= {f"_bleu_counts_{order}": bleu.counts[order], f"_bleu_totals_{order}": bleu.totals[order]}
    return found


def log_bleu(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log the counts of batches or workers, and BLEU derived from all counts of the validation; nothing in training.

    fairseq's own version logs nothing if no translation has a word, as is usual early in CTC training; selecting the
    best checkpoint by BLEU then fails with a KeyError. Here such a validation has BLEU 0.
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


def mean_statistics(
    judges: Sequence[SentenceMetric], hypotheses: Sequence[str], references: Sequence[str]
) -> dict[str, float]:
    """Sums of a batch's sentence scores.

    Returns ``_scored_sentences``, and for each metric such as ``rouge1`` the sum ``_rouge1``, percent; nothing without
    judges.
    """
    found = {SENTENCES: float(len(references))} if judges else {}
    for judge in judges:
        sums = judge.scores(hypotheses, references).sum(axis=0).tolist()
        found |= {f"_{name}": total for name, total in zip(judge.names, sums, strict=True)}
    return found


def log_means(judges: Sequence[SentenceMetric], logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log means over the sentences of all batches and workers; nothing in training."""
    sentences = sum(float(log.get(SENTENCES, 0)) for log in logging_outputs)
    if sentences == 0:
        return
    for name in (name for judge in judges for name in judge.names):
        total = sum(float(log.get(f"_{name}", 0)) for log in logging_outputs)
        metrics.log_scalar(name, total / sentences, sentences, round=2)
