"""Every kind of hostile checkpoint in every command that reads checkpoints.

``python -m tests.integration.hostile_matrix FOLDER [COMMAND ...]`` tries all pairs, or those of some commands, two
seconds each, and prints a table. A pair is in order if the command fails, names the file, and no file appears that the
checkpoint's code would make.

The package is imported in functions alone: the commands' processes import this module, and are to find the package new,
as a command that is typed does.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..conftest import ROOT
from ..hostile import KINDS, write_hostile
from . import forked

USER_DIR = ("--user-dir", str(ROOT / "bnb_fairseq"), "--cpu")
TASK = ("--task", "translation_bnb")
TRAIN = (
    *("--arch", "bnb_transformer_tiny", "--criterion", "bnb_loss", "--optimizer", "adam", "--max-update", "1"),
    *("--batch-size", "2", "--num-workers", "0", "--data-buffer-size", "0", "--no-progress-bar"),
)
CLASSIFY = (
    *("--task", "sentence_prediction_bnb", "--arch", "bnb_classifier_tiny", "--criterion", "sentence_prediction"),
    *("--regression-target", "--num-classes", "1", "--optimizer", "adam", "--max-update", "1", "--batch-size", "2"),
)
PYTHON = """
import sys
from bnb_fairseq.models.bnb_transformer import BnbTransformer
print(BnbTransformer.from_pretrained(sys.argv[1], data_name_or_path=sys.argv[2]).translate(["the cell"]))
"""
SIZES = ("layers=1", "embed-dim=8", "ffn-embed-dim=8", "attention-heads=2")
REFUSED = re.compile(r"\.pt: must be a checkpoint|no checkpoint is whole; to train anew, move checkpoint_1_1\.pt")


class Outcome(NamedTuple):
    """What a command did with a hostile checkpoint."""

    ran: bool
    status: int | None
    printed: str

    @property
    def in_order(self) -> bool:
        """Whether it failed, named the file, and ran nothing of it."""
        return not self.ran and self.status not in (0, None) and REFUSED.search(self.printed) is not None


def module(name: str) -> list[str]:
    return ["python", "-m", f"bnb_fairseq.cli.{name}"]


def commands(checkpoint: Path, data: Path, folder: Path) -> dict[str, list[str]]:
    """Every command that reads a checkpoint, by its name; ``prepare`` has written what they need into the folder."""
    path, out = ["--path", str(checkpoint)], str(folder / "out")
    sizes = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in SIZES]
    train = ["fairseq-train", str(data), *USER_DIR, *TASK, *TRAIN, *sizes]
    texts = ["--source", str(folder / "input"), "--reference", str(folder / "input"), "--output", out]
    hydra = ["fairseq-hydra-train", "--config-dir", str(ROOT / "examples"), "--config-name", "techdoc-en-de/ctc"]
    hydra += [f"task.data={data}", f"hydra.run.dir={folder / 'hydra'}", "common.cpu=true"]
    hydra += [f"common.user_dir={ROOT / 'bnb_fairseq'}", f"checkpoint.restore_file={checkpoint}"]
    convert = ["python", "-m", "bnb_fairseq.cli.convert"]
    new = ["--save-dir", str(folder / "save")]
    return {
        "generate": ["fairseq-generate", str(data), *USER_DIR, *TASK, *path],
        "generate without --task": ["fairseq-generate", str(data), *USER_DIR, *path],
        "generate with --lm-path": [
            *("fairseq-generate", str(data), *USER_DIR, *TASK, "--path", str(data / "good.pt")),
            *("--lm-path", str(checkpoint)),
        ],
        "interactive": ["fairseq-interactive", str(data), *USER_DIR, *TASK, *path, "--input", str(folder / "input")],
        "validate": ["fairseq-validate", str(data), *USER_DIR, *TASK, *path, "--batch-size", "2"],
        "validate without --task": ["fairseq-validate", str(data), *USER_DIR, *path, "--batch-size", "2"],
        "from_pretrained": ["python", str(folder / "python.py"), str(checkpoint), str(data)],
        "distill": [*module("distill"), str(data), "--teacher", str(checkpoint), "--output", out, "--cpu"],
        "tune": [*module("tune"), str(data), *path, "--cpu"],
        "speed": [*module("speed"), str(checkpoint), "--data", str(data), "--cpu"],
        "refinement": [*(*module("refinement"), str(data), *path, "--sentence", "the", "--html", f"{out}.html")],
        "score": [*module("score"), "checkpoints", str(data), *texts, "--cpu", f"x={checkpoint}"],
        "average": ["python", "-m", "bnb_fairseq.cli.average", "--checkpoints", str(checkpoint), f"{out}.pt"],
        "convert to BERTs": [*convert, "fairseq-to-hf", str(checkpoint), out, "--data", str(data)],
        "convert to the original": [*convert, "fairseq-to-seed", str(checkpoint), out, "--data", str(data)],
        "train: restore": [*train, *new, "--restore-file", str(checkpoint)],
        "train: fine-tune": [*train, *new, "--finetune-from-model", str(checkpoint)],
        "train: pretrained": [*train, *new, "--pretrained-checkpoint", str(checkpoint)],
        "train: resume": [*train, "--save-dir", str(folder / "resumed")],
        "train: resume a save": [*train, "--save-dir", str(folder / "interrupted")],
        "train: classifier": [
            *("fairseq-train", str(folder / "glue"), *USER_DIR, *CLASSIFY, *new),
            *("--pretrained-checkpoint", str(checkpoint)),
        ],
        "hydra-train: restore": hydra,
    }


COMMANDS = tuple(commands(Path(), Path(), Path()))


def write_good(folder: Path) -> Path:
    """Write a small random model beside its data-bin folder."""
    from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

    from ..unit.checkpoint_files import save_checkpoint
    from ..unit.conftest import randomise
    from ..unit.tasks.conftest import NON_AUTOREGRESSIVE, configure, write_data_bin

    folder.mkdir(parents=True, exist_ok=True)
    cfg = configure(write_data_bin(folder), *NON_AUTOREGRESSIVE)
    task = TranslationBnbTask.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    randomise(model, 16)
    return save_checkpoint(folder / "good.pt", cfg, task, model)


def prepare(good: Path, folder: Path) -> None:
    """Write what the commands need beside a checkpoint."""
    (folder / "input").write_text("the cell\nthe\n")
    (folder / "python.py").write_text(PYTHON)
    glue = folder / "glue"
    for name in ("input0", "label"):
        (glue / name).mkdir(parents=True)
    shutil.copy(good.parent / "dict.en.txt", glue / "input0" / "dict.txt")
    for part in ("train", "valid"):
        (glue / "label" / f"{part}.label").write_text("1\n2\n")
        for suffix in (".bin", ".idx"):
            shutil.copy(good.parent / f"{part}.en-de.en{suffix}", glue / "input0" / f"{part}{suffix}")


def try_pair(kind: str, name: str, good: Path, folder: Path) -> Outcome:
    """Give a kind of checkpoint to a command, in a folder that ``prepare`` has filled."""
    from bnb_fairseq.resuming.interrupted import SAVING

    marker = folder / "marker"
    evil = write_hostile(kind, good, folder / "evil.pt", marker)
    for save_dir, file in (("resumed", "checkpoint_last.pt"), ("interrupted", "checkpoint_1_1.pt")):
        shutil.rmtree(folder / save_dir, ignore_errors=True)
        (folder / save_dir).mkdir()
        shutil.copy(evil, folder / save_dir / file)
    (folder / "interrupted" / SAVING).touch()
    shutil.rmtree(folder / "out", ignore_errors=True)  # a new run, which no earlier one stands against
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = forked.start(commands(evil, good.parent, folder)[name], folder, folder / "log", environment=environment)
    process.join()
    ran = marker.exists()
    if ran:
        marker.rmdir() if marker.is_dir() else marker.unlink()
    return Outcome(ran, process.exitcode, (folder / "log").read_text(encoding="utf-8", errors="replace"))


def try_all(kinds: Sequence[str], chosen: Sequence[str], good: Path, folder: Path) -> Iterable[tuple[str, Outcome]]:
    """Try every pair; yields the command, and what it did."""
    prepare(good, folder)
    for name in chosen:
        for kind in kinds:
            outcome = try_pair(kind, name, good, folder)
            if not outcome.in_order:
                print(f"{name}, {kind}: {outcome.printed[-1500:]}", file=sys.stderr, flush=True)
            yield name, outcome


def main(where: str, *names: str) -> None:
    """Try all kinds with some commands or all, and print a line for each command."""
    folder = Path(where).absolute()
    good = write_good(folder / "good")
    print("| command | pairs | markers | exits of 0 | files not named |\n| --- | --: | --: | --: | --: |", flush=True)
    total = [0, 0, 0, 0]
    for name in names or COMMANDS:
        (folder / name).mkdir()
        found = [outcome for _, outcome in try_all(list(KINDS), [name], good, folder / name)]
        unnamed = sum(REFUSED.search(each.printed) is None for each in found)
        counts = (len(found), sum(each.ran for each in found), sum(each.status == 0 for each in found), unnamed)
        total = list(map(sum, zip(total, counts, strict=True)))
        print(f"| {name} | {' | '.join(map(str, counts))} |", flush=True)
    print(f"| all | {' | '.join(map(str, total))} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
