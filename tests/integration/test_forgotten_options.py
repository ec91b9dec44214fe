"""What fairseq says where --user-dir or --task is forgotten: docs/install.md explains each by its words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import ROOT
from .conftest import Setting

Command = Callable[..., str]
EXPLAINED = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("generate", [], "KeyError: \"'_name'\""),
        ("generate", ["--task", "translation_bnb"], "invalid choice: 'translation_bnb'"),
        ("validate", ["--batch-size", "8"], "KeyError: None"),
    ],
)
def test_without_the_plugin(
    command: str, options: list[str], said: str, setting: Setting, checkpoint: Path, fairseq: Command
) -> None:
    output = fairseq(command, setting.data_bin, "--path", checkpoint, "--cpu", *options, plugin=False, fails=True)
    assert said in output
    assert f"`{said}`" in EXPLAINED


def test_preprocess_without_the_plugin(setting: Setting, fairseq: Command, tmp_path: Path) -> None:
    line = ["-s", "en", "-t", "de", "--testpref", setting.text / "test", "--srcdict", setting.bert]
    output = fairseq("preprocess", *line, "--destdir", tmp_path, plugin=False, fails=True)
    assert "IsADirectoryError" in output
    assert "`IsADirectoryError`" in EXPLAINED
