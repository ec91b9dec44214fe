"""Trainings that are killed, and what the same command does then. ``interrupting.py`` does it more often."""

import random
import re
from pathlib import Path

import pytest

from .conftest import Command, Setting
from .interrupting import COMMON, KINDS, LOG, compare_folders, interrupt, train


def options(setting: Setting, kind: str, *more: object) -> list[object]:
    small = ["--encoder-layers", 1, "--decoder-layers", 1, "--train-subset", "test"]  # two epochs of 19 updates
    return [setting.data_bin, *COMMON, "--bert-encoder", setting.bert, *KINDS[kind], *small, *more]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "workers"), [("vae", 0), ("bert2bert", 2)])
def test_a_killed_training_ends_as_one_in_one_go(kind: str, workers: int, setting: Setting, tmp_path: Path) -> None:
    line = options(setting, kind, "--num-workers", workers)
    _, found = interrupt(line, tmp_path / "trainings", 2, random.Random(3))
    assert found == []


@pytest.mark.slow
def test_a_cut_copy_is_replaced_and_a_finished_training_stays(setting: Setting, tmp_path: Path) -> None:
    line = options(setting, "ctc", "--num-workers", 0)
    train(line, tmp_path / "whole")
    train([*line, "--max-update", 35], tmp_path / "cut")  # in the second epoch
    folder = tmp_path / "cut" / "checkpoints"
    with (folder / "checkpoint_last.pt").open("rb+") as last:
        last.truncate(100_000)
    train(line, tmp_path / "cut")
    log = (tmp_path / "cut" / LOG).read_text()
    assert "checkpoint_last.pt ends too early and is now checkpoint_last.pt.damaged; training resumes from" in log
    assert compare_folders(tmp_path / "whole", tmp_path / "cut") == []
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for limit in ([], ["--max-epoch", 9, "--max-update", 38]):
        train([*line, *limit], tmp_path / "cut")
        assert "is of a finished training" in (tmp_path / "cut" / LOG).read_text()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_loss_that_becomes_nan(setting: Setting, fairseq: Command, tmp_path: Path) -> None:
    """With such a rate after one update; what was saved before stays."""
    line = options(setting, "ctc", "--num-workers", 0)
    train([*line, "--max-update", 5], tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    before = (folder / "checkpoint_last.pt").read_bytes()
    output = fairseq("train", *line, "--save-dir", folder, "--lr", "1e30", "--reset-lr-scheduler", fails=True)
    assert re.search(r"FloatingPointError: update 7: the loss is (nan|inf) for the batch of \d+ items \d+, ", output)
    assert (folder / "checkpoint_last.pt").read_bytes() == before
