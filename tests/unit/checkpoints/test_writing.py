"""Files and folders that are complete or not there."""

from pathlib import Path

import pytest

from bnb_fairseq.checkpoints.writing import new_folder, staging


def test_files_are_complete_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    with staging(tmp_path) as lent:
        (lent / "old").write_text("new")
        (lent / "more").write_text("x")
        assert (tmp_path / "old").read_text() == "old"
    assert (tmp_path / "old").read_text() == "new"
    with pytest.raises(KeyError), staging(tmp_path) as lent:
        (lent / "old").write_text("newer")
        raise KeyError
    with pytest.raises(KeyError), new_folder(tmp_path / "made") as lent:
        (lent / "x").write_text("x")
        raise KeyError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more", "old"]
    assert (tmp_path / "old").read_text() == "new"


def test_a_folder_that_is_not_empty_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with new_folder(folder) as lent:
        (lent / "x").write_text("x")
    assert (folder / "x").read_text() == "x"
    with pytest.raises(ValueError, match=f"^{folder} must be a new or empty folder, but holds x$"):
        new_folder(folder).__enter__()
    with pytest.raises(ValueError, match=f"^{folder}/x must be a new folder, but is a file$"):
        new_folder(folder / "x").__enter__()
    (folder / "x").unlink()
    with new_folder(folder) as lent:
        (lent / "y").write_text("y")
    assert [path.name for path in folder.iterdir()] == ["y"]
    assert [path.name for path in folder.parent.iterdir()] == ["b"]
