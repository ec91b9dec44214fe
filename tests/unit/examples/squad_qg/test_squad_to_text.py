"""SQuAD's JSON to text: exact lines, counts, and for every fault the file and the way to it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ....squad_files import make_articles, make_entry, write_squad

Convert = Callable[..., str]
CONTEXT = "In 1843, Ada\twrote the \u00a0 first\nprogram."


@pytest.fixture(scope="module")
def script(load_script: Callable[..., ModuleType]) -> ModuleType:
    return load_script("squad_to_text", "examples/squad_qg")


@pytest.fixture
def convert(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Convert:
    """Run the script in a folder of its own; what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        script.main(arguments)
        return capsys.readouterr().out

    return run


def lines(prefix: str) -> tuple[list[str], list[str]]:
    sides = [Path(f"{prefix}.{side}").read_text(encoding="utf-8") for side in ("answer", "question")]
    assert all(side.endswith("\n") for side in sides)
    return sides[0].removesuffix("\n").split("\n"), sides[1].removesuffix("\n").split("\n")


def article(*entries: dict[str, Any], title: str = "A", context: str = CONTEXT) -> dict[str, Any]:
    return {"title": title, "paragraphs": [{"context": context, "qas": list(entries)}]}


def refused(convert: Convert, *arguments: str) -> str:
    """The one line on which the script ends; nothing is written."""
    with pytest.raises(SystemExit) as caught:
        convert(*arguments)
    assert not Path("out").exists() or not list(Path("out").iterdir())
    return str(caught.value.code)


def test_lines(convert: Convert, tmp_path: Path) -> None:
    """White space of every kind is one space; of several answers the first is taken; an answer may be a line long."""
    entries = [
        make_entry(CONTEXT, 1, " Who\twrote\nit? ", ["Ada", "Ada\twrote"]),
        make_entry(CONTEXT, 2, "What?", ["the \u00a0 first\nprogram"]),
    ]
    write_squad(tmp_path / "a.json", [article(*entries)])
    printed = convert("a.json", "out/train")
    context = "In 1843, Ada wrote the first program."
    assert lines("out/train") == (
        [f"Ada\t{context}", f"the first program\t{context}"],
        ["Who wrote it?", "What?"],
    )
    assert sorted(path.name for path in Path("out").iterdir()) == ["train.answer", "train.question"]
    assert printed == (
        "out/train.answer and out/train.question: 2 of 2 questions, on 1 paragraphs of 1 articles; left out: 0 "
        "unanswerable, 0 without text; of 1 with several answers the first was taken\n"
    )


def test_unanswerable_questions_are_left_out(convert: Convert, tmp_path: Path) -> None:
    """SQuAD 2.0; a question of nothing but white space is left out, too."""
    unanswerable = {"id": "u", "question": "Why?", "answers": [], "is_impossible": True}
    plausible = {**unanswerable, "plausible_answers": [{"text": "Ada", "answer_start": 9}]}
    known = {**make_entry(CONTEXT, 1, "Who?", ["Ada"]), "is_impossible": False}
    write_squad(tmp_path / "a.json", [article(unanswerable, known, plausible, make_entry(CONTEXT, 2, " \n", ["Ada"]))])
    printed = convert("a.json", "train")
    assert lines("train") == (["Ada\tIn 1843, Ada wrote the first program."], ["Who?"])
    assert "1 of 4 questions" in printed
    assert "left out: 2 unanswerable, 1 without text; of 0 with several" in printed


def test_bare_lists_and_several_files(convert: Convert, tmp_path: Path) -> None:
    """Du et al. (2017) keep the list of articles without what SQuAD wraps it in."""
    (tmp_path / "one.json").write_text(json.dumps(make_articles(2)), encoding="utf-8-sig")
    write_squad(tmp_path / "two.json", make_articles(3, first=2), indent=1)
    convert("one.json", "two.json", "parts")
    write_squad(tmp_path / "all.json", make_articles(5))
    convert("all.json", "whole")
    assert lines("parts") == lines("whole")
    assert len(lines("whole")[0]) == 20


def test_titles(convert: Convert, tmp_path: Path) -> None:
    """However the list writes an accent; the articles stay in the order of the file."""
    titles = ["Beyonc\u00e9", "Oslo", "S%C3%B8ren", "Rhine"]
    known = [article(make_entry(CONTEXT, i, f"Who {i}?", ["Ada"]), title=title) for i, title in enumerate(titles)]
    write_squad(tmp_path / "a.json", known)
    (tmp_path / "list.txt").write_text("Rhine\r\nS\u00f8ren\n\nBeyonce\u0301\n", encoding="utf-8")
    assert "on 3 paragraphs of 3 articles" in convert("a.json", "x", "--titles", "list.txt")
    assert lines("x")[1] == ["Who 0?", "Who 2?", "Who 3?"]
    (tmp_path / "list.txt").write_text("Rhine\nRome\nOslo\nParis\n", encoding="utf-8")
    assert refused(convert, "a.json", "out/y", "--titles", "list.txt") == (
        "squad_to_text: --titles: list.txt, line 2: no file has an article 'Rome'; 2 of 4 titles are missing"
    )
    (tmp_path / "list.txt").write_text(" \n", encoding="utf-8")
    assert "--titles: list.txt must name an article" in refused(convert, "a.json", "out/y", "--titles", "list.txt")


@pytest.mark.parametrize(("start", "there"), [(8, " Ad"), (10, "da\\t"), (-3, ""), (1000, ""), (0, "In ")])
def test_an_answer_that_is_not_there(start: int, there: str, convert: Convert, tmp_path: Path) -> None:
    """It is elsewhere in the context; the second answer of the second question is named."""
    wrong = make_entry(CONTEXT, 7, "Who?", ["Ada", "Ada"])
    wrong["answers"][1]["answer_start"] = start
    write_squad(tmp_path / "a.json", [article(make_entry(CONTEXT, 1, "Who?", ["Ada"]), wrong)])
    found = refused(convert, "a.json", "out/train")
    assert found.startswith("squad_to_text: a.json: data[0].paragraphs[0].qas[1].answers[1] (id q7): 'Ada' must ")
    assert f"character {start} " in found and f"'{there}'" in found


def change(path: Sequence[str | int], value: object) -> Callable[[Any], None]:
    """Put a value at a place; None takes away what is there."""

    def apply(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        if value is None:
            del content[path[-1]]
        else:
            content[path[-1]] = value

    return apply


ENTRY = ("data", 0, "paragraphs", 0, "qas", 1)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["data"], None, "the file: must have data, but has version"),
        (["data"], {"a": 1}, "data: must be a list, but is an object"),
        (["data", 1], "x", "data[1]: must be an object, but is a text"),
        (["data", 0, "paragraphs"], None, "data[0]: must have paragraphs, but has title"),
        (["data", 0, "paragraphs"], 3, "data[0].paragraphs: must be a list, but is an integer"),
        (["data", 0, "paragraphs", 0, "context"], None, "data[0].paragraphs[0]: must have context, but has qas"),
        (
            ["data", 0, "paragraphs", 0, "context"],
            1.5,
            "data[0].paragraphs[0].context: must be a text, but is a number",
        ),
        (["data", 0, "paragraphs", 0], {}, "data[0].paragraphs[0]: must have context, but has nothing"),
        ([*ENTRY, "question"], None, "data[0].paragraphs[0].qas[1] (id q1): must have question, but has id, answers"),
        ([*ENTRY, "answers"], None, "data[0].paragraphs[0].qas[1] (id q1): must have answers, but has id, question"),
        (
            [*ENTRY, "answers"],
            [],
            "data[0].paragraphs[0].qas[1].answers (id q1): must hold an answer, unless is_impossible is true",
        ),
        (
            [*ENTRY, "answers", 0, "answer_start"],
            None,
            "data[0].paragraphs[0].qas[1].answers[0] (id q1): must have answer_start, but has text",
        ),
        (
            [*ENTRY, "answers", 0, "answer_start"],
            True,
            "data[0].paragraphs[0].qas[1].answers[0].answer_start (id q1): must be an integer, but is true or false",
        ),
        (
            [*ENTRY, "question"],
            "half \ud83d",
            "data[0].paragraphs[0].qas[1].question (id q1): must be text, but has half a character, '\\ud83d'",
        ),
    ],
)
def test_json_that_is_not_squads(
    path: Sequence[str | int], value: object, message: str, convert: Convert, tmp_path: Path
) -> None:
    content: Any = {"version": "1.1", "data": make_articles(2)}
    change(path, value)(content)
    (tmp_path / "a.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    assert refused(convert, "a.json", "out/train") == f"squad_to_text: a.json: {message}"


@pytest.mark.parametrize(("content", "kind"), [('"text"', "a text"), ("3", "an integer"), ("null", "null")])
def test_json_of_another_kind(content: str, kind: str, convert: Convert, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f"\n  {content}\n", encoding="utf-8")
    assert refused(convert, "a.json", "out/train") == (
        f"squad_to_text: a.json: the file: must be an object with data or a list of articles, but is {kind}"
    )


def test_text_that_is_no_json(convert: Convert, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"data": [\n  {"title": }\n]}', encoding="utf-8")
    assert refused(convert, "a.json", "out/train") == (
        "squad_to_text: a.json, line 2, column 13: must be JSON, but is not: Expecting value"
    )
    (tmp_path / "a.json").write_bytes(b'{"data":\n\n"\xe9"}')
    assert refused(convert, "a.json", "out/train") == "squad_to_text: a.json, line 3: must be UTF-8, but has byte 0xe9"
    assert "No such file" in refused(convert, "none.json", "out/train")


def test_nothing_to_write(convert: Convert, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    message = "squad_to_text: FILE.json must hold a question with an answer, but a.json holds none"
    assert refused(convert, "a.json", "out/train") == message


def test_what_was_there_stays_on_an_error(convert: Convert, tmp_path: Path) -> None:
    write_squad(tmp_path / "a.json", make_articles(2))
    convert("a.json", "out/train")
    before = lines("out/train")
    write_squad(tmp_path / "b.json", [*make_articles(1), {"title": "B"}])
    with pytest.raises(SystemExit):
        convert("b.json", "out/train")
    assert lines("out/train") == before
    assert len(list(Path("out").iterdir())) == 2
