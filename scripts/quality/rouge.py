"""ROUGE of the comparison's systems."""

from collections.abc import Mapping, Sequence

from .means import MeanFigures, summarise
from .systems import COPY

TESTED = "rougeL"


def measure_rouge(
    translations: Mapping[str, Sequence[str]],
    sources: Sequence[str],
    references: Sequence[str],
    baseline: str,
    samples: int,
    seed: int,
) -> tuple[dict[str, MeanFigures], str]:
    """Score the systems, and the source copied.

    Args:
        translations: each system's output.
        sources: raw source text.
        references: raw references.
        baseline: the system that the others are compared with.
        samples: how many samples of the test set to draw.
        seed: seed of the drawing.

    Returns:
        Figures by name, F1 in percent by rouge-score's names, and what they depend on.
    """
    from bnb_fairseq.metrics.rouge import ROUGE_TYPES, Rouge  # loads fairseq and NLTK

    rouge = Rouge()
    scores = {name: rouge.scores(lines, references) for name, lines in {**translations, COPY: sources}.items()}
    figures = summarise(scores, ROUGE_TYPES, TESTED, list(translations), baseline, samples, seed)
    return figures, rouge.signature
