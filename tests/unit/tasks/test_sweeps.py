"""No run of a sweep goes on from another one's checkpoint."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from bnb_fairseq.tasks.dictionary_task import SWEEP_RECORD, begin_run_of_sweep

Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Begin a training that hydra has started with some overrides."""

    def begin(*overrides: str, mode: RunMode = RunMode.MULTIRUN) -> None:
        config = OmegaConf.structured(HydraConf)
        config.mode = mode
        config.overrides.task = list(overrides)
        HydraConfig.instance().set_config(OmegaConf.create({"hydra": config}))
        begin_run_of_sweep(OmegaConf.create({"save_dir": str(tmp_path / "run")}))

    yield begin
    HydraConfig.instance().cfg = None


def refusal(run: Run, *overrides: str) -> str:
    with pytest.raises(ValueError) as caught:
        run(*overrides)
    assert str(caught.value).startswith("checkpoint.save_dir must differ")
    return str(caught.value)


def test_another_run_is_refused(run: Run, tmp_path: Path) -> None:
    run("optimization.lr=[1]", "common.seed=1")
    message = refusal(run, "optimization.lr=[2]", "common.seed=1")
    assert f"{tmp_path / 'run'} holds the run with optimization.lr=[1], and this one has optimization.lr=[2]" in message
    assert "hydra.sweep.dir" in message
    assert "fewer options" in refusal(run, "common.seed=1")


def test_the_same_run_goes_on_and_may_be_longer(run: Run, tmp_path: Path) -> None:
    run("optimization.lr=[1]", "optimization.max_update=2")
    run("optimization.max_update=4", "optimization.lr=[1]")
    run("optimization.lr=[1]", "optimization.max_epoch=1")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [SWEEP_RECORD]


def test_checkpoints_of_a_run_that_was_none_of_a_sweep(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint_last.pt").touch()
    assert re.search(r"holds the run with options of no sweep, and this one has x=1", refusal(run, "x=1"))


def test_single_runs_and_other_commands_may_do_as_they_like(run: Run, tmp_path: Path) -> None:
    run("x=1", mode=RunMode.RUN)
    run("x=2", mode=RunMode.RUN)
    HydraConfig.instance().cfg = None
    begin_run_of_sweep(OmegaConf.create({"save_dir": "${checkpoint.save_dir}"}))
    assert not (tmp_path / "run").exists()
