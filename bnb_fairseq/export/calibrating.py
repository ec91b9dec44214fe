"""Calibration of confidence: probabilities of tokens against the share of right ones, on a part of the data."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..engines.batches import translate_ids
from ..engines.interface import Engine
from ..engines.with_fairseq import read_part
from ..evaluation.calibration import calibration_error, fit_platt, rank_correlation, right_tokens
from ..generation.confidence import Platt, line_confidence
from ..tasks.text_to_text import TextToTextTask


class Calibration(NamedTuple):
    """A fitted calibration, and its effect.

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


def calibrate(engine: Engine, task: TextToTextTask, part: str, search: Mapping[str, Any]) -> Calibration:
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
    target = engine.target
    pairs = [pair for pair in zip(*read_part(task, part, "--calibrate"), strict=True) if len(pair[0]) <= engine.longest]
    found = translate_ids(engine, [source for source, _ in pairs], search)
    confidences: list[float] = []
    right: list[bool] = []
    lines, texts, references = [], [], []
    for (_, ids), (best, *_) in zip(pairs, found, strict=True):
        if not best.tokens:
            continue
        words = [
            (token, math.exp(score))
            for token, score in zip(best.tokens, best.scores, strict=True)
            if token != target.eos()
        ]
        reference = [token for token in ids.tolist() if token != target.eos()]
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
