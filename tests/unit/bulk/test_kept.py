"""Parts of a run that are kept."""

from pathlib import Path

import pytest

from bnb_fairseq.bulk.kept import Part, alone, claim, digest, read_part, write_part

from ...facts import named, names

PART = Part({"lines": 2}, b"a\n\x00\xff\n")


def test_a_part_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "part"
    assert read_part(path, "x") is None
    write_part(path, "x", PART)
    assert read_part(path, "x") == PART
    assert read_part(path, "y") is None
    assert [each.name for each in path.parent.iterdir()] == ["part"]


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-1], lambda whole: whole + b"\n", lambda _: b"", lambda _: b"{}"]
)
def test_a_damaged_part_is_none(damage: object, tmp_path: Path) -> None:
    assert callable(damage)
    write_part(tmp_path / "part", "x", PART)
    (tmp_path / "part").write_bytes(damage((tmp_path / "part").read_bytes()))
    assert read_part(tmp_path / "part", "x") is None


def test_borders_count_in_a_digest() -> None:
    assert digest(b"ab", b"c") != digest(b"a", b"bc") != digest(b"abc")
    assert digest(b"ab", b"c") == digest(b"ab", b"c")


def test_a_run_goes_on_with_its_own_options(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = claim(folder, {"beam": 2, "words": ("a", "b")})
    assert claim(folder, {"beam": 2, "words": ("a", "b")}) == run
    assert claim(tmp_path / "other", {"beam": 3, "words": ("a", "b")}) != run
    with pytest.raises(ValueError, match="--output") as raised:
        claim(folder, {"beam": 3, "words": ("a", "b")})
    assert named(str(raised.value), folder, "beam", "3", "2")
    assert "words" not in str(raised.value)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"thesis\.txt"):
        claim(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """What a killed one left half done is removed; what belongs to others stays."""
    for left in ("run/.partial-1/part", "run/shards/.partial-2/part", "run/shards/part", ".partial-3/part"):
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).touch()
    with alone(tmp_path / "run"):
        left_over = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
        assert left_over == [".partial-3/part", "run/shards/part"]
        with (
            pytest.raises(ValueError, match=names("--output", "one process", tmp_path / "run")),
            alone(tmp_path / "run"),
        ):
            pass
    with alone(tmp_path / "run"), alone(tmp_path / "new" / "run"):
        pass
