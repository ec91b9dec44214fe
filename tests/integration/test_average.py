"""The average of checkpoints as fairseq-train saves them, and fairseq's commands on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from . import forked
from .conftest import TRAIN, Setting

Command = Callable[..., str]
Translations = Callable[[str], dict[int, str]]
SMALL = ("--encoder-layers", 2, "--decoder-layers", 1)
SAVE = ("--save-interval-updates", 3, "--best-checkpoint-metric", "nll_loss")


def average(*arguments: str | Path | int, status: int = 0) -> str:
    """Run the command; its output, or what it says on stderr if it is to fail with an error."""
    done = forked.capture("python", "-m", "bnb_fairseq.cli.average", *arguments)
    assert done.returncode == status, f"{done.args} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stderr if status else done.stdout


def model(path: Path) -> dict[str, Tensor]:
    return dict(torch.load(path)["model"])


@pytest.fixture(scope="module")
def folder(setting: Setting, tmp_path_factory: pytest.TempPathFactory, fairseq: Command) -> Path:
    """Six saves of a training whose loss falls from one to the next."""
    folder = tmp_path_factory.mktemp("trained")
    options = ["--bert-encoder", setting.bert, *SMALL, *SAVE, "--keep-best-checkpoints", 3, "--max-update", 18]
    fairseq("train", setting.data_bin, *TRAIN, *options, "--save-dir", folder)
    return folder


def test_the_mean_of_the_best_is_a_checkpoint(
    folder: Path, setting: Setting, tmp_path: Path, fairseq: Command, translations: Translations
) -> None:
    printed = average("--best", 3, folder, tmp_path / "mean.pt")
    best = sorted(folder.glob("checkpoint.best_nll_loss_*.pt"))
    assert len(best) == 3
    assert all(path.name in printed for path in best)
    mean, models = model(tmp_path / "mean.pt"), [model(path) for path in best]
    assert mean.keys() == models[0].keys()
    moved = 0
    for name, tensor in mean.items():
        expected = torch.stack([other[name].double() for other in models]).mean(dim=0)
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-7)
        moved += int(not torch.equal(models[0][name], models[1][name]))
    assert moved > 20
    output = fairseq("generate", setting.data_bin, "--path", tmp_path / "mean.pt", "--batch-size", 64)
    assert len(translations(output)) == 300


def test_more_than_there_are(folder: Path, tmp_path: Path) -> None:
    error = average("--best", 50, folder, tmp_path / "mean.pt", status=1)
    assert "--best" in error and "50" in error
    assert not (tmp_path / "mean.pt").exists()
