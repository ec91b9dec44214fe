"""The training's command, and what is shown of its log."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from .conftest import FILES, Part

BEGIN = "2024-01-01 12:00:00 | INFO | "
Command = Callable[..., list[str]]


@pytest.fixture
def command(run_glue: ModuleType, part: Part, tmp_path: Path) -> Command:
    def make(name: str, *more: str, examples: int = 100) -> list[str]:
        line = [str(tmp_path), "--task", name, "--output", "out", "--dictionary", "x", "--cpu", *more]
        arguments = run_glue.parse_arguments(line)
        task = part("tasks").GLUE[name]
        return list(part("training").make_command(task, Path("bin"), Path("save"), examples, arguments))

    return make


def value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def test_schedule(command: Command) -> None:
    usual = command("RTE")  # 100 examples are 4 batches of 32
    assert [value(usual, option) for option in ("--max-epoch", "--total-num-update", "--warmup-updates")] == [
        "3",
        "12",
        "1",
    ]
    assert [value(usual, option) for option in ("--lr", "--batch-size", "--max-positions")] == ["3e-05", "32", "128"]
    other = command("RTE", "--max-epoch", "2", "--batch-size", "10", "--warmup-share", "0.25", examples=101)
    assert [value(other, option) for option in ("--total-num-update", "--warmup-updates")] == ["22", "6"]


@pytest.mark.parametrize(("gpus", "cpu", "updates"), [(0, False, 12), (1, False, 12), (3, False, 6), (3, True, 12)])
def test_gpus_share_the_batches(
    gpus: int, cpu: bool, updates: int, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    arguments = argparse.Namespace(cpu=cpu, batch_size=32, max_epoch=3)
    assert part("training").count_updates(100, arguments) == updates  # 4 batches in an epoch


@pytest.mark.parametrize(
    ("names", "metric", "flags"),
    [
        (["SST-2", "MNLI", "QNLI", "RTE", "WNLI"], "accuracy", []),
        (["MRPC", "QQP"], "acc_and_f1", ["--report-acc-and-f1"]),
        (["CoLA"], "mcc", ["--report-mcc"]),
        (["STS-B"], "pearson_and_spearman", ["--regression-target", "--report-pearson-and-spearman"]),
    ],
)
def test_metrics(names: list[str], metric: str, flags: list[str], command: Command) -> None:
    for name in names:
        line = command(name)
        assert value(line, "--best-checkpoint-metric") == metric
        assert [word for word in line if word.startswith(("--report", "--regression"))] == flags
        assert "--maximize-best-checkpoint-metric" in line


def test_every_task_has_a_metric_that_chooses(part: Part) -> None:
    assert {part("tasks").GLUE[name].metrics for name in FILES} <= set(part("training").REPORTS)


def test_start_and_more(command: Command) -> None:
    line = command("RTE", "--pretrained-checkpoint", "x.pt", "--classify-with", "decoder", "--", "--fp16", "--lr", "1")
    assert value(line, "--pretrained-checkpoint") == "x.pt"
    assert value(line, "--classify-with") == "decoder"
    assert "--bert-encoder" not in line
    assert line[-3:] == ["--fp16", "--lr", "1"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "valid | epoch 002 | valid on 'valid' subset | loss 0.551 | nll_loss 0.02 | accuracy 71.2 | wps 3512.7 | "
            "num_updates 24 | best_accuracy 71.2",
            "epoch 2, valid: loss 0.551, accuracy 71.2",
        ),
        (
            "valid | epoch 001 | valid on 'valid' subset | loss 1 | accuracy 50 | acc_and_f1 44.5 | f1 39 | wps 9",
            "epoch 1, valid: loss 1, accuracy 50, acc_and_f1 44.5",
        ),
        (
            "train_inner | epoch 001:    100 / 308 loss=0.9, nll_loss=0.05, num_updates=100, lr=1e-05",
            "update 100: loss 0.9",
        ),
        (
            "bnb_fairseq.tasks.x | train: 3 of 9 items (33.3%) cut to 128 tokens",
            "train: 3 of 9 items (33.3%) cut to 128 tokens",
        ),
        ("train | epoch 001 | loss 9.4 | num_updates 300", None),
        ("", None),
    ],
)
def test_digest(line: str, shown: str | None, part: Part) -> None:
    assert part("training").digest(BEGIN + line) == shown


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_training_leaves_a_checkpoint(part: Part, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, log = part("training").train, tmp_path / "log"
    touch = f"import pathlib; pathlib.Path({str(tmp_path)!r}, 'checkpoint_{{}}.pt').touch(); print('x | 2 items (1%)')"
    with pytest.raises(RuntimeError, match=f"fairseq-train ended with exit status 0; its whole log is {log}"):
        train(python("print('done')"), log, tmp_path)
    assert train(python(touch.format("last")), log, tmp_path).name == "checkpoint_last.pt"
    assert train(python(touch.format("best")), log, tmp_path).name == "checkpoint_best.pt"
    out, err = capsys.readouterr()
    assert (out, err) == ("", "   2 items (1%)\n" * 2)
    with pytest.raises(RuntimeError, match="exit status 3"):
        train(python("import sys; print('why'); sys.exit(3)"), log, tmp_path)
    assert "why" in capsys.readouterr().err
    assert "done" in log.read_text()


def test_log_is_kept_and_goes_on(part: Part, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "train.log"
    log.write_text("before\n")
    code = "import sys; print('| train_inner | loss=2.5, num_updates=1'); print('error', file=sys.stderr)"
    assert part("training").run(python(code), log) == 0
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert sorted(lines[1:]) == ["error", "| train_inner | loss=2.5, num_updates=1"]
    assert capsys.readouterr().err == "   update 1: loss 2.5\n"


def test_failure_shows_the_last_lines(part: Part, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; [print('line', i) for i in range(100)]; sys.exit(3)"
    assert part("training").run(python(code), tmp_path / "log") == 3
    assert capsys.readouterr().err == "".join(f"line {i}\n" for i in range(70, 100))
    assert len((tmp_path / "log").read_text().splitlines()) == 100


def test_interrupted_progress_stops_the_training(part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(part("training"), "digest", interrupt)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        part("training").run(python(code), tmp_path / "log")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)
