"""Dictionaries of data and checkpoints compared by all that changes a text."""

import logging
from typing import Any

import pytest

from bnb_fairseq.data.digest import DictionaryDigest, check_same_dictionary

from ...facts import names

MINE = DictionaryDigest(4000, "0123456789abcdef", "aaaa", "bbbb", "data-bin/dict.de.txt")


def test_equal_dictionaries() -> None:
    check_same_dictionary("source", MINE, MINE._replace(origin="elsewhere/dict.de.txt"))
    assert MINE.differences(MINE._replace(origin="elsewhere/dict.de.txt")) == []


@pytest.mark.parametrize(
    ("change", "difference", "said"),
    [
        ({"sha256": "f" * 16}, "symbols", "symbols"),
        ({"size": 30522}, "symbols", "30,522 symbols"),
        ({"tokenizer": "cccc"}, "tokenizer", "tokenizers"),
        ({"spaces": ""}, "spaces", "spaces"),
    ],
)
def test_every_difference_is_refused_with_both_origins(change: dict[str, Any], difference: str, said: str) -> None:
    trained = DictionaryDigest.of_state({**MINE.state(), "origin": "old-bin/dict.de.txt", **change})
    assert MINE.differences(trained) == [difference]
    with pytest.raises(ValueError, match=names("target", "data-bin/dict.de.txt", "old-bin/dict.de.txt")) as caught:
        check_same_dictionary("target", MINE, trained)
    assert said in str(caught.value)
    with pytest.raises(ValueError, match=names("target", "old-bin/dict.de.txt", "data-bin/dict.de.txt")):
        check_same_dictionary("target", trained, MINE)


def test_training_may_go_on_with_other_spaces_only(caplog: pytest.LogCaptureFixture) -> None:
    check_same_dictionary("target", MINE, MINE._replace(spaces="", origin="old-bin/dict.de.txt"), text_may_differ=True)
    assert "old-bin/dict.de.txt" in caplog.text
    with pytest.raises(ValueError, match=names("target", "tokenizers")):
        check_same_dictionary("target", MINE, MINE._replace(spaces="", tokenizer=""), text_may_differ=True)


def test_checkpoints_of_earlier_versions(caplog: pytest.LogCaptureFixture) -> None:
    trained = DictionaryDigest.of_state({"size": 4000, "sha256": MINE.sha256})
    with caplog.at_level(logging.WARNING):
        check_same_dictionary("target", MINE, trained)
    assert "target" in caplog.text and MINE.origin in caplog.text
    with pytest.raises(ValueError, match=names("target", "symbols")):
        check_same_dictionary("target", MINE, trained._replace(size=3999))


def test_a_digest_is_kept_in_a_checkpoint() -> None:
    assert DictionaryDigest.of_state(MINE.state()) == MINE
