"""The systems of a comparison, as they stand on the command line."""

import argparse
import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

FIXED = {"--gen-subset", "--path", "--quiet", "--results-path"}  # a system with its own could not be compared
COPY, REFERENCE = "source copied", "reference"


class System(NamedTuple):
    """A system to compare: checkpoint as ``--path`` takes it, and its own options of fairseq-generate."""

    name: str
    checkpoint: str
    options: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the file that its output is kept in."""
        return output_file(self.name)

    @property
    def checkpoints(self) -> list[Path]:
        """Files of the checkpoint; fairseq takes an ensemble as names with colons between them."""
        return [Path(file) for file in self.checkpoint.split(os.pathsep)]


def output_file(name: str) -> str:
    """Name the file that the output of the system with this name is kept in."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") + ".txt"


def parse_system(text: str) -> System:
    """Read one SYSTEM of the command line.

    Args:
        text: ``NAME=CHECKPOINT`` and options, quoted as in a shell.

    Returns:
        The system.

    Raises:
        ArgumentTypeError: if it does not have this form.
    """
    name, equals, rest = text.partition("=")
    name = name.strip()
    try:
        checkpoint, *options = shlex.split(rest)
    except ValueError:  # nothing behind the =, or a quotation without its end
        equals, checkpoint, options = "", "", []
    if not equals or not re.search(r"\w", name) or not name.isprintable():
        raise argparse.ArgumentTypeError(f"must be NAME=CHECKPOINT [OPTIONS], but is {text!r}")
    if name in (COPY, REFERENCE):
        raise argparse.ArgumentTypeError(f"NAME must not be {COPY!r} or {REFERENCE!r}, but is {name!r}")
    if options and not options[0].startswith("-"):
        raise argparse.ArgumentTypeError(f"options must follow the checkpoint, but {options[0]!r} does in {text!r}")
    if taken := FIXED & {option.split("=")[0] for option in options}:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(taken))} must be left to this script, but is in {text!r}")
    return System(name, checkpoint, tuple(options))


def positive(text: str) -> int:
    """Read a number of the command line that must be 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but is {text!r}")
    return int(text)
