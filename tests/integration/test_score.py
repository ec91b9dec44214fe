"""The command that compares checkpoints, as a user types it."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from . import forked
from .conftest import Setting

Benchmark = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def benchmark(setting: Setting, device: str, tmp_path: Path) -> Benchmark:
    """Run it from a folder of its own."""

    def run(*systems: str) -> "subprocess.CompletedProcess[str]":
        line = ["bnb-score", "checkpoints", setting.data_bin]
        line += ["--source", setting.text / "test.en", "--reference", setting.text / "test.de"]
        line += ["--output", "quality", "--bootstrap", "50", *(["--cpu"] if device == "cpu" else [])]
        return forked.capture(*line, *systems, cwd=tmp_path)

    return run


def shares(setting: Setting, folder: Path) -> list[list[str]]:
    """The last table of the analysis."""
    line: list[object] = ["bnb-score", "analysis", "quality"]
    for option, name in (("--source", "test.en"), ("--reference", "test.de"), ("--train-text", "train.de")):
        line += [option, setting.text / name]
    done = forked.capture(*line, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in done.stdout.split("\n\n")[-1].splitlines()]
    return [rows[0], *rows[2:]]


@pytest.mark.slow
def test_two_systems_and_one_that_fails(
    benchmark: Benchmark, setting: Setting, checkpoint: Path, tmp_path: Path
) -> None:
    systems = [f"once={checkpoint}", f"again={checkpoint} --num-workers 0"]
    done = benchmark(*systems, "--speed-rounds", "2", "--picture", "quality/quality.png")
    assert done.returncode == 0, done.stderr
    turns = [f"{name}, round {number} of 2" for number in (1, 2) for name in ("once", "again")]
    progress = "".join(rf"\[{i}/4\] {turn}: \d+ s\n" for i, turn in enumerate(turns, start=1))
    assert re.fullmatch(progress, done.stderr), done.stderr
    assert (tmp_path / "quality" / "quality.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((tmp_path / "quality" / "quality.json").read_text(encoding="utf-8"))
    first, second, copied, reference = content["rows"]
    assert first["bleu"] == second["bleu"] != copied["bleu"]
    assert first["repetition"] == second["repetition"] > reference["repetition"]
    assert first["bootstrap"] == second["bootstrap"]
    assert all(len(row["speed_rounds"]) == 2 and min(row["speed_rounds"]) > 0 for row in (first, second))
    assert content["runs"]["again"]["command"].endswith("--num-workers 0")
    table, *_ = done.stdout.split("\n\n")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert [row[3] for row in cells] == ["p", "--:", "baseline", "equal", "-", "-"]
    assert all(len(row) == 9 for row in cells)
    assert second["ratio"] == second["speed"] / first["speed"]
    assert (tmp_path / "quality" / "quality.md").read_text(encoding="utf-8") == done.stdout

    head, *rows = shares(setting, tmp_path)
    assert head == ["share, %", "once", "again", "reference"]
    assert len(rows) == 5
    assert all(one == other for _, one, other, _ in rows)

    failed = benchmark(*systems, f"refined={checkpoint} --iter-decode-max-iter 4")
    assert failed.returncode == 1
    assert failed.stdout == ""
    for number, name in enumerate(("once", "again"), start=1):
        assert f"[{number}/3] {name}: made before, used again\n" in failed.stderr
    assert "[3/3] refined: failed\n" in failed.stderr
    assert "--iter-decode-max-iter must be 0" in failed.stderr
    assert "refined: fairseq-generate ended with exit code 1; its whole output is quality/refined" in failed.stderr
