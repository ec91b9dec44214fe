"""The TSV reader: what it reads, and what it says of broken files."""

from pathlib import Path

import pytest

from ....facts import naming
from .conftest import Part, Write

NAMED = {"texts": ("text",), "label": "label"}


@pytest.fixture
def file(tmp_path: Path, write: Write) -> Path:
    return write(tmp_path / "x.tsv", ["id\ttext\tlabel", "7\tone  two \tyes", '8\t"three\tno'])


def test_columns_by_name(part: Part, file: Path) -> None:
    tsv = part("tsv")
    table = tsv.read_table(file, tsv.Columns(("text", "id"), "label", "id"))
    assert table.examples == [
        tsv.Example(2, ("one two", "7"), "yes", "7"),
        tsv.Example(3, ('"three', "8"), "no", "8"),  # a quotation mark is a character
    ]
    assert table.labels() == ["yes", "no"]
    assert (table.path, table.damaged) == (file, [])


def test_columns_by_number(part: Part, file: Path) -> None:
    tsv = part("tsv")
    table = tsv.read_table(file, tsv.Columns((2,), 3, header=False))
    assert [(*example.texts, example.label, example.number) for example in table.examples] == [
        ("text", "label", "0"),
        ("one two", "yes", "1"),
        ('"three', "no", "2"),
    ]
    assert [example.line for example in table.examples] == [1, 2, 3]


def test_line_ends_and_byte_order_mark(part: Part, tmp_path: Path) -> None:
    tsv = part("tsv")
    (tmp_path / "x.tsv").write_bytes("\ufefftext\tlabel\r\na\u2028b\x85c\t1\r\n\t0\r\n\r\n\n".encode())
    table = tsv.read_table(tmp_path / "x.tsv", tsv.Columns(("text",), "label"))
    assert [(example.texts, example.label) for example in table.examples] == [(("a b c",), "1"), (("",), "0")]


def test_a_hash_of_texts_and_labels(part: Part, file: Path, write: Write) -> None:
    tsv = part("tsv")
    columns = tsv.Columns(("text",), "label")
    before = tsv.read_table(file, columns).sha256()
    write(file, ["text\tlabel", "one two\tyes", '"three\tno'])
    assert tsv.read_table(file, columns).sha256() == before
    write(file, ["text\tlabel", "one two\tyes", '"three\tyes'])
    assert tsv.read_table(file, columns).sha256() != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id\ttext\n1\ta\n", ", line 1: ... header ... 'label' ... id, text"),
        ("1\ta\tyes\n2\tb\tno\n", ", line 1: ... header ... 'text', 'label' ... 1, a, yes"),
        ("text\tlabel\na\tyes\nb\n", ", line 3: ... 'label' (field 2) ... 1 field(s): 'b'"),
        ("label\tid\ttext\nyes\n", ", line 2: ... 'text' (field 3) ... 1 field(s): 'yes'"),
        ("text\tlabel\na\tyes\n\nb\tno\n", ", line 3: ... 'label' (field 2) ... 1 field(s): ''"),
        ("text\tlabel\n", ": ... examples ... none"),
        ("", ": ... examples ... none"),
    ],
)
def test_broken_files(content: str, message: str, part: Part, tmp_path: Path) -> None:
    tsv = part("tsv")
    (tmp_path / "x.tsv").write_text(content)
    with pytest.raises(ValueError, match=naming(f"{tmp_path}/x.tsv{message}")):
        tsv.read_table(tmp_path / "x.tsv", tsv.Columns(("text",), "label"))


def test_files_that_cannot_be_read(part: Part, tmp_path: Path) -> None:
    tsv = part("tsv")
    with pytest.raises(ValueError, match=r"no.tsv: there is no such file"):
        tsv.read_table(tmp_path / "no.tsv", tsv.Columns(("text",)))
    (tmp_path / "x.tsv").write_bytes(b"text\nab\ncd\xff\n")
    with pytest.raises(ValueError, match=r"x.tsv, line 3: is not valid UTF-8 \(byte 0xff at column 3\)"):
        tsv.read_table(tmp_path / "x.tsv", tsv.Columns(("text",)))


def test_damaged_rows_may_be_left_out(part: Part, tmp_path: Path, write: Write) -> None:
    tsv = part("tsv")
    path = write(tmp_path / "x.tsv", ["text\tlabel", "a\t1", "b", "c\t0"])
    table = tsv.read_table(path, tsv.Columns(("text",), "label"), skip_damaged=True)
    assert [example.texts[0] for example in table.examples] == ["a", "c"]
    assert table.damaged == [3]


def test_unknown_label(part: Part, file: Path) -> None:
    tsv = part("tsv")
    table = tsv.read_table(file, tsv.Columns(("text",), "label"))
    tsv.check_classes(table, ["yes", "no", "maybe"])
    with pytest.raises(ValueError, match=naming(f"{file}, line 3, column 'label': ... yes, maybe ... 'no'")):
        tsv.check_classes(table, ["yes", "maybe"])
    with pytest.raises(ValueError, match=r"one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, \.\.\., but is 'yes'"):
        tsv.check_classes(table, [str(i) for i in range(30)])


@pytest.mark.parametrize("value", ["five", "", "-0.1", "5.01", "nan", "inf"])
def test_labels_that_are_no_number_within_bounds(value: str, part: Part, tmp_path: Path, write: Write) -> None:
    tsv = part("tsv")
    table = tsv.read_table(write(tmp_path / "x.tsv", ["a\t5.000", f"b\t{value}"]), tsv.Columns((1,), 2, header=False))
    with pytest.raises(ValueError, match=naming(f"x.tsv, line 2, column 2: ... 0 to 5 ... {value!r}")):
        tsv.check_numbers(table, 0, 5)


def test_numbers_without_bounds(part: Part, tmp_path: Path, write: Write) -> None:
    tsv = part("tsv")
    table = tsv.read_table(write(tmp_path / "x.tsv", ["a\t-1e9", "b\tinf"]), tsv.Columns((1,), 2, header=False))
    with pytest.raises(ValueError, match=r"line 2, column 2: must be a finite number, but is 'inf'"):
        tsv.check_numbers(table, float("-inf"), float("inf"))
