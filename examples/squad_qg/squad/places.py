"""Where a value stands in a JSON text; Python's decoder forgets it."""

import re
from collections.abc import Sequence
from json import JSONDecoder
from typing import NamedTuple

Keys = Sequence[str | int]
DECODER = JSONDecoder()
SPACE = re.compile(r"[ \t\n\r]*")


class Place(NamedTuple):
    """Line and column of a text, both from 1."""

    line: int
    column: int


def name_path(keys: Keys) -> str:
    """Write the way to a value as programs write it: ``data[3].paragraphs[0].context``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def find_place(text: str, keys: Keys) -> Place:
    """Find a value, or the innermost one on the way to it that there is.

    Args:
        text: valid JSON.
        keys: names of members and numbers of items, from the outside inwards.

    Returns:
        Where it begins.
    """
    at = _skip(text, 0)
    for key in keys:
        found = _member(text, at, key) if isinstance(key, str) else _item(text, at, key)
        if found is None:
            break
        at = found
    return Place(text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def _skip(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return at if match is None else match.end()


def _member(text: str, at: int, wanted: str) -> int | None:
    """Find a member of the object that begins at a position; the last one of that name counts, as in Python."""
    found = None
    while text[at] in "{,":
        at = _skip(text, at + 1)
        if text[at] != '"':  # the object is empty
            break
        name, at = DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        found = at if name == wanted else found
        at = _skip(text, DECODER.raw_decode(text, at)[1])
    return found


def _item(text: str, at: int, wanted: int) -> int | None:
    """Find an item of the list that begins at a position."""
    number = 0
    while text[at] in "[,":
        at = _skip(text, at + 1)
        if text[at] == "]":
            break
        if number == wanted:
            return at
        at = _skip(text, DECODER.raw_decode(text, at)[1])
        number += 1
    return None
