"""What may be translated from Python."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.hub.sentences import check_tokens, listed

MakeDictionary = Callable[[int], BnbDictionary]


def test_texts_are_stripped_and_stay_in_order() -> None:
    assert listed(iter(["b \n", "", "\ta\x0bc"])) == ["b", "", "a\x0bc"]
    assert listed(()) == []


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (None, "sentences must be a string or a list of strings, but is NoneType"),
        (3, "sentences must be .* but is int"),
        (b"abc", "sentences must be .* but is bytes"),
        (["a", None], r"sentences\[1\] must be a string, but is NoneType"),
        (["a", "b", b"c"], r"sentences\[2\] must be a string, but is bytes"),
        ([["a"]], r"sentences\[0\] must be a string, but is list"),
    ],
)
def test_what_is_no_text(sentences: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        listed(sentences)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" a\nb", "must be one line, but has a newline at character 1"),
        ("ab\rc", "must be one line, but has a carriage return at character 2"),
        ("x\udc80", "must be valid Unicode, but has a lone surrogate at character 1"),
    ],
)
def test_texts_that_are_no_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^sentences\[1\] {message}: '"):
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
        with pytest.raises(ValueError, match=r"^tokenized_sentences\[1\] must be a tensor of ids that ends in 2"):
            check_tokens([good, bad], dictionary)
    for bad, value in ((torch.tensor([9, 2]), 9), (torch.tensor([-1, 2]), -1)):
        with pytest.raises(ValueError, match=rf"^tokenized_sentences\[0\] must have ids from 0 to 8.* has {value}$"):
            check_tokens([bad], dictionary)
