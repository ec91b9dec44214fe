"""Folders of one corpus must have the dictionaries of the first."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bnb_fairseq.data.folders import require_same_dictionaries

from ...facts import names

Write = Callable[..., tuple[Path, ...]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(**dictionaries: dict[str, list[str]]) -> tuple[Path, ...]:
        for folder, files in dictionaries.items():
            (tmp_path / folder).mkdir()
            for name, words in files.items():
                text = "".join(f"{word} {10 - i}\n" for i, word in enumerate(words))
                (tmp_path / folder / name).write_text(text, encoding="utf-8")
        return tuple(tmp_path / folder for folder in dictionaries)

    return make


def test_equal_ones_and_a_single_one(write: Write) -> None:
    pair = {"dict.en.txt": ["a", "b"], "dict.de.txt": ["c"]}
    folders = write(first=pair, second=pair, third=pair)
    require_same_dictionaries(folders)
    require_same_dictionaries(folders[:1])


@pytest.mark.parametrize("name", ["dict.txt", "dict.de.txt"])
@pytest.mark.parametrize("words", [["b", "a"], ["a", "b", "c"]])
def test_other_symbols_or_another_order(words: list[str], name: str, write: Write) -> None:
    folders = write(first={name: ["a", "b"]}, second={name: ["a", "b"]}, third={name: words})
    require_same_dictionaries(folders[:2])
    with pytest.raises(ValueError, match=names("data", folders[2] / name)):
        require_same_dictionaries(folders)


def test_a_missing_folder(write: Write, tmp_path: Path) -> None:
    (first,) = write(first={"dict.txt": ["a"]})
    with pytest.raises(ValueError, match=names("data", tmp_path / "none" / "dict.txt")):
        require_same_dictionaries((first, tmp_path / "none"))
