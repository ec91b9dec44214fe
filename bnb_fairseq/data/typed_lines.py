"""The lines that ``fairseq-interactive`` reads."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

COMMANDS = ("fairseq-interactive", "interactive.py")
STANDARD_INPUT = "-"
NEWLINE = "\n"
BROKEN_BYTES = "surrogateescape"  # become lone surrogates, and the task refuses such a line by its number


def end_lines_at_newlines(options: DictConfig, argv: Sequence[str] | None = None) -> None:
    """Make ``fairseq-interactive`` end lines at newlines only, and survive broken bytes; else do nothing.

    Python also splits at a carriage return, which would give more outputs than lines. A file that ``--input`` names
    becomes the standard input; an OSError if it cannot be read.
    """
    command = (argv if argv is not None else sys.argv)[0]
    if Path(command).name not in COMMANDS:
        return
    if options.interactive.input != STANDARD_INPUT:
        sys.stdin = open(options.interactive.input, encoding="utf-8", errors=BROKEN_BYTES, newline=NEWLINE)  # noqa: SIM115
        options.interactive.input = STANDARD_INPUT
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors=BROKEN_BYTES, newline=NEWLINE)


def on_one_line(text: str) -> str:
    """The text with spaces in place of carriage returns."""
    return text.replace("\r", " ")
