"""Metrics that are means of sentence scores, with a paired bootstrap like that of BLEU."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .bootstrap import Significance, compare_means
from .systems import COPY


class MeanFigures(NamedTuple):
    """Means over a system's sentences, percent, by name; and the bootstrap of the one that is tested.

    ``bootstrap`` is None for the copied source, which is no system.
    """

    means: Mapping[str, float]
    bootstrap: Significance | None

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**self.means, "bootstrap": self.bootstrap and self.bootstrap._asdict()}


def open_meteor() -> tuple[Any, str]:
    """Load METEOR; return it with an empty text, or None with the reason why it is left out."""
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
    """Score the systems, and the copied source.

    Args:
        metric: a ``SentenceMetric``.
        tested: name of its score that the bootstrap tests.
        translations: each system's output.
        sources: raw source text.
        references: raw references.
        baseline: name of the system to compare with.
        samples: samples of the test set.
        seed: of the samples.

    Returns:
        Figures by name, ``COPY`` among them.
    """
    scores = {name: metric.scores(lines, references) for name, lines in {**translations, COPY: sources}.items()}
    column = metric.names.index(tested)
    tests = compare_means({name: scores[name][:, column] for name in translations}, baseline, samples, seed)
    return {
        name: MeanFigures(dict(zip(metric.names, found.mean(axis=0).tolist(), strict=True)), tests.get(name))
        for name, found in scores.items()
    }
