"""Metrics that are the mean of a score of each sentence, with a paired bootstrap like that of BLEU."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from report_translation import Significance

from .systems import COPY

TESTED_MEANS = {"rouge": "rougeL", "meteor": "meteor"}  # metrics of this kind, and which of their means is tested


class MeanFigures(NamedTuple):
    """Such a metric, or several of one kind, of a system.

    Attributes:
        means: over the sentences, percent, by name.
        bootstrap: what the paired bootstrap says of the one that is tested; None for what is no system.
    """

    means: Mapping[str, float]
    bootstrap: Significance | None

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**self.means, "bootstrap": self.bootstrap and self.bootstrap._asdict()}


def open_meteor() -> tuple[Any, str]:
    """Load METEOR.

    Returns:
        METEOR and an empty text; or None and why it is left out.
    """
    from bnb_fairseq.metrics.meteor import Meteor, WordNetMissingError  # loads fairseq and NLTK

    try:
        return Meteor(), ""
    except WordNetMissingError as error:
        return None, str(error)


def open_rouge() -> Any:
    """Load ROUGE."""
    from bnb_fairseq.metrics.rouge import Rouge  # loads fairseq and NLTK

    return Rouge()


def measure_means(
    metric: Any,
    tested: str,
    translations: Mapping[str, Sequence[str]],
    sources: Sequence[str],
    references: Sequence[str],
    baseline: str,
    samples: int,
    seed: int,
) -> dict[str, MeanFigures]:
    """Score the systems, and the source copied.

    Args:
        metric: a ``SentenceMetric`` of bnb_fairseq.
        tested: the one of its names that the bootstrap is of.
        translations: each system's output.
        sources: raw source text.
        references: raw references.
        baseline: the system that the others are compared with.
        samples: how many samples of the test set to draw.
        seed: seed of the drawing.

    Returns:
        Figures by what was scored.
    """
    scores = {name: metric.scores(lines, references) for name, lines in {**translations, COPY: sources}.items()}
    column = metric.names.index(tested)
    tests = compare_means({name: scores[name][:, column] for name in translations}, baseline, samples, seed)
    return {
        name: MeanFigures(dict(zip(metric.names, found.mean(axis=0).tolist(), strict=True)), tests.get(name))
        for name, found in scores.items()
    }


def compare_means(
    scores: Mapping[str, NDArray[np.float64]], baseline: str, samples: int, seed: int
) -> dict[str, Significance]:
    """Test the mean score of every system against the baseline's, by the paired bootstrap that sacrebleu has for BLEU.

    Args:
        scores: each system's scores, one a sentence.
        baseline: the system that the others are compared with.
        samples: how many samples of the sentences to draw.
        seed: seed of the drawing.

    Returns:
        The result for each system.
    """
    sentences = len(scores[baseline])
    draws = np.random.default_rng(seed).choice(sentences, size=(samples, sentences), replace=True)
    drawn = {name: of_system[draws].mean(axis=1) for name, of_system in scores.items()}
    outside = samples // 40  # samples left out at either end: 95% stay
    found = {}
    for name, means in drawn.items():
        ranked = np.sort(means)
        interval = (ranked[samples - 1 - outside] - ranked[outside]) / 2
        apart = np.abs(means - drawn[baseline])
        observed = abs(scores[name].mean() - scores[baseline].mean())
        beyond = int((apart - apart.mean() > observed).sum())
        # Where no sample tells the two apart there is nothing that p could be the probability of.
        p_value = None if name == baseline or not apart.any() else (beyond + 1) / (samples + 1)
        found[name] = Significance(float(means.mean()), float(interval), p_value)
    return found
