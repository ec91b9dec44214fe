"""Commands run in the tests' process, and a fairseq-generate that needs no model."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from bnb_fairseq.cli import average as command
from bnb_fairseq.cli import score
from bnb_fairseq.evaluation import runs

Main = Callable[..., str]
Refused = Callable[..., str]
Write = Callable[[Path, Sequence[str]], Path]

REFERENCES = ["die Zelle ist leer .", "das Blatt hat eine Zeile .", "öffne die neue Datei .", "so , so , so geht das ."]
SOURCES = ["the cell is empty .", "the sheet has a row .", "open the new file .", "it goes like like that ."]
# Stands for fairseq-generate: the checkpoint holds the translations, and calls are counted beside the data. A run of a
# checkpoint is as fast as --speeds says; the word none in it stands for an output that tells no speed.
FAIRSEQ_GENERATE = """#!{python} -S
import pathlib, sys
calls = pathlib.Path(sys.argv[1]) / "calls"
checkpoint = sys.argv[sys.argv.index("--path") + 1]
with calls.open("a") as file:
    print(checkpoint, file=file)
print("loading model(s)", file=sys.stderr)
if "--fail" in sys.argv:
    print("the last line")
    sys.exit(3)
lines = pathlib.Path(checkpoint).read_text(encoding="utf-8").splitlines()
for i in reversed(range(len(lines))):
    print(f"S-{{i}}\\tx\\nD-{{i}}\\t-1.0\\t{{lines[i]}}")
for i in range(300 if "--long" in sys.argv else 0):  # lines around the size of Python's buffer
    print("H-0\\t" + (8000 + i) * "h")
    print("a warning", file=sys.stderr)
speeds = ["1,034.56"]
if "--speeds" in sys.argv:
    speeds = sys.argv[sys.argv.index("--speeds") + 1].split("/")
speed = speeds[(calls.read_text().split().count(checkpoint) - 1) % len(speeds)]
if speed != "none":
    print(f"Translated 4 sentences (20 tokens) in 0.1s ({{speed}} sentences/s, 99.00 tokens/s)")
"""


@pytest.fixture
def average() -> Callable[..., dict[str, Any]]:
    """Average checkpoints; what the command wrote."""

    def run(*arguments: object) -> dict[str, Any]:
        command.COMMAND.execute([str(argument) for argument in arguments])
        return dict(torch.load(str(arguments[-1])))

    return run


@pytest.fixture
def folder(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data, texts, a good and a bad checkpoint, and a fairseq-generate that needs no model; the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "dict.en.txt", ["x 1"])
    (tmp_path / "plugin").mkdir()
    write(tmp_path / "data" / "test.en-de.en.bin", ["binary"])
    write(tmp_path / "data" / "train.en-de.en.bin", ["binary"])
    write(tmp_path / "text.en", SOURCES)
    write(tmp_path / "text.de", REFERENCES)
    write(tmp_path / "good.pt", REFERENCES)
    write(tmp_path / "bad.pt", ["x x x x x"] * 4)
    program = tmp_path / "fairseq-generate"
    program.write_text(FAIRSEQ_GENERATE.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(runs, "GENERATE", program)
    return tmp_path


@pytest.fixture
def run_score(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """Run ``bnb-score`` and return what it shows, stdout first."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["/bin/bnb-score", *arguments])
        score.main()
        return "".join(capsys.readouterr())

    return run


@pytest.fixture
def main(folder: Path, run_score: Main) -> Main:
    """Run ``bnb-score checkpoints`` on the data of ``folder`` and return what it shows, stdout first."""
    texts = ["data", "--source", "text.en", "--reference", "text.de", "--output", "out", "--cpu"]
    return lambda *arguments: run_score("checkpoints", *texts, "--user-dir", "plugin", *arguments)


@pytest.fixture
def refused(run_score: Main, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that refuses its arguments, and return its error: argparse's last line, or the only one."""

    def run(command: Main, *arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            command(*arguments)
        shown = capsys.readouterr()
        assert shown.out == ""
        if caught.value.code == 2:
            return shown.err.partition("error: ")[2]
        assert str(caught.value.code).startswith("bnb-score: ")
        return str(caught.value.code).removeprefix("bnb-score: ")

    return run


def calls(folder: Path) -> list[str]:
    """The checkpoints that were translated with, in order."""
    file = folder / "data" / "calls"
    return file.read_text(encoding="utf-8").split() if file.exists() else []
