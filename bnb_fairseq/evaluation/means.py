"""Metrics that are the mean of a score of each sentence, with a paired bootstrap like that of BLEU."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .bootstrap import Significance, compare_means
from .systems import COPY


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
    from ..metrics.meteor import Meteor, WordNetMissingError  # loads fairseq and NLTK

    try:
        return Meteor(), ""
    except WordNetMissingError as error:
        return None, str(error)


def open_rouge() -> Any:
    """Load ROUGE."""
    from ..metrics.rouge import Rouge  # loads fairseq and NLTK

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
        metric: a ``SentenceMetric``.
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
