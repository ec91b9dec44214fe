"""METEOR over a whole validation set, from a sum and a count that are added up over batches and workers."""

from collections.abc import Mapping, Sequence
from typing import Any

from fairseq.logging import metrics

from ..metrics.meteor import Meteor

NAME = "meteor"
SUM, SENTENCES = "_meteor", "_meteor_sentences"


def meteor_statistics(meteor: Meteor, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Sum up METEOR over the sentences of a batch.

    Args:
        meteor: scores them.
        hypotheses: what the model wrote.
        references: what it should have written.

    Returns:
        ``_meteor_sentences``, and ``_meteor``, the sum in percent.
    """
    return {SENTENCES: float(len(references)), SUM: float(meteor.scores(hypotheses, references).sum())}


def log_meteor(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log the mean of some batches, weighted by their sentences: what the validation shows is that of all sentences.

    Args:
        logging_outputs: of batches and workers, with what ``meteor_statistics`` returned; absent in training.
    """
    sentences = sum(float(log.get(SENTENCES, 0)) for log in logging_outputs)
    if sentences:
        total = sum(float(log.get(SUM, 0)) for log in logging_outputs)
        metrics.log_scalar(NAME, total / sentences, sentences, round=2)


def check_best_metric(best: str, asked: bool, meteor: Meteor | None) -> None:
    """See that METEOR will be there where it is to choose the best checkpoint.

    Args:
        best: ``--best-checkpoint-metric``.
        asked: ``--eval-meteor``.
        meteor: METEOR, if it could be loaded.

    Raises:
        ValueError: if it will not, which fairseq would only find after the first validation.
    """
    if best != NAME or meteor is not None:
        return
    if not asked:
        raise ValueError("--best-checkpoint-metric meteor needs --eval-meteor, which is not set")
    raise ValueError(
        "--best-checkpoint-metric meteor needs WordNet, which NLTK does not find: python -m nltk.downloader wordnet"
    )
