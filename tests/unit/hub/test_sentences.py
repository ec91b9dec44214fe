"""What may be translated from Python."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.hub.sentences import check_tokens, listed

from ...facts import names

MakeDictionary = Callable[[int], BnbDictionary]


def test_texts_are_stripped_and_stay_in_order() -> None:
    assert listed(iter(["b \n", "", "\ta\x0bc"])) == ["b", "", "a\x0bc"]
    assert listed(()) == []


@pytest.mark.parametrize(
    ("sentences", "facts"),
    [
        (None, ["sentences", "NoneType"]),
        (3, ["sentences", "int"]),
        (b"abc", ["sentences", "bytes"]),
        (["a", None], ["sentences[1]", "NoneType"]),
        (["a", "b", b"c"], ["sentences[2]", "bytes"]),
        ([["a"]], ["sentences[0]", "list"]),
    ],
)
def test_what_is_no_text(sentences: Any, facts: list[str]) -> None:
    with pytest.raises(TypeError, match=names(*facts)):
        listed(sentences)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (" a\nb", ["newline", "1"]),
        ("ab\rc", ["carriage return", "2"]),
        ("x\udc80", ["surrogate", "1"]),
    ],
)
def test_texts_that_are_no_line(text: str, facts: list[str]) -> None:
    with pytest.raises(ValueError, match=names("sentences[1]", *facts)):
        listed(["fine", text])


def test_tokens(make_dictionary: MakeDictionary) -> None:
    """The dictionary has ids 0 to 8; 2 ends a sentence."""
    dictionary = make_dictionary(4)
    assert len(dictionary) == 9
    (found,) = check_tokens([torch.tensor([4, 8, 2], dtype=torch.int32)], dictionary)
    assert found.tolist() == [4, 8, 2]
    assert found.dtype == torch.int64
    good = torch.tensor([4, 2])
    for bad in ("text", [4, 2], good.float(), good.unsqueeze(0), torch.tensor([4, 5]), good[:0]):
        with pytest.raises(ValueError, match=names("tokenized_sentences[1]", "2")):
            check_tokens([good, bad], dictionary)
    for bad, value in ((torch.tensor([9, 2]), 9), (torch.tensor([-1, 2]), -1)):
        with pytest.raises(ValueError, match=names("tokenized_sentences[0]", "0", "8", value)):
            check_tokens([bad], dictionary)
