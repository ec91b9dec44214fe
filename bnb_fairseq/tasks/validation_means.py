"""Means of sentence scores over a whole validation set, from sums and a count that are added up over batches."""

from collections.abc import Mapping, Sequence
from typing import Any

from fairseq.logging import metrics

from ..metrics.sentence_metric import SentenceMetric

SENTENCES = "_scored_sentences"


def mean_statistics(
    judges: Sequence[SentenceMetric], hypotheses: Sequence[str], references: Sequence[str]
) -> dict[str, float]:
    """Sum up the scores of a batch.

    Args:
        judges: score its sentences.
        hypotheses: what the model wrote.
        references: what it should have written.

    Returns:
        ``_scored_sentences``, and for each metric such as ``rouge1`` the sum ``_rouge1``, percent; nothing without
        judges.
    """
    found = {SENTENCES: float(len(references))} if judges else {}
    for judge in judges:
        sums = judge.scores(hypotheses, references).sum(axis=0).tolist()
        found |= {f"_{name}": total for name, total in zip(judge.names, sums, strict=True)}
    return found


def log_means(judges: Sequence[SentenceMetric], logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log the means of some batches, weighted by their sentences: what the validation shows is that of all sentences.

    Args:
        judges: those of ``mean_statistics``.
        logging_outputs: of batches and workers, with what that returned; absent in training.
    """
    sentences = sum(float(log.get(SENTENCES, 0)) for log in logging_outputs)
    if sentences == 0:
        return
    for name in (name for judge in judges for name in judge.names):
        total = sum(float(log.get(f"_{name}", 0)) for log in logging_outputs)
        metrics.log_scalar(name, total / sentences, sentences, round=2)
