"""Commands that find no room for what they write: one line, and nothing half done remains."""

import os
import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

from ..conftest import ROOT
from ..unit.checkpoints.conftest import good  # noqa: F401  # a fixture
from ..unit.conftest import random_parameters  # noqa: F401  # which it needs
from . import forked

SEED = ROOT / "tests" / "fixtures" / "seed-checkpoint"
LARGEST = 30_000  # bytes of a file


def _become(words: Sequence[str], folder: Path, log: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    forked._become(words, folder, (forked.NOTHING, log, log), {**os.environ, "PYTHONPATH": str(ROOT)}, False)


def run_without_room(name: str, *words: object, folder: Path) -> str:
    """Run a command that can write no large file, and return what it prints."""
    log = folder / "log"
    line = [name, *map(str, words)]
    process = forked.PROCESSES.Process(target=_become, args=(line, folder, log))
    process.start()
    process.join()
    printed = log.read_text(encoding="utf-8", errors="replace")
    assert process.exitcode == 1, printed
    assert "Traceback" not in printed
    return printed.splitlines()[-1]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    line = ["bnb-convert", "seed-to-fairseq", str(SEED), "model.pt"]
    forked.run(line, folder, folder / "log", [str(ROOT)])
    return folder / "model.pt"


@pytest.mark.parametrize("command", ["seed-to-fairseq", "fairseq-to-seed", "fairseq-to-hf"])
def test_conversion(command: str, converted: Path, tmp_path: Path) -> None:
    words = [SEED, "out/model.pt"] if command == "seed-to-fairseq" else [converted, "out/model"]
    said = run_without_room("bnb-convert", command, *words, folder=tmp_path)
    assert said.startswith(f"bnb-convert: {tmp_path}/out"), said
    assert " cannot be written: " in said
    assert [path.name for path in tmp_path.rglob("*")] in (["out", "log"], ["log", "out"])


def test_averaging(good: Path, tmp_path: Path) -> None:  # noqa: F811
    said = run_without_room("bnb-average", "--checkpoints", good, "out.pt", folder=tmp_path)
    assert said.startswith("bnb-average: . cannot be written: ")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_export(good: Path, tmp_path: Path) -> None:  # noqa: F811
    words = ["--checkpoint", good, "--data", good.parent, "--output", "out/model"]
    said = run_without_room("bnb-export", *words, folder=tmp_path)
    assert said.startswith(f"bnb-export: {tmp_path}/out/model cannot be written: ")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["log", "out"]


def test_ngram_model(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("".join(f"{i} {i + 1}\n" for i in range(2000)))
    said = run_without_room("bnb-ngram", text, "--order", 2, "--output", "lm.arpa", folder=tmp_path)
    assert said == "bnb-ngram: . cannot be written: [Errno 27] File too large"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "text"]


def test_distillation(good: Path, tmp_path: Path) -> None:  # noqa: F811
    """What was translated stays, for the same command to go on from."""
    words = [good.parent, "--teacher", good, "--output", "out", "--cpu"]
    said = run_without_room("bnb-distill", *words, folder=tmp_path)
    assert said.startswith("bnb-distill: out cannot be written: [Errno 27] File too large")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run.json", "shards", "train.de"]
    line = ["bnb-distill", *map(str, words)]
    assert "1 of 1 shards were done before" in forked.run(line, tmp_path, tmp_path / "log", [str(ROOT)])
