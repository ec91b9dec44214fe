"""Translations in the forms of the answers."""

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from ..translator import Translation
from ..written import Slot, Written
from .batching import Answer

if TYPE_CHECKING:
    from .markup import Markup
    from .schemas import LibreRequest


def libre_answer(
    asked: "LibreRequest", pages: Sequence["Markup"], found: Sequence[Translation], detected: str | None
) -> dict[str, Any]:
    """Translations in LibreTranslate's form.

    Args:
        asked: the request.
        pages: the texts as HTML; none if they are plain.
        found: the translation of each text, or of each text between tags.
        detected: language of the texts where the request has none; None: it has.

    Returns:
        The answer: lists if the request has a list.
    """
    texts, others = [one.text for one in found], [[each.text for each in one.alternatives] for one in found]
    if pages:
        rest: Iterator[str] = iter(texts)
        texts = [page.fill([next(rest) for _ in page.texts]) for page in pages]
        others = [[] for _ in pages]
    answer: dict[str, Any] = {"translatedText": texts}
    if asked.alternatives:
        answer["alternatives"] = others
    if detected is not None:
        answer["detectedLanguage"] = [{"confidence": 0.0, "language": detected} for _ in texts]
    return {name: value[0] for name, value in answer.items()} if isinstance(asked.q, str) else answer


def translated(answer: Answer, begun: float) -> dict[str, Any]:
    """An answer in the form of ``schemas.Translated``.

    Args:
        answer: the answer.
        begun: when the request came, by ``time.monotonic``.

    Returns:
        The values.
    """
    one: Translation = answer.found.translation
    row: dict[str, Any] = {
        "text": one.text,
        "score": _finite(one.score) if one.error is None else None,
        "alternatives": [{"text": each.text, "score": _finite(each.score)} for each in one.alternatives],
        "tokens": [
            {"token": token, "confidence": round(confidence, 6), "word": word}
            for token, confidence, word in zip_longest(one.tokens, one.confidence, one.words)
        ],
        "alignment": one.alignment,
        "milliseconds": round((answer.at - begun) * 1000, 1),
    }
    if answer.found.written is not None:
        row["written"] = [written_row(each) for each in answer.found.written]
    if one.error is not None:
        row["error"] = one.error
    return row


def written_row(written: Written) -> dict[str, Any]:
    """The passes of a sentence in the form of ``schemas.Written``."""
    passes = [{"text": made.text, "slots": [_slot_row(slot) for slot in made.slots]} for made in written.passes]
    return {"source": written.source, "passes": passes}


def _slot_row(slot: Slot) -> dict[str, Any]:
    return {**slot._asdict(), "probability": round(slot.probability, 6)}


def _finite(number: float) -> float | None:
    """Return a number that JSON has, with six digits; None for infinity and what is no number."""
    return round(number, 6) if math.isfinite(number) else None
