"""Question answering data in SQuAD's layout, made from a few words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Frances", "Tony")
VERBS = ("wrote", "found", "sold", "mended")
THINGS = ("the compiler", "a proof", "the old machine", "two books")
PLACES = ("London", "Paris", "Vienna", "Boston")
YEARS = ("1843", "1906", "1936", "1952")


def make_entry(context: str, number: int, question: str, answers: Sequence[str]) -> dict[str, Any]:
    """A question whose answers stand in the context."""
    found = [{"text": answer, "answer_start": context.index(answer)} for answer in answers]
    return {"id": f"q{number}", "question": question, "answers": found}


def make_articles(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Articles of one paragraph with four questions; the sentence around them grows with the number."""
    articles = []
    for i in range(first, first + count):
        name, verb, thing = NAMES[i % 8], VERBS[i // 8 % 4], THINGS[i % 4]
        place, year = PLACES[i // 2 % 4], YEARS[i // 4 % 4]
        more = " and so it went on" * (i % 3)
        context = f"In {year}, {name} {verb}\t{thing} in {place}.\nNobody asked why{more}."
        asked = [
            (f"Who {verb} {thing}?", [name]),
            (f"When was it that {name} {verb} {thing}?", [year, f"In {year}"]),
            (f"Where did it  happen to {name}?", [place]),
            (f"What is it that {name} {verb} in {place}?", [thing]),
        ]
        entries = [make_entry(context, 4 * i + j, *pair) for j, pair in enumerate(asked)]
        articles.append({"title": f"Article_{i}", "paragraphs": [{"context": context, "qas": entries}]})
    return articles


def write_squad(path: Path, articles: Sequence[dict[str, Any]], indent: int | None = None) -> Path:
    """Write articles as SQuAD 1.1 does, all in one line unless told otherwise."""
    path.write_text(json.dumps({"version": "1.1", "data": articles}, indent=indent), encoding="utf-8")
    return path
