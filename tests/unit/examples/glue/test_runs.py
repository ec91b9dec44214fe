"""A task from files to result: what is done again and what is not; a training and a model that are none."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import Part, Write

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "it", "is"]
Run = Callable[..., dict[str, Any]]


class Oracle:
    """Stands for a trained classifier; it says what it is told to."""

    says: dict[str, list[Any]]

    def __init__(self, checkpoint: Path, data_bin: Path, cpu: bool) -> None:
        assert checkpoint.is_file()

    def predict(self, split: str, batch_size: int) -> list[Any]:
        return self.says[split]


@pytest.fixture
def trainings(part: Part, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run."""
    commands: list[list[str]] = []

    def train(command: list[str], log: Path, save_dir: Path) -> Path:
        commands.append(command)
        save_dir.mkdir()
        (save_dir / "checkpoint_best.pt").touch()
        return save_dir / "checkpoint_best.pt"

    monkeypatch.setattr(part("runs"), "train", train)
    monkeypatch.setattr(part("runs"), "Classifier", Oracle)
    return commands


@pytest.fixture
def run(run_glue: ModuleType, part: Part, glue: Path, write: Write, trainings: list[list[str]]) -> Run:
    """Run one of GLUE's tasks; what the classifier says is given by part."""
    write(glue / "vocab.txt", WORDS)

    def finish(name: str, *more: str, **says: list[Any]) -> dict[str, Any]:
        Oracle.says = says
        line = [str(glue), "--task", name, "--output", str(glue / "out"), "--bert-encoder", str(glue / "vocab.txt")]
        arguments = run_glue.parse_arguments([*line, "--cpu", *more])
        (task,) = run_glue.choose_tasks(arguments)
        return dict(part("runs").TaskRun.open(task, arguments).finish(arguments))

    return finish


def test_result(run: Run, glue: Path) -> None:
    result = run("MNLI", valid=["entailment"], valid1=["neutral"])
    assert result == {
        "train": 2,
        "parts": [
            {"title": "MNLI-m", "examples": 1, "metrics": {"accuracy": 100.0}, "majority": 0.0},
            {"title": "MNLI-mm", "examples": 1, "metrics": {"accuracy": 0.0}, "majority": 0.0},
        ],
        "checkpoint": "checkpoint_best.pt",
    }
    assert json.loads((glue / "out" / "MNLI" / "result.json").read_text()) == result


def test_regression(run: Run, glue: Path, write: Write) -> None:
    rows = (glue / "STS-B" / "dev.tsv").read_text().splitlines()
    write(glue / "STS-B" / "dev.tsv", [*rows, rows[1].replace("0.000", "5.0")])
    result = run("STS-B", "--predict-test", valid=[1.0, 2.0], test=[7.125])
    assert result["parts"][0]["metrics"] == {"pearson": pytest.approx(100.0), "spearman": pytest.approx(100.0)}
    assert result["parts"][0]["majority"] is None
    submission = (glue / "out" / "submission" / "STS-B.tsv").read_text()
    assert submission == "index\tprediction\n0\t5.000\n"


def test_a_result_is_used_again(run: Run, trainings: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    first = run("RTE", valid=["entailment"])
    assert "trained before" not in capsys.readouterr().err
    assert run("RTE") == first
    assert "trained before" in capsys.readouterr().err
    assert len(trainings) == 1


def test_predictions_may_follow_later(run: Run, glue: Path, trainings: list[list[str]]) -> None:
    run("CoLA", valid=["0"])
    run("CoLA", "--predict-test", valid=["0"], test=["1", "0"])
    assert (glue / "out" / "submission" / "CoLA.tsv").read_text() == "index\tprediction\n0\t1\n1\t0\n"
    run("CoLA", "--predict-test")
    assert len(trainings) == 1


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (["--lr", "1e-5"], "lr: 3e-05 then, 1e-05 now"),
        (["--seed", "2"], "seed: 1 then, 2 now"),
        (["--", "--fp16"], r"more: \[\] then, \['--fp16'\] now"),
    ],
)
def test_other_options_need_another_folder(more: list[str], found: str, run: Run, trainings: list[list[str]]) -> None:
    run("RTE", valid=["entailment"])
    with pytest.raises(ValueError, match=rf"out/RTE was made with other options or data \({found}\); choose another"):
        run("RTE", *more)
    assert len(trainings) == 1


def test_other_data_need_another_folder(run: Run, glue: Path, write: Write) -> None:
    run("RTE", valid=["entailment"])
    rows = (glue / "RTE" / "dev.tsv").read_text().splitlines()
    write(glue / "RTE" / "dev.tsv", [*rows, "1\tMore.\tLess.\tentailment"])
    with pytest.raises(ValueError, match=r"made with other options or data \(data: "):
        run("RTE")


def test_a_training_that_was_interrupted_goes_on(
    run: Run, glue: Path, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(command: list[str], log: Path, save_dir: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(part("runs"), "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("RTE")
    assert not (glue / "out" / "RTE" / "result.json").exists()
    with pytest.raises(ValueError, match="other options"):
        run("RTE", "--lr", "1")
    assert run("RTE", valid=["entailment"])["train"] == 2


def test_damaged_rows_are_told(run: Run, glue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (glue / "QQP" / "train.tsv").open("a") as lines:
        lines.write("17\t1\n")
    run("QQP", valid=["0"])
    said = capsys.readouterr().err
    assert "examples: train 2, QQP 1; 2 labels" in said
    assert "QQP/train.tsv: 1 rows lack fields and are skipped (lines 4)" in said


def test_options_are_told(part: Part) -> None:
    options: dict[str, object] = {
        "bert_encoder": None,
        "pretrained_checkpoint": "x.pt",
        "classify_with": "decoder",
        "max_epoch": 2,
    }
    options |= {"batch_size": 8, "lr": 0.001, "max_positions": 64, "seed": 3}
    assert part("runs").describe_options(argparse.Namespace(**options)) == (
        "x.pt, classified with the decoder: 2 epochs, batches of 8, learning rate 0.001, at most 64 tokens, seed 3"
    )
