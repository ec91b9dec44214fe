"""Text, n-best lists and JSON of translations."""

import json
import math

import pytest

from bnb_fairseq.bulk.forms import JSONL, NBEST, PLAIN, lines

from .fake_translator import FakeTranslation

OTHER = FakeTranslation("c\u2028d", -2.0, ["c", "d"], [0.1, 0.2], [[0], [1]])
GOOD = FakeTranslation("a\nb", -0.123456789, ["a", "##b\x85"], [1 / 3, math.nan], [[0], [1, 2]], [OTHER])
BAD = FakeTranslation(error="too\nlong")


def test_plain() -> None:
    assert lines(PLAIN, 7, GOOD, GOOD.text, 1) == ["a b"]
    assert lines(PLAIN, 7, BAD, "the source\r", 1) == ["the source "]


def test_nbest() -> None:
    assert lines(NBEST, 7, GOOD, GOOD.text, 2) == ["7 ||| a b ||| -0.123457", "7 ||| c d ||| -2.000000"]
    assert lines(NBEST, 8, BAD, "", 2) == ["8 |||  ||| -inf"]


@pytest.mark.parametrize("nbest", [1, 2])
def test_jsonl(nbest: int) -> None:
    (line,) = lines(JSONL, 7, GOOD, GOOD.text, nbest)
    assert len(line.splitlines()) == 1
    row = json.loads(line)
    other = {"text": "c d", "score": -2.0, "tokens": ["c", "d"], "confidence": [0.1, 0.2], "alignment": [[0], [1]]}
    assert row.pop("alternatives", None) == ([other] if nbest == 2 else None)
    assert row == {
        "text": "a b",
        "score": -0.123457,
        "tokens": ["a", "##b\x85"],
        "confidence": [0.333333, None],
        "alignment": [[0], [1, 2]],
    }


def test_jsonl_of_an_error() -> None:
    (line,) = lines(JSONL, 7, BAD, "the source", 1)
    row: dict[str, object] = {
        "text": "the source",
        "score": None,
        "tokens": [],
        "confidence": [],
        "alignment": [],
        "error": "too\nlong",
    }
    assert json.loads(line) == row


def test_no_such_form() -> None:
    with pytest.raises(ValueError, match="form must be one of plain, nbest, jsonl, but is xml"):
        lines("xml", 0, GOOD, "a", 1)
