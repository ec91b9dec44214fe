"""Data-parallel training, as on several GPUs, with two processes on the CPU."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import bnb_fairseq.plugin  # noqa: F401  (lets torch's safe loader read checkpoints with BLEU counts)
from bnb_fairseq.resuming.interrupted import mend
from bnb_fairseq.resuming.restored import LAST

from ..conftest import ROOT
from .conftest import TRAIN, Command, Setting
from .forked import PROCESSES
from .interrupting import differences

NO_DROPOUT = ("--dropout", 0, "--attention-dropout", 0)
SIZES = ("--encoder-layers", 2, "--decoder-layers", 1, "--warmup-updates", 1)
ODD = ("--train-subset", "test", "--batch-size", 64)  # 5 batches an epoch: one process has none for the last update
VAE = ("--latent", "vae", "--latent-size", 5, "--batch-size", 64, "--max-update", 24, "--save-interval-updates", 2)
SECONDS = 600  # after which a process that makes no progress is given up


@contextmanager
def torchrun(options: Sequence[object], log: Path, restarts: int = 0) -> Iterator["subprocess.Popen[bytes]"]:
    """Train with the documented command; ``--standalone`` lets several tests do so at once."""
    launcher = [Path(sys.executable).with_name("torchrun"), "--standalone", "--max-restarts", restarts]
    training = ["--nproc_per_node", 2, "-m", "bnb_fairseq.cli.train", *options, "--task", "translation_bnb", "--cpu"]
    line, environment = [*map(str, [*launcher, *training])], {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as file:
        process = subprocess.Popen(line, stdout=file, stderr=file, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(SECONDS)


def in_two_processes(options: Sequence[object], log: Path) -> str:
    """Train, and return what is logged."""
    with torchrun(options, log) as process:
        status = process.wait(SECONDS)
    printed = log.read_text(encoding="utf-8", errors="replace")
    assert status == 0, printed[-6000:]
    return printed


def ranks(launcher: "subprocess.Popen[bytes]") -> list[int]:
    """Return the ids of the processes that train, the first one's first."""
    return sorted(map(int, Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()))


def wait_until(holds: Callable[[], bool], launcher: "subprocess.Popen[bytes]") -> None:
    limit = time.monotonic() + SECONDS
    while not holds():
        assert launcher.poll() is None, "it ended too early"
        assert time.monotonic() < limit
        time.sleep(0.02)


def parameters(checkpoint: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(checkpoint)["model"])


def losses(log: str) -> list[str]:
    """The losses and the norm of the gradient of each update, as they are printed."""
    names = ("loss", "nll_loss", "uniform_kl", "wpb", "bsz", "num_updates", "gnorm")
    lines = [line for line in log.splitlines() if "| train_inner |" in line]
    return [" ".join(re.findall(rf"\b(?:{'|'.join(names)})=[^,]+", line)) for line in lines]


def test_two_processes_train_what_one_does_with_two_batches_an_update(
    setting: Setting, fairseq: Command, tmp_path: Path
) -> None:
    """Over the end of an epoch, where one process has no batch left."""
    options = [setting.data_bin, *TRAIN, "--bert-encoder", setting.bert, *SIZES, *NO_DROPOUT, *ODD, "--eval-bleu"]
    options += ["--max-update", 4, "--log-interval", 1]
    one_log = fairseq("train", *options, "--update-freq", 2, "--save-dir", tmp_path / "one")

    two_log = in_two_processes([*options, "--save-dir", tmp_path / "two"], tmp_path / "log.txt")
    assert "end of epoch 1 " in two_log
    assert losses(two_log) == losses(one_log)
    assert len(losses(one_log)) == 4
    one = parameters(tmp_path / "one" / "checkpoint_last.pt")
    two = parameters(tmp_path / "two" / "checkpoint_last.pt")
    assert one.keys() == two.keys()
    start = parameters_before(setting)
    moved = 0
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6)
        moved += int(name in start and not torch.allclose(value, start[name], atol=1e-3))
    assert moved > 5, "nothing was trained"


class Whole:
    """A training with noise in one go."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.options = [setting.data_bin, *TRAIN, "--bert-encoder", setting.bert, *SIZES, *VAE, "--log-interval", 1]
        self.options.append("--disable-validation")
        self.log = in_two_processes([*self.options, "--save-dir", folder / "whole"], folder / "log.txt")
        self.checkpoint = folder / "whole" / LAST


@pytest.fixture(scope="module")
def whole(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(setting, tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
def test_two_processes_add_up_what_they_know_of_the_latent(whole: Whole) -> None:
    (last,) = (line for line in whole.log.splitlines() if "| train_inner |" in line and "num_updates=3," in line)
    values = {name: float(value) for name, value in re.findall(r"(kl_\w+|active_units)=([\d.]+)", last)}
    assert sum(values[f"kl_unit_{unit}"] for unit in range(5)) == pytest.approx(values["kl_loss"], abs=4e-3)
    assert values["kl_loss"] > 0
    assert values["kl_factor"] == 1.0
    assert 0 <= values["active_units"] <= 5


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_other_and_the_training_goes_on(whole: Whole, tmp_path: Path) -> None:
    """By the same command, and by torchrun itself; the first process reads the checkpoint for both."""
    folder = tmp_path / "killed"
    options = [*whole.options, "--save-dir", folder]

    def saved() -> int:
        """Updates of the newest checkpoint of a number of updates; 0: there is none."""
        return max((int(path.stem.rpartition("_")[2]) for path in folder.glob("checkpoint_*_*.pt")), default=0)

    with torchrun(options, tmp_path / "first.txt") as launcher:
        wait_until(lambda: saved() > 0, launcher)
        first, second = ranks(launcher)
        os.kill(second, signal.SIGKILL)
        assert launcher.wait(SECONDS) != 0
        assert not Path(f"/proc/{first}").exists()
    reached = saved()
    assert reached < 24 - 4

    with torchrun(options, tmp_path / "second.txt", restarts=1) as launcher:
        wait_until(lambda: saved() >= reached + 4, launcher)
        os.kill(ranks(launcher)[0], signal.SIGKILL)
        status = launcher.wait(SECONDS)
    log = (tmp_path / "second.txt").read_text(encoding="utf-8", errors="replace")
    assert status == 0, log[-6000:]
    starts = [int(updates) for updates in re.findall(r"Loaded checkpoint .* @ (\d+) updates", log)]
    assert len(starts) == 2
    assert 2 <= starts[0] <= reached < reached + 4 <= starts[1]
    assert differences(whole.checkpoint, tmp_path / "killed" / LAST) == []


def _mend_as(rank: int, folder: Path) -> None:
    """Mend a folder as one of two processes, and leave a note of what it says and what it sees then."""
    messages = BufferingHandler(100)
    logging.getLogger(mend.__module__).addHandler(messages)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    if rank == 0:
        time.sleep(0.5)
    options: Any = SimpleNamespace(save_dir=str(folder / "saved"), restore_file=LAST, finetune_from_model=None)
    options.checkpoint_suffix, options.keep_best_checkpoints, options.no_last_checkpoints = "", -1, False
    try:
        mend(options)
        seen = f"{len(messages.buffer)}: {' '.join(sorted(path.name for path in (folder / 'saved').iterdir()))}"
    except ValueError as error:
        seen = str(error)
    (folder / f"seen-{rank}.txt").write_text(seen)


def mended(folder: Path) -> list[str]:
    """What two processes see after one of them has mended a folder."""
    processes: list[BaseProcess] = [PROCESSES.Process(target=_mend_as, args=(rank, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    assert [process.exitcode for process in processes] == [0, 0]
    return [(folder / f"seen-{rank}.txt").read_text() for rank in range(2)]


def test_one_process_mends_a_folder_and_the_other_waits(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    place = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 4}, "val_loss": 2.0, "best": 2.0}
    state = {"model": {"weight": torch.ones(1000)}, "extra_state": place, "optimizer_history": [{"num_updates": 4}]}
    torch.save(state, folder / "checkpoint_1_4.pt")
    (folder / LAST).write_bytes((folder / "checkpoint_1_4.pt").read_bytes()[:1000])
    names = f"checkpoint_1_4.pt checkpoint_best.pt {LAST} {LAST}.damaged"
    assert mended(tmp_path) == [f"1: {names}", f"0: {names}"]


def test_processes_end_with_the_same_error_where_nothing_is_whole(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / LAST).write_bytes(b"PK\x03\x04")
    first, second = mended(tmp_path)
    assert re.search(r"--save-dir .*saved: checkpoint_last\.pt .* no other checkpoint is whole", first)
    assert second == first


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
