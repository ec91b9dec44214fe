"""Long texts, split at sentence ends."""

import random
import time
from collections.abc import Callable

import pytest

from bnb_fairseq.splitting import Piece, TooLongError, join, split


def words(text: str) -> int:
    return len(text.split())


def first_is_too_long() -> Callable[[str], int]:
    """Count 2 for the first text, which is the whole one, and then 1."""
    counts = iter([2])
    return lambda text: next(counts, 1)


def test_what_fits_is_left_alone() -> None:
    text = " One. Two.\u2028Three. "
    assert split(text, words, 3) == [Piece(text)]
    assert join([Piece(text)], ["x "]) == "x "
    assert split("", words, 0) == [Piece("")]


def test_one_sentence_a_piece() -> None:
    pieces = split("  Dr. Smith wrote 3.5 lines.\u00a0 Who\tread\x85them?\n\nMr. Jones, e.g. his son! ", words, 5)
    assert pieces == [
        Piece("Dr. Smith wrote 3.5 lines.", "", 0),
        Piece("Who\tread\x85them?", "\u00a0 ", 5),
        Piece("Mr. Jones, e.g. his son!", "\n\n", 8),
    ]
    assert join(pieces, ["A.", "B?", "C!"]) == "A.\u00a0 B?\n\nC!"
    assert join(pieces, ["A.", "", "C!"]) == "A.\n\nC!"
    assert join(pieces, ["", "B?", "C!"]) == "B?\n\nC!"


def test_no_white_space_between_sentences() -> None:
    pieces = split("他来了。她走了。", len, 4, "zh")
    assert pieces == [Piece("他来了。", "", 0), Piece("她走了。", "", 0)]
    assert join(pieces, ["He came.", "She left."]) == "He came. She left."
    assert join(pieces, ["彼は来た。", "彼女は去った。"]) == "彼は来た。彼女は去った。"


def test_a_sentence_that_does_not_fit() -> None:
    with pytest.raises(TooLongError, match=r"^a sentence of the text has 4 tokens, but the model reads at most 3$"):
        split("One two. One two three. One two three four. One two.", words, 3)
    with pytest.raises(TooLongError, match=r"^the text has 1,200 tokens, but the model reads at most 1,000$"):
        split("word " * 1200, words, 1000)


@pytest.mark.parametrize("language", ["en", "de", "ja", "ar", "src"])
def test_nothing_is_lost(language: str) -> None:
    rng = random.Random(language)
    parts = [
        *"aB. ?!\t\"')(\n\r\x0b\x1c\x85\u2028\u3000\xa0\x00\ufffd\ud800é字。؟🙂",
        "Dr.",
        "3.5",
        "V\u2028",
        "(1) ",
        ". . .",
    ]
    most = 0
    for _ in range(500):
        text = "".join(rng.choice(parts) for _ in range(rng.randint(0, 60)))
        pieces = split(text, first_is_too_long(), 1, language)
        assert "".join(piece.space + piece.text for piece in pieces) == text.strip()
        place = len(text) - len(text.lstrip())
        for piece in pieces:
            place += len(piece.space)
            assert piece.text == piece.text.strip() != ""
            assert piece.space.strip() == ""
            assert piece.first_word == len(f"{text[:place]}x".split()) - 1
            place += len(piece.text)
        most = max(most, len(pieces))
    assert most > 5


def test_a_long_text_takes_no_time() -> None:
    text = "Open the file. " * 20_000
    began = time.monotonic()
    pieces = split(text, words, 3)
    joined = join(pieces, [piece.text for piece in pieces])
    assert time.monotonic() - began < 5
    assert joined == text.strip()
