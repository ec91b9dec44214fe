"""The forms that translations are written in: plain text, Moses' n-best list, and one JSON object a line."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from .lines import LINE_BREAKS, on_one_line

PLAIN, NBEST, JSONL = "plain", "nbest", "jsonl"
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in LINE_BREAKS}  # json leaves some as they are
NO_SCORE = "-inf"


class Translated(Protocol):
    """The translation of a text, as ``bnb_fairseq.translator.Translation`` has it."""

    @property
    def text(self) -> str:
        """Detokenised; empty if there is an error."""

    @property
    def score(self) -> float:
        """Log-probability that ranks it among the alternatives."""

    @property
    def tokens(self) -> Sequence[str]:
        """Symbols of the target vocabulary."""

    @property
    def confidence(self) -> Sequence[float]:
        """Probability of each token."""

    @property
    def alignment(self) -> Sequence[Sequence[int]]:
        """Indices of the source words of each target word."""

    @property
    def alternatives(self) -> "Sequence[Translated]":
        """The other translations of an n-best list, the best first."""

    @property
    def error(self) -> str | None:
        """Why there is no translation; None if there is one."""


def lines(form: str, number: int, translation: Translated, text: str, nbest: int) -> Iterable[str]:
    """Write a translation.

    Args:
        form: ``PLAIN``, ``NBEST`` or ``JSONL``.
        number: of the source line, from 0.
        translation: its translation.
        text: what to write as its text: the translation's own, or what stands for one that is missing.
        nbest: number of alternatives that were wanted, the translation included.

    Returns:
        One line; of an n-best list one for each alternative.

    Raises:
        ValueError: if there is no such form.
    """
    text = on_one_line(text)
    if form == PLAIN:
        return [text]
    if form == JSONL:
        row = _row(translation, text)
        if nbest > 1:
            row["alternatives"] = [_row(each, on_one_line(each.text)) for each in translation.alternatives]
        if translation.error is not None:
            row["error"] = translation.error
        return [json.dumps(row, ensure_ascii=False).translate(ESCAPES)]
    if form != NBEST:
        raise ValueError(f"form must be one of {PLAIN}, {NBEST}, {JSONL}, but is {form}")
    if translation.error is not None:
        return [f"{number} ||| {text} ||| {NO_SCORE}"]
    ranked = [(text, translation.score)]
    ranked += [(on_one_line(each.text), each.score) for each in translation.alternatives]
    return [f"{number} ||| {each} ||| {score:.6f}" for each, score in ranked]


def _row(translation: Translated, text: str) -> dict[str, Any]:
    return {
        "text": text,
        "score": _finite(translation.score) if translation.error is None else None,
        "tokens": list(translation.tokens),
        "confidence": [_finite(each) for each in translation.confidence],
        "alignment": [list(words) for words in translation.alignment],
    }


def _finite(number: float) -> float | None:
    """Return a number that JSON has, with six digits; None for infinity and what is no number."""
    return round(number, 6) if math.isfinite(number) else None
