"""Data-parallel training, as on several GPUs, with two processes on the CPU."""

import re
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import bnb_fairseq  # noqa: F401  (lets torch's safe loader read checkpoints with BLEU counts)

from ..conftest import ROOT
from . import forked
from .conftest import TRAIN, Command, Setting

NO_DROPOUT = ("--dropout", 0, "--attention-dropout", 0)
OPTIONS = ("--encoder-layers", 2, "--decoder-layers", 1, "--max-update", 3, "--warmup-updates", 1, *NO_DROPOUT)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def parameters(checkpoint: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(checkpoint)["model"])


def in_two_processes(options: Sequence[object]) -> str:
    """Train, and return what the first process logs."""
    world = ["--user-dir", ROOT / "bnb_fairseq", "--task", "translation_bnb", "--cpu", "--distributed-no-spawn"]
    world += ["--distributed-world-size", 2, "--distributed-init-method", f"tcp://127.0.0.1:{free_port()}"]
    world += ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
    command = ["fairseq-train", *map(str, [*options, *world])]
    with tempfile.TemporaryDirectory() as name:
        logs = [Path(name, str(rank)) for rank in range(2)]
        ranks = [
            forked.start([*command, "--distributed-rank", str(rank)], Path.cwd(), log) for rank, log in enumerate(logs)
        ]
        for process in ranks:
            process.join(300)
        outputs = [log.read_text(encoding="utf-8") for log in logs]
    assert [process.exitcode for process in ranks] == [0, 0], "\n".join(output[-3000:] for output in outputs)
    return outputs[0]


def test_two_processes_train_what_one_does_with_two_batches_an_update(
    setting: Setting, fairseq: Command, tmp_path: Path
) -> None:
    options = [setting.data_bin, *TRAIN, "--bert-encoder", setting.bert, *OPTIONS, "--eval-bleu"]
    fairseq("train", *options, "--update-freq", 2, "--save-dir", tmp_path / "one")

    in_two_processes([*options, "--save-dir", tmp_path / "two"])
    one = parameters(tmp_path / "one" / "checkpoint_last.pt")
    two = parameters(tmp_path / "two" / "checkpoint_last.pt")
    assert one.keys() == two.keys()
    start = parameters_before(setting)
    moved = 0
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)
        moved += int(name in start and not torch.allclose(value, start[name], atol=1e-3))
    assert moved > 5, "nothing was trained"


@pytest.mark.slow
def test_two_processes_add_up_what_they_know_of_the_latent(setting: Setting, tmp_path: Path) -> None:
    options = [setting.data_bin, *TRAIN, "--bert-encoder", setting.bert, *OPTIONS, "--latent", "vae", "--no-save"]
    log = in_two_processes([*options, "--log-interval", 1, "--latent-size", 5])
    (last,) = (line for line in log.splitlines() if "| train_inner |" in line and "num_updates=3," in line)
    values = {name: float(value) for name, value in re.findall(r"(kl_\w+|active_units)=([\d.]+)", last)}
    assert sum(values[f"kl_unit_{unit}"] for unit in range(5)) == pytest.approx(values["kl_loss"], abs=4e-3)
    assert values["kl_loss"] > 0
    assert values["kl_factor"] == 1.0
    assert 0 <= values["active_units"] <= 5


@pytest.mark.slow
def test_two_processes_resume(setting: Setting, tmp_path: Path) -> None:
    """The first process reads the checkpoint and sends it to the other."""
    options = [setting.data_bin, *TRAIN, "--bert-encoder", setting.bert, *OPTIONS, "--eval-bleu"]
    in_two_processes([*options, "--save-dir", tmp_path / "whole"])
    in_two_processes([*options, "--max-update", 2, "--save-dir", tmp_path / "parts"])
    assert "Loaded checkpoint" in in_two_processes([*options, "--save-dir", tmp_path / "parts"])
    whole = parameters(tmp_path / "whole" / "checkpoint_last.pt")
    for name, value in parameters(tmp_path / "parts" / "checkpoint_last.pt").items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-6)


def parameters_before(setting: Setting) -> dict[str, torch.Tensor]:
    """The BERT's own embeddings and first layer, under the model's names."""
    from safetensors.torch import load_file

    bert = load_file(setting.bert / "model.safetensors")
    layer = "bert.encoder.layer.0."
    names = {
        "encoder.embeddings.positions.weight": "bert.embeddings.position_embeddings.weight",
        **{
            f"encoder.layers.0.self_attn.{ours}_proj.weight": f"{layer}attention.self.{theirs}.weight"
            for ours, theirs in (("q", "query"), ("k", "key"), ("v", "value"))
        },
        "encoder.layers.0.fc1.weight": f"{layer}intermediate.dense.weight",
        "encoder.layers.0.fc2.weight": f"{layer}output.dense.weight",
    }
    return {ours: bert[theirs] for ours, theirs in names.items()}
