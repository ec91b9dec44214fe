"""Questions with their answers and contexts from SQuAD's JSON, fully checked."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize
from urllib.parse import unquote

Keys = Sequence[str | int]  # the way to a value in JSON
KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


class Item(NamedTuple):
    """A question with runs of white space as one space."""

    answer: str
    context: str
    question: str


class Found(NamedTuple):
    """Content of files.

    Attributes:
        items: the questions, in the order of the files.
        counts: articles, paragraphs and questions; and questions that are unanswerable, have no text, or have several
            answers.
        titles: of the articles that were read.
    """

    items: list[Item]
    counts: Counter[str]
    titles: set[str]


class SquadFile:
    """A JSON file in the layout of SQuAD 1.1 or 2.0, or the bare list of its articles.

    Raises ValueError if it is not UTF-8 or not JSON, with the line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = path.read_bytes()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{path}, line {line}: must be UTF-8, but has byte {raw[error.start]:#04x}") from error
        try:
            self._content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {error.lineno}, column {error.colno}: must be JSON, but is not: {error.msg}"
            ) from error

    def read(self, titles: Collection[str] | None = None) -> Found:
        """Read the questions of the articles in ``titles`` (see ``plain_title``), or of all if None.

        Raises ValueError if the file is not in SQuAD's layout, or an answer is not in its context.
        """
        found = Found([], Counter(), set())
        for article, keys in self._articles():
            title = None if titles is None else plain_title(self._get(article, keys, "title", str))
            if titles is not None and title not in titles:
                continue
            found.titles.update(() if title is None else (title,))
            found.counts["articles"] += 1
            for paragraph, inside in self._members(article, keys, "paragraphs"):
                found.counts["paragraphs"] += 1
                self._read_paragraph(paragraph, inside, found)
        return found

    def _articles(self) -> Iterator[tuple[Any, Keys]]:
        if isinstance(self._content, list):
            yield from ((article, [i]) for i, article in enumerate(self._content))
        elif isinstance(self._content, dict):
            yield from self._members(self._content, [], "data")
        else:
            raise self._error([], f"must be an object with data or a list of articles, but is {_kind(self._content)}")

    def _read_paragraph(self, paragraph: Any, keys: Keys, found: Found) -> None:
        context = self._get(paragraph, keys, "context", str)
        for entry, inside in self._members(paragraph, keys, "qas"):
            found.counts["questions"] += 1
            question = self._get(entry, inside, "question", str)
            if entry.get("is_impossible") is True:
                found.counts["unanswerable"] += 1
                continue
            answers = [self._answer(answer, context, way) for answer, way in self._members(entry, inside, "answers")]
            if not answers:
                raise self._error([*inside, "answers"], "must hold an answer, unless is_impossible is true")
            found.counts["several"] += len(answers) > 1
            item = Item(*(" ".join(text.split()) for text in (answers[0], context, question)))
            if all(item):
                found.items.append(item)
            else:
                found.counts["empty"] += 1

    def _answer(self, answer: Any, context: str, keys: Keys) -> str:
        text: str = self._get(answer, keys, "text", str)
        start: int = self._get(answer, keys, "answer_start", int)
        there = context[start : start + len(text)] if start >= 0 else ""
        if there != text:
            raise self._error(keys, f"{text!r} must begin at character {start} of its context, but {there!r} is there")
        return text

    def _members(self, owner: Any, keys: Keys, name: str) -> Iterator[tuple[Any, Keys]]:
        """Items of a member that must be a list of objects, each with the way to it."""
        for i, item in enumerate(self._get(owner, keys, name, list)):
            yield item, [*keys, name, i]

    def _get(self, owner: Any, keys: Keys, name: str, kind: type) -> Any:
        if not isinstance(owner, dict):
            raise self._error(keys, f"must be an object, but is {_kind(owner)}")
        if name not in owner:
            raise self._error(keys, f"must have {name}, but has {', '.join(owner) or 'nothing'}")
        value = owner[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._error([*keys, name], f"must be {KINDS[kind]}, but is {_kind(value)}")
        if isinstance(value, str) and not value.isprintable():
            self._check_characters(value, [*keys, name])
        return value

    def _check_characters(self, value: str, keys: Keys) -> None:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            half = ascii(value[error.start])
            raise self._error(keys, f"must be text, but has half a character, {half}") from error

    def _error(self, keys: Keys, fault: str) -> ValueError:
        """The fault with the way to it and the id of the question around it."""
        value, number = self._content, ""
        for key in keys:
            value = value[key]
            if isinstance(value, dict) and "id" in value:
                number = f" (id {value['id']})"
        way = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
        return ValueError(f"{self.path}: {way or 'the file'}{number}: {fault}")


def plain_title(title: str) -> str:
    """A title's canonical form: some lists write é as ``%C3%A9``, or as two characters."""
    return normalize("NFC", unquote(title.strip()))


def read_titles(path: Path) -> dict[str, int]:
    """Line of each title of a list, by ``plain_title``.

    Raises ValueError if it is not UTF-8, or names no title.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"--titles: {path} must be UTF-8, but is not: {error}") from error
    titles = {plain_title(line): number for number, line in enumerate(lines, start=1) if line.strip()}
    if not titles:
        raise ValueError(f"--titles: {path} must name an article, but is empty")
    return titles


def _kind(value: Any) -> str:
    return KINDS[type(value)]
