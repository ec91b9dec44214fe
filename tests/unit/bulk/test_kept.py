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
    write_part(folder / "part", "x", PART)
    with pytest.raises(ValueError, match="--output") as raised:
        claim(folder, {"beam": 3, "words": ("a", "b")})
    assert named(str(raised.value), folder, "beam", "3", "2")
    assert "words" not in str(raised.value)


def test_a_run_that_kept_nothing_binds_nobody(tmp_path: Path) -> None:
    """An option that turns out wrong once the model is loaded can be mended."""
    claim(tmp_path, {"beam": 2})
    (tmp_path / ".partial-1").mkdir()
    run = claim(tmp_path, {"beam": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    write_part(tmp_path / "part", "x", PART)
    assert claim(tmp_path, {"beam": 3}) == run
    with pytest.raises(ValueError, match=names("--output", "beam", 2, 3)):
        claim(tmp_path, {"beam": 2})


@pytest.mark.parametrize("damage", ["", "{", "null"])
def test_a_damaged_record_is_named(damage: str, tmp_path: Path) -> None:
    claim(tmp_path, {"beam": 2})
    write_part(tmp_path / "part", "x", PART)
    (tmp_path / "run.json").write_text(damage)
    with pytest.raises(ValueError, match=names("--output", tmp_path / "run.json", "damaged")):
        claim(tmp_path, {"beam": 2})


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"thesis\.txt"):
        claim(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with alone(folder), pytest.raises(ValueError, match=names("--output", "one process", folder)), alone(folder):
        pass
    with alone(folder), alone(tmp_path / "other"):
        assert list(folder.iterdir()) == []


def test_what_killed_processes_left_is_removed_from_an_own_run_only(tmp_path: Path) -> None:
    left = ["run/.partial-1/part", "run/shards/.partial-2/part", "run/shards/part", ".partial-3/part"]

    def place() -> None:
        for name in left:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    def found() -> set[str]:
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}

    place()
    with pytest.raises(ValueError, match=names("--output", tmp_path / "run", "shards")):
        claim(tmp_path / "run", {"beam": 2})
    assert found() == set(left)
    (tmp_path / "run").rename(tmp_path / "strange")
    claim(tmp_path / "run", {"beam": 2})
    place()
    with pytest.raises(ValueError, match=names("--output", "beam", 3, 2)):
        claim(tmp_path / "run", {"beam": 3})
    assert set(left) <= found()
    claim(tmp_path / "run", {"beam": 2})
    kept = {name for name in found() if not name.startswith("strange")}
    assert kept == {"run/run.json", "run/shards/part", ".partial-3/part"}
