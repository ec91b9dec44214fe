"""bnb-speed on a trained checkpoint with a bert2bert as its baseline."""

import re
from collections.abc import Callable
from pathlib import Path

from ..facts import check_faults, says
from . import forked
from .conftest import TRAIN, Setting

Command = Callable[..., str]
QUICK = ("--batch-sizes", 1, 4, "--runs", 1, "--sentences", 6, "--cpu", "--threads", 1)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_ctc_beside_bert2bert(setting: Setting, checkpoint: Path, fairseq: Command, tmp_path: Path) -> None:
    options = ["--arch", "bert2bert", "--criterion", "cross_entropy", "--bert-encoder", setting.bert]
    options += ["--encoder-layers", 1, "--decoder-layers", 1, "--max-update", 2, "--disable-validation"]
    fairseq("train", setting.data_bin, *TRAIN, *options, "--save-dir", tmp_path)
    baseline = tmp_path / "checkpoint_last.pt"
    line = ["bnb-speed", checkpoint, "--data", setting.data_bin, "--baseline", baseline, "--max-len-b", 12]
    done = forked.capture(*line, *QUICK, "--ctc-beam", 3)
    assert done.returncode == 0, done.stderr[-3000:]
    table, about, machine = done.stdout.split("\n\n")
    rows = cells(table)[2:]
    systems = ["CHECKPOINT: one pass", "CHECKPOINT: --ctc-beam 3", "--baseline: greedy", "--baseline: beam 5"]
    assert [row[:2] for row in rows] == [[batch, system] for batch in "14" for system in systems]
    for row in rows:
        each, speed = float(row[4]), float(row[2].split()[0].replace(",", ""))
        assert each * speed / 1000 == 1 or abs(each * speed / 1000 - 1) < 0.05
        assert float(row[3].replace(",", "")) > 0, "it writes something"
        assert re.fullmatch(r"\d+\.\d\d ±0%", row[5]), "one run has no spread"
    assert [row[5] for row in rows if row[1] == systems[0]] == ["1.00 ±0%"] * 2
    assert about.startswith("6 sentences of test; 1 runs in turns; CHECKPOINT: ")
    assert str(baseline) in about
    assert machine.startswith("commit ") and ", threads 1, " in machine
    assert done.stderr.count("run 1 of 1") == 2


def test_one_line_says_what_is_wrong(setting: Setting, checkpoint: Path, tmp_path: Path) -> None:
    done = forked.capture("bnb-speed", checkpoint, "--data", tmp_path, "--batch-sizes", 2, 0, "--runs", 0)
    assert done.returncode == 1
    numbers = ["--batch-sizes ... at least 1 ... 0", "--runs ... at least 1 ... 0"]
    check_faults(done.stderr, [f"bnb-speed: DATA_BIN ... {tmp_path}", *numbers])
    assert len(done.stderr.splitlines()) == 1
    done = forked.capture("bnb-speed", tmp_path / "no.pt", "--data", setting.data_bin)
    assert done.returncode == 1
    assert says(done.stderr, f"bnb-speed: CHECKPOINT {tmp_path}/no.pt ... no such file")
    assert len(done.stderr.splitlines()) == 1
