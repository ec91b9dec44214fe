"""Counting spaces and restoring texts with the counts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bnb_fairseq.cli import count_spaces
from bnb_fairseq.data.spaces import Spaces, general_spaces

Write = Callable[[Path, Sequence[str]], Path]


def count(*arguments: object) -> None:
    assert count_spaces.COMMAND.execute(list(map(str, arguments))) == 0


def test_a_text_is_restored_by_its_own_counts(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    text = write(tmp_path / "text", ["A-B-C", "D-E-F", "( x )", "( y )"])
    test = write(tmp_path / "test", ["G-H-I", "( z )", "( K )", "it\tis"])
    count(text, "--test", test, "--output", tmp_path / "out.tsv")
    counted = Spaces.load(tmp_path / "out.tsv")
    assert counted.join(["G", "-", "H"]) == "G-H"
    assert counted.join(["(", "z", ")"]) == "( z )"
    assert general_spaces(False).join(["(", "z", ")"]) == "(z)"
    size, measured = capsys.readouterr().out.splitlines()
    assert size == f"{tmp_path / 'out.tsv'}: 0 kB"
    assert measured.startswith(f"{test}: of 4 lines 25.0% by the package's, 100.0% by these texts' counts")


def test_paragraphs_have_what_stands_between_lines(tmp_path: Path, write: Write) -> None:
    text = write(tmp_path / "text", ["u-", "-v", "x--y", "z"])
    spaces = []
    for size in (1, 2):
        count(text, "--paragraph", size, "--output", tmp_path / "out.tsv")
        spaces.append(Spaces.load(tmp_path / "out.tsv").join(["u", "-", "-", "v"]))
    assert spaces == ["u--v", "u- -v"]
    assert count_spaces.with_paragraphs(["a", "b", "c"], 2) == ["a", "b", "c", "a b", "c"]


def test_small_letters(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    test = write(tmp_path / "test", ["Öffne DAS"])
    assert count_spaces.read_lines(test, True) == ["öffne das"]
    count("--test", test, "--lower-case")
    assert capsys.readouterr().out == f"{test}: of 1 lines 100.0% by the package's counts restored exactly\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "TEXT or --test"),
        (["--output", "x"], "TEXT with --output"),
        (["x", "--paragraph", "0"], "--paragraph must be at least 1, but is 0"),
    ],
)
def test_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count(*arguments)
