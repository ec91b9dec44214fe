"""Runs of fairseq-generate, whose outputs are kept and reused."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .outputs import find_speed, read_translations
from .systems import System

GENERATE = Path(sys.executable).with_name("fairseq-generate")
RECORD = "# made by "
LAST_LINES = 30
TASK = "translation_bnb"
OWN_TASKS = ("question_generation_bnb",)  # of checkpoints that are to be used with the task they were trained with


class FailedRunError(Exception):
    """fairseq-generate failed or left out sentences; the message has the last lines of its output."""


class Job(NamedTuple):
    """Options of fairseq-generate that all systems share, the folder for their outputs, and the runs of each."""

    data_bin: Path
    user_dir: Path
    gen_subset: str
    batch_size: int
    cpu: bool
    output: Path
    rounds: int


class Run(NamedTuple):
    """A run of fairseq-generate: command, translations, sentences per second, and the machine."""

    command: str
    translations: list[str]
    speed: float | None
    made: dict[str, str | int]


def translate_in_turns(
    systems: Sequence[System], job: Job, sentences: int, made: Mapping[str, str | int]
) -> dict[str, list[Run]]:
    """Run every system once a round, so that a slow moment of the machine meets all of them.

    Outputs of the first round lie in the output folder, those of round 2 in its folder ``round-2``, and so on.

    Args:
        systems: the systems.
        job: the shared options.
        sentences: number of sentences in the part of the data.
        made: description of this machine, kept with each output.

    Returns:
        The runs of each system, one a round.

    Raises:
        FailedRunError: if a command fails or leaves out sentences.
    """
    runs: dict[str, list[Run]] = {system.name: [] for system in systems}
    rounds = job.rounds
    turns = [(number, system) for number in range(1, rounds + 1) for system in systems]
    for i, (number, system) in enumerate(turns, start=1):
        place = f", round {number} of {rounds}" if rounds > 1 else ""
        print(f"[{i}/{len(turns)}] {system.name}{place}: ", end="", file=sys.stderr, flush=True)
        folder = job.output if number == 1 else job.output / f"round-{number}"
        folder.mkdir(exist_ok=True)
        runs[system.name].append(translate(system, job, folder, sentences, made))
    return runs


def translate(system: System, job: Job, folder: Path, sentences: int, made: Mapping[str, str | int]) -> Run:
    """Run fairseq-generate for a system, or read its output from ``folder``; see ``translate_in_turns``."""
    command, record = make_command(system, job)
    output = folder / system.file
    partial = output.with_name(f"{output.name}.partial")
    try:
        found, run = read_run(output, sentences)
        if found == record:
            print("made before, used again", file=sys.stderr)
            return run
    except (OSError, ValueError, KeyError):
        pass  # none yet, or nothing that this module has written
    begun = time.perf_counter()
    # Unbuffered, so that what goes to stderr cannot fall into the middle of a translation.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    with partial.open("w", encoding="utf-8") as file:
        print(RECORD + json.dumps({**record, "made": made}), file=file, flush=True)
        done = subprocess.run(
            command, executable=GENERATE, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        )
    if done.returncode:
        tail = partial.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        ended = f"fairseq-generate ended with exit code {done.returncode}; its whole output is {partial}"
        raise FailedRunError("\n".join(["failed", *tail, f"{system.name}: {ended}, its command {record['command']}"]))
    try:
        _, run = read_run(partial, sentences)
    except ValueError as error:
        raise FailedRunError(f"failed\n{system.name}: {error} (--reference has {sentences:,} lines)") from error
    partial.replace(output)
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return run


def make_command(system: System, job: Job) -> tuple[list[str], dict[str, Any]]:
    """Return a system's command, and what identifies its output: command, size and time (ns) of its files."""
    command = ["fairseq-generate", str(job.data_bin), "--user-dir", str(job.user_dir)]
    command += ["--task", find_task(system), "--path", system.checkpoint, "--gen-subset", job.gen_subset]
    command += ["--batch-size", str(job.batch_size), *(["--cpu"] if job.cpu else []), *system.options]
    beginnings = (f"{job.gen_subset}.", "dict.")
    data = sorted(file for file in job.data_bin.iterdir() if file.name.startswith(beginnings))
    states = {str(file): file.stat() for file in (*system.checkpoints, *data)}
    files = {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}
    return command, {"command": shlex.join(command), "files": files}


@cache  # every round asks, and a checkpoint is large
def find_task(system: System) -> str:
    """Return the task of the system's first checkpoint if it is one of ``OWN_TASKS``, else ``translation_bnb``."""
    from ..checkpoints.reader import read_checkpoint  # loads fairseq

    try:
        options = (read_checkpoint(system.checkpoints[0]).get("cfg") or {}).get("task") or {}
    except ValueError:
        return TASK  # fairseq-generate says what is wrong with the file
    name = str(options.get("_name"))
    return name if name in OWN_TASKS else TASK


def read_run(output: Path, sentences: int) -> tuple[dict[str, Any], Run]:
    """Return the record at the beginning of an output file, and the run.

    Raises a ValueError if the record or one of ``sentences`` translations is missing.
    """
    with output.open(encoding="utf-8") as file:
        record = json.loads(file.readline().removeprefix(RECORD))
    made = record.pop("made")
    return record, Run(record["command"], read_translations(output, sentences), find_speed(output), made)
