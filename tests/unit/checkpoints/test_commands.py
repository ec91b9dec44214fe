"""Which checkpoints a command is about to read, from its command line or its configuration."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bnb_fairseq.checkpoints.commands import check_command_line, check_named

GENERATE, VALIDATE = "/venv/bin/fairseq-generate", "/site-packages/fairseq_cli/validate.py"


@pytest.fixture
def bad(tmp_path: Path) -> str:
    (tmp_path / "bad.pt").write_text("no checkpoint")
    return str(tmp_path / "bad.pt")


@pytest.mark.parametrize(
    "line",
    [
        [GENERATE, "data", "--path", "BAD"],
        [GENERATE, "data", "--path=BAD", "--beam", "5"],
        [GENERATE, "data", "--path", "missing.pt:BAD"],
        [GENERATE, "data", "--lm-path", "BAD", "--path", "missing.pt"],
        [VALIDATE, "data", "--path", "BAD", "--task", "translation"],
        ["fairseq-interactive", "--path", "BAD"],
        ["fairseq-hydra-validate", "common_eval.path=BAD"],
    ],
)
def test_command_lines_that_name_a_checkpoint(line: list[str], bad: str) -> None:
    line = [word.replace("BAD", bad) for word in line]
    with pytest.raises(ValueError, match=r"bad\.pt: must be a checkpoint of fairseq, but"):
        check_command_line(line)


@pytest.mark.parametrize(
    "line",
    [
        ["generate.py", "--path", "BAD"],  # somebody's own program
        ["fairseq-train", "--path", "BAD"],
        [GENERATE, "data"],
        [GENERATE, "data", "--path"],
        [GENERATE, "data", "--checkpoint-shard-count", "x", "--path", "BAD"],  # fairseq ends with its usage
        [""],
    ],
)
def test_other_command_lines(line: list[str], bad: str) -> None:
    check_command_line([word.replace("BAD", bad) for word in line])


def options(**given: object) -> Any:
    usual = {"path": None, "lm_path": None, "checkpoint_suffix": "", "checkpoint_shard_count": 1}
    return SimpleNamespace(**{**usual, **given})


def test_options_of_a_task(bad: str, tmp_path: Path) -> None:
    check_named(options())
    check_named(options(path="${common_eval.path}", checkpoint_shard_count="${checkpoint.checkpoint_shard_count}"))
    for given in ({"path": bad}, {"lm_path": bad}, {"path": f"{tmp_path}/none.pt:{bad}"}):
        with pytest.raises(ValueError, match=r"bad\.pt: must be a checkpoint"):
            check_named(options(**given))


def test_parts_of_a_model(bad: str, tmp_path: Path) -> None:
    """fairseq reads them in place of the file that is named."""
    for suffix, shards, part in (("", 1, "x-shard0.pt"), ("-part", 1, "x-part.pt"), ("", 3, "x_part2.pt")):
        Path(bad).rename(tmp_path / part)
        given = options(path=f"{tmp_path}/x.pt", checkpoint_suffix=suffix, checkpoint_shard_count=shards)
        with pytest.raises(ValueError, match=rf"{part}: must be a checkpoint"):
            check_named(given)
        (tmp_path / part).rename(bad)
