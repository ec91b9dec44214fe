"""ROUGE over a whole validation set, from sums and a count that are added up over batches and workers."""

from collections.abc import Mapping, Sequence
from typing import Any

from fairseq.logging import metrics

from ..metrics.rouge import ROUGE_TYPES, Rouge

SENTENCES = "_rouge_sentences"


def rouge_statistics(rouge: Rouge, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Sum up ROUGE over the sentences of a batch.

    Args:
        rouge: scores them.
        hypotheses: what the model wrote.
        references: what it should have written.

    Returns:
        ``_rouge_sentences`` and the sums ``_rouge1``, ``_rouge2`` and ``_rougeL``, percent.
    """
    sums = rouge.scores(hypotheses, references).sum(axis=0).tolist()
    return {
        SENTENCES: float(len(references)),
        **{f"_{kind}": value for kind, value in zip(ROUGE_TYPES, sums, strict=True)},
    }


def log_rouge(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log the mean of some batches, weighted by their sentences: what the validation shows is that of all sentences.

    Args:
        logging_outputs: of batches and workers, with what ``rouge_statistics`` returned; absent in training.
    """
    sentences = sum(float(log.get(SENTENCES, 0)) for log in logging_outputs)
    if sentences == 0:
        return
    for kind in ROUGE_TYPES:
        total = sum(float(log.get(f"_{kind}", 0)) for log in logging_outputs)
        metrics.log_scalar(kind, total / sentences, sentences, round=2)
