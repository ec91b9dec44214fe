"""Where values stand in a JSON text, against a slow search for a value that is there once."""

import importlib
import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

CONTENT = {
    "a": [1, [], {"b": '\u00e9\\"x{[', "c": {}}, ["in", ["deeper", -2.5e3]]],
    "": {"": [True, None, "]"]},
    'quoted " name': "last",
}


@pytest.fixture(scope="module")
def places(load_script: Callable[..., ModuleType]) -> ModuleType:
    load_script("squad_to_text", "examples/squad_qg")
    return importlib.import_module("squad.places")


def values(content: Any, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    yield keys, content
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inside:
        yield from values(value, (*keys, key))


@pytest.mark.parametrize("indent", [None, 0, 3, "\t"])
def test_every_value(indent: int | str | None, places: ModuleType) -> None:
    """A mark put in place of a value is found where the value begins."""
    text = "\n " + json.dumps(CONTENT, indent=indent, ensure_ascii=False)
    seen = 0
    for keys, value in values(CONTENT):
        marked = json.loads(json.dumps(CONTENT))
        owner = marked
        for key in keys[:-1]:
            owner = owner[key]
        if keys:
            owner[keys[-1]] = "MARK"
        at = ("\n " + json.dumps(marked if keys else "MARK", indent=indent, ensure_ascii=False)).index('"MARK"')
        expected = (text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
        assert tuple(places.find_place(text, keys)) == expected, (keys, value)
        seen += 1
    assert seen == 18


def test_what_is_missing_is_where_its_owner_begins(places: ModuleType) -> None:
    text = '{\n "a": [\n  {"b": 1}]}'
    assert tuple(places.find_place(text, ["a", 0, "c"])) == (3, 3)
    assert tuple(places.find_place(text, ["a", 1])) == (2, 7)
    assert tuple(places.find_place("{}", ["a"])) == tuple(places.find_place("[ ]", [0])) == (1, 1)


def test_the_last_of_a_name_counts(places: ModuleType) -> None:
    assert tuple(places.find_place('{"a": 1,\n "a": 2}', ["a"])) == (2, 7)


def test_names(places: ModuleType) -> None:
    assert places.name_path(["data", 3, "paragraphs", 0, "context"]) == "data[3].paragraphs[0].context"
    assert places.name_path([2, "title"]) == "[2].title"
    assert places.name_path([]) == ""
