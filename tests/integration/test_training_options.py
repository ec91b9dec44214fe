"""Learning rates by layer, frozen parts, an untied output layer and deep supervision, as a user gives them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import bnb_fairseq.plugin  # noqa: F401  # allows the classes in fairseq's checkpoints

from .conftest import TRAIN, Setting

Command = Callable[..., str]
MODEL = ("--encoder-layers", 2, "--decoder-layers", 3, "--ctc-blank", "mask", "--dropout", 0, "--attention-dropout", 0)
RATES = ("--optimizer", "bnb_adam", "--bert-lr-factor", "0.5", "--layer-lr-decay", "0.5")
PARTS = ("--freeze", "encoder-embeddings,head", "--untie-output")
DEEP = ("--deep-supervision", "0.5", "--log-interval", 1, "--disable-validation")


def read(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path)
    return state


def train(fairseq: Command, setting: Setting, folder: Path, updates: int, *more: object) -> str:
    line = [*TRAIN, "--bert-encoder", setting.bert, *MODEL, *RATES, *PARTS, *DEEP, "--max-update", updates]
    return fairseq("train", setting.data_bin, *line, "--save-dir", folder, *more)


@pytest.fixture(scope="module")
def trained(setting: Setting, tmp_path_factory: pytest.TempPathFactory, fairseq: Command) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("options")
    return folder / "checkpoint_last.pt", train(fairseq, setting, folder, 4)


def test_training_tells_what_it_does(trained: tuple[Path, str]) -> None:
    _, output = trained
    assert re.search(r"learning rate x 1: new \([\d,]+ parameters\)", output)
    assert re.search(r"learning rate x 0.5: encoder.layers.1, decoder.layers.2 \(", output)
    assert re.search(r"learning rate x 0.0625: decoder.embeddings \(", output)
    assert re.search(r"encoder: [\d,]+ parameters in 5 tensors are frozen", output)
    assert re.search(r"decoder: [\d,]+ parameters in 6 tensors are frozen", output)
    for layer in (1, 2):
        assert f"layer{layer}_loss=" in output
    assert "layer3_loss=" not in output


def test_what_is_frozen_is_the_berts(trained: tuple[Path, str], setting: Setting) -> None:
    checkpoint, _ = trained
    state = read(checkpoint)
    model: dict[str, Tensor] = state["model"]
    bert = load_file(setting.bert / "model.safetensors")
    assert torch.equal(model["encoder.embeddings.positions.weight"], bert["bert.embeddings.position_embeddings.weight"])
    assert torch.equal(model["decoder.head.transform.weight"], bert["cls.predictions.transform.dense.weight"])
    position = bert["bert.embeddings.position_embeddings.weight"]
    assert not torch.equal(model["decoder.embeddings.positions.weight"], position)
    optimizer = state["last_optimizer_state"]
    trained_tensors = len(model) - 5 - 6
    assert sum(len(group["params"]) for group in optimizer["param_groups"]) == trained_tensors


def test_training_resumes(trained: tuple[Path, str], setting: Setting, fairseq: Command, tmp_path: Path) -> None:
    """Two updates and two more are the same as four in one go."""
    train(fairseq, setting, tmp_path, 2)
    assert "Loaded checkpoint" in train(fairseq, setting, tmp_path, 4)
    resumed, whole = read(tmp_path / "checkpoint_last.pt"), read(trained[0])
    assert resumed["optimizer_history"][-1]["num_updates"] == 4
    assert resumed["model"].keys() == whole["model"].keys()
    for name, parameter in whole["model"].items():
        assert torch.equal(resumed["model"][name], parameter), name
    rates = [[group["lr"] for group in s["last_optimizer_state"]["param_groups"]] for s in (resumed, whole)]
    assert rates[0] == rates[1]
    assert len(set(rates[0])) == 5


def test_generate(trained: tuple[Path, str], setting: Setting, fairseq: Command) -> None:
    output = fairseq("generate", setting.data_bin, "--path", trained[0], "--gen-subset", "valid", "--batch-size", 50)
    assert len(re.findall(r"^D-\d+\t", output, re.MULTILINE)) == 100


@pytest.mark.slow
def test_other_frozen_parts_need_a_fresh_optimizer(
    trained: tuple[Path, str], setting: Setting, fairseq: Command, tmp_path: Path
) -> None:
    more = ("--restore-file", trained[0], "--freeze", "encoder")
    output = train(fairseq, setting, tmp_path, 5, *more, "--reset-optimizer", "--reset-meters")
    assert "Loaded checkpoint" in output
    line = [*TRAIN, "--bert-encoder", setting.bert, *MODEL, *RATES, "--untie-output", *more, "--max-update", 5]
    output = fairseq("train", setting.data_bin, *line, "--save-dir", tmp_path / "other", fails=True)
    assert "pass --reset-optimizer" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bert-lr-factor", "0.5"), "unrecognized arguments: --bert-lr-factor 0.5"),
        (("--optimizer", "bnb_adam", "--layer-lr-decay", "0.9"), "bnb_adam: --layer-lr-decay must be 1 "),
        (("--freeze", "encoder"), "bnb_transformer: --freeze needs --bert-encoder"),
        (("--decoder-layers", "1", "--deep-supervision", "1"), "--deep-supervision needs --decoder-layers"),
    ],
)
def test_options_without_effect_are_refused(
    options: tuple[str, ...], message: str, setting: Setting, fairseq: Command, tmp_path: Path
) -> None:
    small = ("--arch", "bnb_transformer_tiny", "--max-update", 1, "--save-dir", tmp_path)
    output = fairseq("train", setting.data_bin, *TRAIN, *small, *options, fails=True)
    assert message in output
    assert "Start iterating over samples" not in output


@pytest.mark.slow
def test_bert2bert(setting: Setting, fairseq: Command, tmp_path: Path) -> None:
    line: list[object] = [*TRAIN, "--arch", "bert2bert", "--criterion", "label_smoothed_cross_entropy"]
    line += ["--bert-encoder", setting.bert, "--encoder-layers", 2, "--decoder-layers", 2, *RATES]
    line += ["--freeze", "encoder", "--untie-output", "--disable-validation", "--max-update", 2]
    output = fairseq("train", setting.data_bin, *line, "--save-dir", tmp_path)
    assert re.search(r"learning rate x 0.5: decoder.layers.1, decoder.head \(", output)
    checkpoint = tmp_path / "checkpoint_last.pt"
    options = ("--gen-subset", "valid", "--batch-size", 50, "--beam", 1, "--max-len-b", 5)
    assert "D-99\t" in fairseq("generate", setting.data_bin, "--path", checkpoint, *options)
