"""How sure a model is of its tokens, compared with how often they are right, on a part of the data."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..engines.nar import NarEngine
from ..evaluation.calibration import calibration_error, fit_platt, rank_correlation, right_tokens
from ..generation.confidence import Platt, line_confidence
from ..tasks.text_to_text import TextToTextTask
from ..translator import SPECIAL_SYMBOLS, batches


class Calibration(NamedTuple):
    """What was fitted, and what it changes.

    Attributes:
        platt: the calibration.
        tokens: number of tokens that it was fitted to.
        before: expected calibration error of the tokens' probabilities.
        after: the same of their calibrated confidence, on the same tokens.
        correlation: rank correlation of a line's mean log-probability with its chrF.
    """

    platt: Platt
    tokens: int
    before: float
    after: float
    correlation: float

    def report(self, part: str) -> str:
        """Return a line about it, for the model card."""
        return (
            f"on {part}: expected calibration error {self.before:.3f}, calibrated {self.after:.3f} "
            f"({self.tokens:,} tokens); rank correlation of a line's confidence with its chrF {self.correlation:.2f}"
        )


def calibrate(engine: NarEngine, task: TextToTextTask, part: str, search: Mapping[str, Any]) -> Calibration:
    """Translate a part of the data, and fit the confidence of tokens to whether they are right.

    Args:
        engine: the model.
        task: has the data.
        part: name of the part, with targets.
        search: options of the translation.

    Returns:
        The calibration.

    Raises:
        FileNotFoundError: if there is no such part.
        ValueError: if it has no targets or sentences, or the tokens are all right or all wrong.
    """
    task.load_dataset(part)
    dataset = task.dataset(part)
    if dataset.target is None:
        raise ValueError(f"--calibrate must be a part with targets, but {part} has none")
    if not len(dataset):
        raise ValueError(f"--calibrate must be a part with sentences, but {part} is empty")
    target = engine.target
    sources = [[engine.source.bos(), *dataset.source[i].tolist()] for i in range(len(dataset))]
    lengths = [len(source) for source in sources]
    order = sorted(
        (i for i, length in enumerate(lengths) if SPECIAL_SYMBOLS < length <= engine.longest), key=lengths.__getitem__
    )
    confidences: list[float] = []
    right: list[bool] = []
    lines, texts, references = [], [], []
    for batch in batches(order, lengths, engine.batch_tokens):
        for i, (best, *_) in zip(batch, engine.hypotheses([sources[i] for i in batch], 1, search), strict=True):
            pairs = zip(best.tokens, best.scores, strict=True)
            words = [(token, math.exp(score)) for token, score in pairs if token != target.eos()]
            reference = [token for token in dataset.target[i].tolist() if token != target.eos()]
            right += right_tokens([token for token, _ in words], reference)
            confidences += [probability for _, probability in words]
            lines.append(line_confidence(best.scores))
            texts.append(target.text([token for token, _ in words]))
            references.append(target.text(reference))
    try:
        platt = fit_platt(confidences, right)
    except ValueError as error:
        raise ValueError(f"--calibrate {part}: {error}") from error
    before, after = (calibration_error(values, right) for values in (confidences, platt.calibrated(confidences)))
    return Calibration(platt, len(right), before, after, rank_correlation(lines, texts, references))
