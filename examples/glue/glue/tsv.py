"""TSV files without quotes: columns by name or by number, and checked labels."""

import hashlib
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

Column = str | int  # its name in the header; or its number, from 1, in a file without a header
SHOWN_LABELS = 12


class Columns(NamedTuple):
    """The columns to read.

    Attributes:
        texts: the text, or the two texts.
        label: class or number; None: the file has none.
        number: number of the example; None: rows are counted from 0.
        header: whether the first line names the columns.
    """

    texts: tuple[Column, ...]
    label: Column | None = None
    number: Column | None = None
    header: bool = True


class Example(NamedTuple):
    """A row.

    Attributes:
        line: line in the file, from 1.
        texts: its texts, runs of white space as one space.
        label: as in the file; "" if it has none.
        number: number of the example, as in the file.
    """

    line: int
    texts: tuple[str, ...]
    label: str
    number: str


class Table(NamedTuple):
    """The rows of a file, and the numbers of skipped lines with too few fields."""

    path: Path
    columns: Columns
    examples: list[Example]
    damaged: list[int]

    def labels(self) -> list[str]:
        """Label of each row."""
        return [example.label for example in self.examples]

    def sha256(self) -> str:
        """Hash of texts and labels."""
        rows = ("\t".join([*example.texts, example.label]) for example in self.examples)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def read_table(path: Path, columns: Columns, skip_damaged: bool = False) -> Table:
    r"""Read a file: lines end in \n or \r\n, fields are separated by tabs, quotes mean nothing.

    Args:
        path: the file, UTF-8 with or without a byte order mark.
        columns: the columns to read.
        skip_damaged: skip rows with too few fields instead of refusing them.

    Returns:
        The rows.

    Raises:
        ValueError: naming file, line and column: if it is missing, not UTF-8 or empty, the header lacks a column, or a
            row has too few fields.
    """
    lines = _read_lines(path)
    first = 0
    names: list[str] = []
    if columns.header and lines:
        names, first = [name.strip() for name in lines[0].split("\t")], 1
    if len(lines) <= first:
        raise ValueError(f"{path}: must hold examples, but has none")
    places = _find_columns(path, columns, names)
    examples, damaged = [], []
    for number, line in enumerate(lines[first:], start=first + 1):
        fields = line.split("\t")
        if absent := [f"{column!r} (field {place + 1})" for column, place in places.items() if place >= len(fields)]:
            if not skip_damaged:
                raise ValueError(
                    f"{path}, line {number}: must have {' and '.join(absent)}, but has {len(fields)} field(s): "
                    f"{_short(line)}"
                )
            damaged.append(number)
            continue
        texts = tuple(" ".join(fields[places[column]].split()) for column in columns.texts)
        label = "" if columns.label is None else fields[places[columns.label]].strip()
        own = str(number - first - 1) if columns.number is None else fields[places[columns.number]].strip()
        examples.append(Example(number, texts, label, own))
    return Table(path, columns, examples, damaged)


def check_classes(table: Table, labels: Collection[str]) -> None:
    """Refuse rows whose label is not among ``labels``; a ValueError names file, line and column."""
    for example in table.examples:
        if example.label not in labels:
            known = ", ".join(list(labels)[:SHOWN_LABELS]) + (", ..." if len(labels) > SHOWN_LABELS else "")
            raise ValueError(f"{_place(table, example)}: must be one of {known}, but is {example.label!r}")


def check_numbers(table: Table, lowest: float, highest: float) -> None:
    """Refuse rows whose label is no number within bounds; a ValueError names file, line and column."""
    bounded = math.isfinite(lowest) and math.isfinite(highest)
    wanted = f"a number from {lowest:g} to {highest:g}" if bounded else "a finite number"
    for example in table.examples:
        try:
            value = float(example.label)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and lowest <= value <= highest):
            raise ValueError(f"{_place(table, example)}: must be {wanted}, but is {example.label!r}")


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    lines = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8").rstrip("\r"))
        except UnicodeDecodeError as error:
            place = f"byte {line[error.start]:#04x} at column {error.start + 1}"
            raise ValueError(f"{path}, line {number}: is not valid UTF-8 ({place})") from error
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _find_columns(path: Path, columns: Columns, names: Sequence[str]) -> dict[Column, int]:
    """Index, from 0, of every column to read."""
    needed = [*columns.texts, *(column for column in (columns.label, columns.number) if column is not None)]
    if not columns.header:
        return {column: int(column) - 1 for column in needed}
    if missing := [column for column in needed if column not in names]:
        raise ValueError(
            f"{path}, line 1: the header must name {', '.join(map(repr, missing))}, but has {', '.join(names)}"
        )
    return {column: names.index(str(column)) for column in needed}


def _place(table: Table, example: Example) -> str:
    return f"{table.path}, line {example.line}, column {table.columns.label!r}"


def _short(line: str) -> str:
    return repr(line if len(line) <= 80 else f"{line[:80]}...")
