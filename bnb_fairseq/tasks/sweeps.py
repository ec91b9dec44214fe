"""Runs of a hydra sweep, none of which may resume from another's checkpoint."""

import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from ..compat import end_earlier_logs

RECORD = "sweep.txt"  # in the folder of the checkpoints: the options of the run that they belong to
LENGTHS = ("optimization.max_update=", "optimization.max_epoch=", "optimization.stop_time_hours=")


def begin_run_of_sweep(cfg: Any) -> None:
    """Refuse a folder of checkpoints that another run of a sweep uses, and end the logs of an earlier one.

    Outside a sweep, do nothing. A run that is started again has the same options, except for how long it trains.

    Raises ValueError if ``--save-dir`` holds a run with other options.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    end_earlier_logs()
    folder = Path(cfg.save_dir)
    record = folder / RECORD
    mine = sorted(option for option in HydraConfig.get().overrides.task if not option.startswith(LENGTHS))
    if record.is_file():
        theirs = record.read_text(encoding="utf-8").splitlines()
    elif (folder / "checkpoint_last.pt").is_file():
        theirs = ["options of no sweep"]
    else:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = record.with_suffix(f".{os.getpid()}")
        unfinished.write_text("".join(f"{option}\n" for option in mine), encoding="utf-8")
        unfinished.replace(record)
        return
    if theirs != mine:
        others = ", ".join(sorted(set(theirs) - set(mine))) or "fewer options"
        own = ", ".join(sorted(set(mine) - set(theirs))) or "fewer options"
        raise ValueError(
            f"checkpoint.save_dir must differ between the runs of a sweep, but {folder} holds the run with {others}, "
            f"and this one has {own}: set checkpoint.save_dir='${{hydra:runtime.output_dir}}' and a new hydra.sweep.dir"
        )
