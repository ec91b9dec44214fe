"""Commands and scripts that are really started, as a user starts them, do what those of ``forked`` do.

So all other tests may fork. Both processes order sets differently and have random states of their own, which what they
write must not show.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import bnb_fairseq.plugin  # noqa: F401  (lets torch's safe loader read checkpoints with BLEU counts)

from ..conftest import ROOT
from ..squad_files import make_articles, write_squad
from . import forked
from .conftest import TRAIN, Setting

PLUGIN = ("--user-dir", ROOT / "bnb_fairseq", "--task", "translation_bnb")
EXACT = ("S-", "T-", "H-", "D-", "P-", "BLEU")
NUMBER = re.compile(r"[-\d.,:]*\d")
COMMANDS = ("preprocess", "train", "hydra-train", "generate", "interactive", "validate", "score")
QUICK = ("train", "generate")
SCRIPTS = (
    "examples/squad_qg/squad_to_text.py",
    *("bnb-average", "bnb-convert", "bnb-distill", "bnb-export", "bnb-ngram", "bnb-refinement", "bnb-score"),
    *("bnb-speed", "bnb-translate", "bnb-tune"),
)
TYPED = "Open the file.\nThe cell.\n"


def command(name: str, setting: Setting, checkpoint: Path) -> list[object]:
    """A short job for a command, in a folder of its own."""
    path = [setting.data_bin, "--path", checkpoint, "--cpu", *PLUGIN]
    small = ["--arch", "bnb_transformer_tiny", "--encoder-layers", 1, "--decoder-layers", 1, "--max-update", 2]
    pair = ["-s", "en", "-t", "de", "--testpref", setting.text / "test", "--workers", 2]
    hydra = [f"task.data={setting.data_bin}", f"model.bert_encoder={setting.bert}", "optimization.max_update=2"]
    words: dict[str, list[object]] = {
        "preprocess": [*pair, "--srcdict", setting.bert, "--tgtdict", setting.sentencepiece, "--destdir", ".", *PLUGIN],
        "train": [setting.data_bin, *TRAIN, *small, "--save-dir", ".", "--cpu", *PLUGIN],
        "hydra-train": [
            *("--config-dir", ROOT / "examples", "--config-name", "techdoc-en-de/ctc", *hydra, "common.cpu=true"),
            *("hydra.run.dir=.", f"common.user_dir={ROOT / 'bnb_fairseq'}"),
        ],
        "generate": [*path, "--batch-size", 64, "--scoring", "sacrebleu"],
        "interactive": [*path, "--buffer-size", 2, "--batch-size", 2],
        "validate": [*path, "--batch-size", 64],
        "score": ["--sys", setting.text / "test.en", "--ref", setting.text / "test.de"],
    }
    return [f"fairseq-{name}", *words[name]]


def script(name: str, setting: Setting, checkpoint: Path, exported: Path) -> list[object]:
    """A short job for a command of the package or a script, in a folder of its own."""
    path = [setting.data_bin, "--path", checkpoint, "--cpu"]
    quick = ["--batch-sizes", 8, "--runs", 1, "--sentences", 8]
    fixture = ROOT / "tests" / "fixtures" / "seed-checkpoint"
    words: dict[str, list[object]] = {
        "bnb-average": ["--checkpoints", checkpoint, checkpoint, "mean.pt"],
        "bnb-convert": ["seed-to-fairseq", fixture, "out/model.pt"],
        "examples/squad_qg/squad_to_text.py": ["squad.json", "text"],
        "bnb-ngram": [setting.data_bin, "--order", 2, "--output", "lm.arpa"],
        "bnb-distill": [setting.data_bin, "--teacher", checkpoint, "--output", "out", "--subset", "valid", "--cpu"],
        "bnb-export": ["--checkpoint", checkpoint, "--data", setting.data_bin, "--output", "model"],
        "bnb-refinement": [*path, "--html", "page.html"],
        "bnb-score": ["texts", "x=output", "--source", "text", "--reference", "text", "--bootstrap", 10],
        "bnb-speed": [checkpoint, "--data", setting.data_bin, "--cpu", *quick],
        "bnb-translate": [exported],
        "bnb-tune": [*path, "--ctc-beam", 2],
    }
    module = name.removeprefix("bnb-")
    start = [ROOT / name] if module == name else ["-m", f"bnb_fairseq.cli.{module}"]
    return ["python", *start, *words[name]]


def really(words: Sequence[object], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Start a command as a user does."""
    first, *others = map(str, words)
    line = [str(Path(sys.executable).with_name(first)) if first != "python" else sys.executable, *others]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, input=TYPED, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def written(folder: Path) -> dict[str, object]:
    """What is in a folder's files; of checkpoints the tensors, of logs and settings with times only that they exist."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.suffix == ".pt":
            model = torch.load(path)["model"]
            found[name] = {key: tensor.numpy().tobytes() for key, tensor in model.items()}
        elif path.is_file():
            found[name] = path.read_bytes() if path.suffix not in (".log", ".yaml", ".json") else None
    return found


def lines(text: str, folder: Path) -> list[str]:
    """Lines, with numbers where they are results, without them where they may be times."""
    shown = text.replace(str(folder), "FOLDER").splitlines()
    return [line if line.startswith(EXACT) else NUMBER.sub("N", line) for line in shown]


def compare(words: Sequence[object], folder: Path) -> None:
    folders = [folder / "started", folder / "forked"]
    for place in folders:
        place.mkdir()
        write_squad(place / "squad.json", make_articles(2))
        (place / "text").write_text("the file\na cell\n")
        (place / "output").write_text("D-0\t-1\tthe file\nD-1\t-1\ta bell\n")
    started = really(words, folders[0])
    assert started.returncode == 0, started.stderr[-3000:]
    other = forked.capture(*words, stdin=TYPED, cwd=folders[1])
    assert other.returncode == 0, other.stderr[-3000:]
    assert written(folders[0]) == written(folders[1])
    for here, there in ((started.stdout, other.stdout), (started.stderr, other.stderr)):
        assert lines(here, folders[0]) == lines(there, folders[1])


@pytest.fixture(scope="module")
def exported(setting: Setting, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of the checkpoint."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    line = ["bnb-export", "--checkpoint", checkpoint, "--data", setting.data_bin, "--output", folder]
    done = forked.capture(*line)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS]
)
def test_command(name: str, setting: Setting, checkpoint: Path, tmp_path: Path) -> None:
    compare(command(name, setting, checkpoint), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name: str, setting: Setting, checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    compare(script(name, setting, checkpoint, exported), tmp_path)


def test_the_server_has_one_thread_and_no_random_state_of_its_own(tmp_path: Path) -> None:
    """A process that is forked from several threads may wait for one that it does not have."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, random, numpy\n"
        "print(len(os.listdir(f'/proc/{os.getppid()}/task')), random.random(), numpy.random.rand())\n"
    )
    found = [forked.capture("python", program).stdout.split() for _ in range(2)]
    assert [threads for threads, *_ in found] == ["1", "1"]
    assert found[0][1] != found[1][1]
    assert found[0][2] != found[1][2]
