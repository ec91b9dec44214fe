"""The command line and the table."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import FILES, Part

CUSTOM = ["--task", "custom", "--train", "t.tsv", "--dev", "d.tsv", "--output", "o", "--bert-encoder", "b"]
COLUMNS = ["--text-columns", "text", "--label-column", "label"]


def result(train: int, *parts: tuple[str, int, dict[str, float], float | None]) -> dict[str, Any]:
    keys = ("title", "examples", "metrics", "majority")
    return {"train": train, "parts": [dict(zip(keys, values, strict=True)) for values in parts]}


def test_table(part: Part) -> None:
    results = {
        "MNLI": result(
            392702, ("MNLI-m", 9815, {"accuracy": 80.0}, 35.4), ("MNLI-mm", 9832, {"accuracy": 84.06}, 35.2)
        ),
        "MRPC": result(3668, ("MRPC", 408, {"accuracy": 86.0, "f1": 90.0}, 68.38)),
        "STS-B": result(5749, ("STS-B", 1500, {"pearson": 70.0, "spearman": 60.0}, None)),
    }
    assert part("report").format_table(results).splitlines() == [
        "| task | train | dev | accuracy | F1 | Pearson | Spearman | majority | score |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
        "| MNLI-m | 392,702 | 9,815 | 80.0 | - | - | - | 35.4 | 80.0 |",
        "| MNLI-mm | 392,702 | 9,832 | 84.1 | - | - | - | 35.2 | 84.1 |",
        "| MRPC | 3,668 | 408 | 86.0 | 90.0 | - | - | 68.4 | 88.0 |",
        "| STS-B | 5,749 | 1,500 | - | - | 70.0 | 60.0 | - | 65.0 |",
        "| average of 3 |  |  |  |  |  |  |  | 78.3 |",  # 82.03, 88 and 65
    ]


def test_one_task_has_no_average(part: Part) -> None:
    lines = part("report").format_table({"RTE": result(2, ("RTE", 1, {"accuracy": 50.0}, 50.0))}).splitlines()
    assert lines[2:] == ["| RTE | 2 | 1 | 50.0 | 50.0 | 50.0 |"]


def test_columns_are_explained(part: Part) -> None:
    explain = part("report").explain
    assert "Majority:" in explain({"RTE": result(2, ("RTE", 1, {"accuracy": 50.0}, 50.0))})
    assert "Majority:" not in explain({"STS-B": result(2, ("STS-B", 1, {"pearson": 50.0}, None))})


def test_tasks(run_glue: ModuleType, tmp_path: Path) -> None:
    def chosen(*names: str) -> list[str]:
        line = [str(tmp_path), "--output", "o", "--bert-encoder", "b", *(x for name in names for x in ("--task", name))]
        return [task.name for task in run_glue.choose_tasks(run_glue.parse_arguments(line))]

    assert chosen("all") == list(FILES)
    assert chosen("WNLI", "RTE", "WNLI") == ["WNLI", "RTE"]
    assert chosen("RTE", "all") == ["RTE", *(name for name in FILES if name != "RTE")]


def test_custom_columns(run_glue: ModuleType) -> None:
    (named,) = run_glue.choose_tasks(run_glue.parse_arguments([*CUSTOM, *COLUMNS]))
    assert (named.train.columns.texts, named.train.columns.label, named.train.columns.header) == (
        ("text",),
        "label",
        True,
    )
    line = [*CUSTOM, "--no-header", "--text-columns", "1", "2", "--label-column", "3", "--test", "x.tsv"]
    (numbered,) = run_glue.choose_tasks(run_glue.parse_arguments(line))
    assert (numbered.dev[0].columns.texts, numbered.dev[0].columns.label) == ((1, 2), 3)
    assert (numbered.test[0].columns.label, numbered.bounds) == (None, None)


def test_what_goes_to_fairseq(run_glue: ModuleType) -> None:
    assert run_glue.parse_arguments([*CUSTOM, *COLUMNS]).more == []
    assert run_glue.parse_arguments([*CUSTOM, *COLUMNS, "--", "--fp16", "--lr", "1"]).more == ["--fp16", "--lr", "1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--task", "RTE", "--output", "o", "--bert-encoder", "b"], "GLUE_DIR must be a folder, but is None"),
        (["no", "--task", "RTE", "--output", "o", "--bert-encoder", "b"], "GLUE_DIR must be a folder, but is no"),
        ([".", "--task", "RTE", "--output", "o"], "--dictionary must name the BERT or dict.txt"),
        (
            [".", "--task", "RTE", "--output", "o", "--bert-encoder", "b", *COLUMNS],
            "--text-columns needs --task custom",
        ),
        ([".", "--task", "SNLI", "--output", "o"], "invalid choice: 'SNLI'"),
        (CUSTOM, "--task custom needs --text-columns; --task custom needs --label-column"),
        ([*CUSTOM, *COLUMNS, "--no-header"], "--no-header: columns must be numbers from 1, but are text, label"),
        (
            [*CUSTOM, "--no-header", "--text-columns", "0", "--label-column", "1"],
            "--no-header: columns must be numbers from 1, but are 0, 1",
        ),
        (
            [*CUSTOM, "--text-columns", "a", "b", "c", "--label-column", "d"],
            "--text-columns must name one or two columns, but names 3",
        ),
        (
            [*CUSTOM, *COLUMNS, "--pretrained-checkpoint", "x"],
            "--pretrained-checkpoint replaces --bert-encoder",
        ),
        ([*CUSTOM, *COLUMNS, "--max-epoch", "0"], "--max-epoch must be at least 1, but is 0"),
        ([*CUSTOM, *COLUMNS, "--warmup-share", "1"], "--warmup-share must lie in [0, 1), but is 1.0"),
        ([*CUSTOM, *COLUMNS, "--lr", "0"], "--lr must be positive, but is 0.0"),
    ],
)
def test_refused(line: list[str], message: str, run_glue: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_glue.parse_arguments(line)
    assert message in " ".join(capsys.readouterr().err.split())
