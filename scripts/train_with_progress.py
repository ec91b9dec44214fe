"""Run fairseq-train, keep its whole log in a file, and show one short line for what a user wants to watch.

The command must log with ``--log-format simple``. Interrupted, it stops the training, which resumes when it is started
again with the same ``--save-dir``.
"""

import argparse
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from bnb_fairseq.cli.errors import one_line_errors

LAST_LINES = 30


def digest(line: str) -> str | None:
    """Shorten a line of fairseq-train's log.

    Args:
        line: the line.

    Returns:
        What to show of it, or None.
    """

    def value(name: str) -> str:
        found = re.search(rf"\b{name}[= ]([^\s,]+)", line)
        return found[1] if found else "-"

    if "embedding rows" in line or "Loaded checkpoint" in line:
        return line.rsplit(" | ", 1)[-1]
    if "| train_inner |" in line:
        return f"update {value('num_updates')}: nll {value('nll_loss')}, {value('wps')} words/s"
    if " valid on " in line:
        return f"update {value('num_updates')}: validation nll {value('nll_loss')}, BLEU {value('bleu')}"
    return None


def run(
    command: list[str], log: Path, shorten: Callable[[str], str | None] | None = None, output: TextIO | None = None
) -> int:
    """Run the command.

    Args:
        command: fairseq-train and its arguments.
        log: file that its output is appended to.
        shorten: makes of a line of the log what is shown, or None; ``digest`` by default.
        output: where it is shown, stdout by default.

    Returns:
        Its exit status.
    """
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
                if shown := (shorten or digest)(line.rstrip("\n")):
                    print("  ", shown, file=output, flush=True)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        print("".join(tail), end="", file=output)
    return process.returncode


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, required=True, help="file for the whole log")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="fairseq-train and its arguments, after --")
    return parser.parse_args()


def check(arguments: argparse.Namespace) -> None:
    """See that the command can be run and the log written.

    Args:
        arguments: the command line.

    Raises:
        ValueError: naming every argument that does not fit, its constraint and its value.
    """
    problems = []
    if arguments.log.is_dir() or not arguments.log.parent.is_dir():
        problems.append(f"--log must be a file in a folder that exists, but is {arguments.log}")
    if shutil.which(arguments.command[0]) is None:
        problems.append(f"COMMAND must begin with a program that can be run, but begins with {arguments.command[0]}")
    if problems:
        raise ValueError("; ".join(problems))


def main() -> None:
    """Run the command after ``--`` and end with its status; an error is one line."""
    arguments = parse_arguments()
    with one_line_errors("train_with_progress", ValueError):
        check(arguments)
    with one_line_errors("train_with_progress", OSError):
        raise SystemExit(run(arguments.command, arguments.log))


if __name__ == "__main__":
    main()
