"""Trainings that are killed at random moments and started again.

``python -m tests.integration.interrupting DATA_BIN BERT FOLDER KILLS`` does it often, for every kind of training.
With ``--in-copies`` one training of a large model is killed while it copies a checkpoint, to the best or the last one.
"""

import argparse
import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import bnb_fairseq.plugin  # noqa: F401  (lets torch read what fairseq writes)

from ..conftest import ROOT
from . import forked

BNB = ("--arch", "bnb_transformer", "--criterion", "bnb_loss")
KINDS: Mapping[str, Sequence[object]] = {
    "ctc": BNB,
    "glancing": (*BNB, "--canvas-tokens", "--glancing", "0.5:0.1@30"),
    "vae": (*BNB, "--latent", "vae", "--latent-size", 4, "--kl-schedule", "cyclic", "--kl-total-updates", 40),
    "oaxe": (*BNB, "--length-control", "length", "--token-loss", "oaxe"),
    "bert2bert": ("--arch", "bert2bert", "--criterion", "label_smoothed_cross_entropy"),
}
COMMON = (
    *("--optimizer", "adam", "--lr", 1e-3, "--lr-scheduler", "inverse_sqrt", "--warmup-updates", 10, "--clip-norm", 1),
    *("--batch-size", 16, "--data-buffer-size", 0, "--log-format", "simple", "--log-interval", 5, "--cpu"),
    *("--max-epoch", 2, "--save-interval-updates", 5, "--user-dir", ROOT / "bnb_fairseq", "--task", "translation_bnb"),
)
LARGE = (  # a checkpoint of 350 MB
    *(*BNB, "--max-epoch", 99, "--save-interval-updates", 1, "--keep-interval-updates", 1, "--no-epoch-checkpoints"),
    *(
        "--encoder-layers",
        4,
        "--encoder-embed-dim",
        512,
        "--encoder-ffn-embed-dim",
        2048,
        "--encoder-attention-heads",
        8,
    ),
    *(
        "--decoder-layers",
        4,
        "--decoder-embed-dim",
        512,
        "--decoder-ffn-embed-dim",
        2048,
        "--decoder-attention-heads",
        8,
    ),
)
COPIES = ("checkpoint_best.pt", "checkpoint_last.pt")
LARGEST_PART = 0.95  # of a file; a checkpoint of another update is as long but for a few bytes
NOT_COMPARED = ("metrics", "previous_training_time")  # times of day and durations
LOG = "log.txt"


def start(options: Sequence[object], folder: Path) -> Any:
    """Start a training whose checkpoints go to a folder."""
    words = ["fairseq-train", *map(str, options), "--save-dir", str(folder / "checkpoints")]
    folder.mkdir(exist_ok=True)
    return forked.start(words, folder, folder / LOG)


def train(options: Sequence[object], folder: Path) -> float:
    """Train to the end, and return the seconds that it took."""
    began = time.monotonic()
    process = start(options, folder)
    process.join()
    assert process.exitcode == 0, (folder / LOG).read_text(encoding="utf-8", errors="replace")[-5000:]
    return time.monotonic() - began


def kill_after(seconds: float, options: Sequence[object], folder: Path) -> bool:
    """Train, and kill the process after a while; tell whether it was still there."""
    process = start(options, folder)
    process.join(seconds)
    if process.exitcode is None:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        return True
    assert process.exitcode == 0, (folder / LOG).read_text(encoding="utf-8", errors="replace")[-5000:]
    return False


def differences(checkpoint: Path, other: Path) -> list[str]:
    """List in what two checkpoints differ by as little as a bit; durations and options do not count."""
    states = [torch.load(path) for path in (checkpoint, other)]
    for state in states:
        del state["cfg"]
        for name in NOT_COMPARED:
            state["extra_state"].pop(name, None)
        state["optimizer_history"] = state["optimizer_history"][-1:]  # grows whenever a training is resumed
        # fairseq notes the loss of an epoch's end after it has saved; only reduce_lr_on_plateau reads it.
        state["optimizer_history"][0]["lr_scheduler_state"].pop("best", None)
    return list(_differences("", *states))


def _differences(name: str, one: Any, other: Any) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        found = [f"{name}.{key}" for key in one.keys() ^ other.keys()]
        return found + [
            each for key in one.keys() & other.keys() for each in _differences(f"{name}.{key}", one[key], other[key])
        ]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            each for i, pair in enumerate(zip(one, other, strict=True)) for each in _differences(f"{name}[{i}]", *pair)
        ]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [name]


def compare_folders(whole: Path, resumed: Path) -> list[str]:
    """List the checkpoints of two trainings that differ, or that only one has; what was set aside does not count."""
    names = [{path.name for path in (folder / "checkpoints").glob("*.pt")} for folder in (whole, resumed)]
    found = sorted(names[0] ^ names[1])
    for name in sorted(names[0] & names[1]):
        found += [f"{name}{each}" for each in differences(whole / "checkpoints" / name, resumed / "checkpoints" / name)]
    return found


def interrupt(options: Sequence[object], folder: Path, kills: int, lengths: random.Random) -> tuple[int, list[str]]:
    """Train once in one go and once with kills.

    Args:
        options: of the training.
        folder: a new folder.
        kills: how often at most; each comes after a random time, up to that of the whole training.
        lengths: draws the times.

    Returns:
        How often it was killed, and in what the two differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seconds = train(options, folder / "whole")
    killed = 0
    while killed < kills and kill_after(lengths.uniform(0.2, 1.0) * seconds, options, folder / "killed"):
        killed += 1
    train(options, folder / "killed")
    return killed, compare_folders(folder / "whole", folder / "killed")


def kill_in_copy(share: float, options: Sequence[object], folder: Path) -> str | None:
    """Train, and kill the process once a share of a copy is written.

    Args:
        share: of the file.
        options: of the training.
        folder: its folder.

    Returns:
        Which copy it was, and how much of it there is; empty if it was whole before the process ended. None if the
        training came to its end.
    """
    checkpoints = folder / "checkpoints"
    before = _states(checkpoints)
    process = start(options, folder)
    while process.exitcode is None:
        found = _states(checkpoints)
        largest = max((state.st_size for state in found.values()), default=0)
        for name in COPIES:
            changed = name in found and (name not in before or found[name].st_mtime_ns != before[name].st_mtime_ns)
            if changed and share * largest <= found[name].st_size < LARGEST_PART * largest:
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                size = (checkpoints / name).stat().st_size
                return f"{name} has {size:,} of {largest:,} bytes" if size < LARGEST_PART * largest else ""
        time.sleep(0.001)
    assert process.exitcode == 0, (folder / LOG).read_text(encoding="utf-8", errors="replace")[-5000:]
    return None


def _states(checkpoints: Path) -> dict[str, os.stat_result]:
    """Return what the system knows of each checkpoint; they come and go while it is asked."""
    found = {}
    for path in checkpoints.glob("checkpoint_*.pt"):
        with suppress(FileNotFoundError):
            found[path.name] = path.stat()
    return found


def interrupt_copies(data: str, folder: Path, kills: int, shares: random.Random) -> None:
    """Kill a training while it copies large checkpoints, and compare it with one in one go."""
    options = [data, *COMMON, *LARGE, "--num-workers", 0, "--max-update", 2 * kills]
    folder.mkdir(parents=True, exist_ok=True)
    train(options, folder / "whole")
    done = 0
    while done < kills:
        found = kill_in_copy(shares.uniform(0, 0.9), options, folder / "killed")
        assert found is not None, f"the training ended after {done} kills"
        done += bool(found)
        print("killed:", found or "too late, the copy was whole", flush=True)
    train(options, folder / "killed")
    differing = compare_folders(folder / "whole", folder / "killed")
    print(done, "kills:", "differs in " + ", ".join(differing) if differing else "equal")


def interrupt_all(data: str, bert: str, folder: str, kills: int) -> None:
    """Interrupt every kind of training with 0 and 2 workers, until each was killed often enough."""
    lengths = random.Random(1)
    for kind, options in KINDS.items():
        for workers in (0, 2):
            more = [data, *COMMON, "--bert-encoder", bert, *options, "--num-workers", workers]
            done, rounds = 0, 0
            while done < kills:
                killed, found = interrupt(more, Path(folder, f"{kind}-{workers}-{rounds}"), kills - done, lengths)
                done, rounds = done + killed, rounds + 1
                print(
                    kind,
                    workers,
                    "workers:",
                    killed,
                    "kills,",
                    "differs in " + ", ".join(found) if found else "equal",
                    flush=True,
                )


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA_BIN")
    parser.add_argument("bert", metavar="BERT")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("kills", type=int, metavar="KILLS")
    parser.add_argument("--in-copies", action="store_true", help="kill while checkpoints are copied")
    arguments = parser.parse_args()
    if arguments.in_copies:
        interrupt_copies(arguments.data, Path(arguments.folder), arguments.kills, random.Random(1))
    else:
        interrupt_all(arguments.data, arguments.bert, arguments.folder, arguments.kills)


if __name__ == "__main__":
    main()
