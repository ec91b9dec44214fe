"""Numbered parts: which are opened, and that one after another they are as one data set."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from bnb_fairseq.data.parts import in_all, joined, load_parts, taken_apart

from ...facts import names


class Items(list[Tensor]):
    """Sentences that know their lengths."""

    supports_prefetch = False

    def __init__(self, *sentences: list[int]) -> None:
        super().__init__(map(torch.tensor, sentences))
        self.sizes = np.array([len(sentence) for sentence in sentences])


def opener(*there: str) -> object:
    def load(name: str) -> str:
        if name not in there:
            raise FileNotFoundError(f"no {name}")
        return name.upper()

    return load


@pytest.mark.parametrize(
    ("there", "combine", "expected"),
    [
        (["train", "train1", "train2", "train4"], True, ["train", "train1", "train2"]),
        (["train", "train1"], False, ["train"]),
        (["train", "train2"], True, ["train"]),
    ],
)
def test_parts_are_opened_up_to_the_first_gap(there: list[str], combine: bool, expected: list[str]) -> None:
    assert load_parts(opener(*there), "train", combine) == {name: name.upper() for name in expected}  # type: ignore[arg-type]


def test_a_part_that_is_missing_or_broken() -> None:
    with pytest.raises(FileNotFoundError, match=names("train")):
        load_parts(opener("train1"), "train", combine=True)  # type: ignore[arg-type]

    def load(name: str) -> str:
        if name == "train1":
            raise ValueError(f"{name} is broken")
        return name

    with pytest.raises(ValueError, match=names("train1")):
        load_parts(load, "train", combine=True)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [({"a": 1, "a1": 2}, [1, 2]), ({"a": 0}, [0]), ({"a": None, "a1": None}, None)],
)
def test_all_parts_have_it_or_none(parts: dict[str, int | None], expected: list[int] | None) -> None:
    assert in_all("labels", parts) == expected


def test_some_parts_have_it() -> None:
    with pytest.raises(ValueError, match=names("train", "train1", "train2", "train", "train2")):
        in_all("targets", {"train": None, "train1": 1, "train2": None})


@pytest.mark.parametrize("parts", [[Items([1, 2], [3])], [Items([1, 2]), Items([3])], [Items(), Items([1, 2], [3])]])
def test_joined(parts: Sequence[Items]) -> None:
    whole = joined(parts)
    assert len(whole) == 2
    assert [item.tolist() for item in (whole[0], whole[1])] == [[1, 2], [3]]
    assert whole.sizes.tolist() == [2, 1]  # type: ignore[attr-defined]
    apart = taken_apart("valid", whole)
    assert list(apart) == ["valid", "valid1"][: len(parts)]
    assert all(found is part for found, part in zip(apart.values(), parts, strict=True))
