"""Which dictionary the ids of a part belong to."""

from pathlib import Path

import pytest

from bnb_fairseq.data.digest import DictionaryDigest
from bnb_fairseq.data.part_dictionary import begin_parts, check_part

from ...facts import names

OLD, NEW = DictionaryDigest(9, "a" * 64, "", "", "old"), DictionaryDigest(9, "b" * 64, "", "", "new")


def read_old(path: Path) -> DictionaryDigest:
    assert path.is_file()
    return OLD


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_what_is_removed_and_noted(tmp_path: Path) -> None:
    """Only the indices of parts that will be written, and what their processes left; others get the older digest."""
    kept = ["dict.en.txt", "test.en-de.en.idx", "valid.pt-en.en.idx", "train.en-de.de.idx", "train.pt-en.pt.bin"]
    removed = ["train.en-de.en.idx", "train.en-de.en.pt1.bin", "train.en-de.en.pt12.idx"]
    make(tmp_path, *kept, *removed)
    begin_parts(tmp_path / "dict.en.txt", [tmp_path / "train.en-de.en"], NEW, read_old)
    noted = ["test.en-de.en", "valid.pt-en.en", "train.en-de.en"]
    assert {path.name for path in tmp_path.iterdir()} == {*kept, *(f"{name}.dict.json" for name in noted)}
    for name in noted[:2]:
        check_part(str(tmp_path / name), lambda: OLD)
        with pytest.raises(ValueError, match=names(name, "old", "new")):
            check_part(str(tmp_path / name), lambda: NEW)
    check_part(str(tmp_path / noted[2]), lambda: NEW)
    check_part(str(tmp_path / "train.en-de.de"), lambda: NEW)  # of an older version, and of another dictionary


def test_a_dictionary_without_a_language(tmp_path: Path) -> None:
    make(tmp_path, "dict.txt", "valid.idx", "train.pt-en.pt.idx", "train.pt-en.pt.bin")
    begin_parts(tmp_path / "dict.txt", [tmp_path / "train"], NEW, read_old)
    assert {path.name for path in tmp_path.glob("*.json")} == {"train.dict.json", "valid.dict.json"}
    assert (tmp_path / "train.pt-en.pt.bin").exists()


def test_an_older_dictionary_that_is_damaged(tmp_path: Path) -> None:
    def fail(_: Path) -> DictionaryDigest:
        raise ValueError

    make(tmp_path, "dict.txt", "valid.idx")
    begin_parts(tmp_path / "dict.txt", [], NEW, fail)
    for found in (OLD, NEW):
        with pytest.raises(ValueError, match=names("symbols")):
            check_part(str(tmp_path / "valid"), lambda found=found: found)  # type: ignore[misc]


def test_tokenizer_and_spaces(tmp_path: Path) -> None:
    begin_parts(tmp_path / "dict.txt", [tmp_path / "train"], OLD, read_old)
    check_part(str(tmp_path / "train"), lambda: OLD._replace(spaces="other"))
    with pytest.raises(ValueError, match=names("tokenizers")):
        check_part(str(tmp_path / "train"), lambda: OLD._replace(tokenizer="other"))


@pytest.mark.parametrize("content", ["", "[1]", '{"size": 3}', "\udcff"])
def test_a_damaged_note(content: str, tmp_path: Path) -> None:
    (tmp_path / "train.dict.json").write_bytes(content.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(ValueError, match=names("train.dict.json", "damaged")):
        check_part(str(tmp_path / "train"), lambda: OLD)
