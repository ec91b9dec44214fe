"""METEOR of the comparison's systems, where WordNet is installed."""

from collections.abc import Mapping, Sequence
from typing import Any

from .means import MeanFigures, summarise
from .systems import COPY

NAME = "meteor"


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


def measure_meteor(
    meteor: Any,
    translations: Mapping[str, Sequence[str]],
    sources: Sequence[str],
    references: Sequence[str],
    baseline: str,
    samples: int,
    seed: int,
) -> tuple[dict[str, MeanFigures], str]:
    """Score the systems, and the source copied.

    Args:
        meteor: from ``open_meteor``.
        translations: each system's output.
        sources: raw source text.
        references: raw references.
        baseline: the system that the others are compared with.
        samples: how many samples of the test set to draw.
        seed: seed of the drawing.

    Returns:
        Figures by name, percent, and what they depend on.
    """
    texts = {**translations, COPY: sources}
    scores = {name: meteor.scores(lines, references)[:, None] for name, lines in texts.items()}
    figures = summarise(scores, [NAME], NAME, list(translations), baseline, samples, seed)
    return figures, meteor.signature
