"""The fairseq-train command of a task, and its progress."""

import argparse
import math
import re
import subprocess
import sys
from pathlib import Path

import torch

from .tasks import TextTask

ROOT = Path(__file__).resolve().parents[3]
FAIRSEQ_TRAIN = Path(sys.executable).with_name("fairseq-train")
# A task's metrics -> options of fairseq's criterion, and the metric that chooses the checkpoint.
REPORTS: dict[tuple[str, ...], tuple[list[str], str]] = {
    ("accuracy",): ([], "accuracy"),
    ("accuracy", "f1"): (["--report-acc-and-f1"], "acc_and_f1"),
    ("matthews",): (["--report-mcc"], "mcc"),
    ("pearson", "spearman"): (["--regression-target", "--report-pearson-and-spearman"], "pearson_and_spearman"),
}
LAST_LINES = 30  # of a log, shown where a training fails
RATES = ("--optimizer", "adam", "--adam-betas", "(0.9, 0.999)", "--adam-eps", "1e-6", "--clip-norm", "1.0")  # BERT's
SHOWN = ("loss", "accuracy", "acc_and_f1", "mcc", "pearson_and_spearman")


def count_updates(examples: int, arguments: argparse.Namespace) -> int:
    """Updates of a training: batches of all epochs, divided by the GPUs that share them."""
    gpus = 1 if arguments.cpu else max(1, torch.cuda.device_count())
    return arguments.max_epoch * math.ceil(math.ceil(examples / arguments.batch_size) / gpus)


def make_command(
    task: TextTask, data_bin: Path, save_dir: Path, examples: int, arguments: argparse.Namespace
) -> list[str]:
    """fairseq-train and its arguments, for so many training examples."""
    updates = count_updates(examples, arguments)
    report, best = REPORTS[task.metrics]
    command = [str(FAIRSEQ_TRAIN), str(data_bin), "--user-dir", str(ROOT / "bnb_fairseq")]
    command += ["--task", "sentence_prediction_bnb", "--criterion", "sentence_prediction", *report]
    command += ["--arch", arguments.arch, "--classify-with", arguments.classify_with]
    for option in ("bert_encoder", "pretrained_checkpoint"):
        if getattr(arguments, option) is not None:
            command += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    command += ["--max-positions", str(arguments.max_positions), "--shorten-method", "truncate"]
    command += [*RATES, "--weight-decay", str(arguments.weight_decay), "--lr", str(arguments.lr)]
    command += ["--lr-scheduler", "polynomial_decay", "--total-num-update", str(updates)]
    command += ["--warmup-updates", str(round(arguments.warmup_share * updates))]
    command += ["--batch-size", str(arguments.batch_size), "--max-epoch", str(arguments.max_epoch)]
    command += ["--required-batch-size-multiple", "1", "--seed", str(arguments.seed)]
    command += ["--best-checkpoint-metric", best, "--maximize-best-checkpoint-metric", "--no-epoch-checkpoints"]
    command += ["--save-dir", str(save_dir), "--log-format", "simple", "--log-interval", "100"]
    command += ["--num-workers", "0", "--data-buffer-size", "0"]
    if arguments.cpu:
        command += ["--cpu", "--distributed-world-size", "1"]  # else one process a GPU
    return [*command, *arguments.more]


def digest(line: str) -> str | None:
    """Short form of a line of fairseq-train's log for the user; None: do not show it."""

    def value(name: str) -> str | None:
        found = re.search(rf"(?<![\w-]){name}[= ]([^\s,]+)", line)
        return found[1] if found else None

    if any(part in line for part in ("embedding rows", "dense layer", "items (", "Loaded checkpoint")):
        return line.rsplit(" | ", 1)[-1]
    if "| train_inner |" in line:
        return f"update {value('num_updates')}: loss {value('loss')}"
    if found := re.search(r"\| epoch (\d+) \| valid on '(\w+)' subset", line):
        figures = [f"{name} {value(name)}" for name in SHOWN if value(name) is not None]
        return f"epoch {int(found[1])}, {found[2]}: {', '.join(figures)}"
    return None


def run(command: list[str], log: Path) -> int:
    """Run the command, show its progress, append its output to ``log``, and return its exit status."""
    tail: list[str] = []
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        try:
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                tail = [*tail, line][-LAST_LINES:]
                if shown := digest(line.rstrip("\n")):
                    print("  ", shown, file=sys.stderr, flush=True)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        print("".join(tail), end="", file=sys.stderr)
    return process.returncode


def train(command: list[str], log: Path, save_dir: Path) -> Path:
    """Train, or resume an interrupted training.

    Args:
        command: from ``make_command``.
        log: file to append the whole log to.
        save_dir: folder for checkpoints.

    Returns:
        The best checkpoint, or the last if the metric was undefined.

    Raises:
        RuntimeError: if fairseq-train fails or leaves no checkpoint.
    """
    with log.open("a", encoding="utf-8") as file:
        print("$", *command, file=file)
    status = run(command, log)
    found = [save_dir / f"checkpoint_{name}.pt" for name in ("best", "last")]
    found = [path for path in found if path.is_file()]
    if status or not found:
        raise RuntimeError(f"fairseq-train ended with exit status {status}; its whole log is {log}")
    return found[0]
