"""The lines that ``fairseq-interactive`` reads."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

COMMANDS = ("fairseq-interactive", "interactive.py")
STANDARD_INPUT = "-"
NEWLINE = "\n"
BROKEN_BYTES = "surrogateescape"  # become lone surrogates, for which the task refuses the line by its number


def end_lines_at_newlines(options: DictConfig, argv: Sequence[str] | None = None) -> None:
    """Let nothing but a newline end a line, nor a broken byte end the command, where ``fairseq-interactive`` reads.

    Python takes a carriage return for a line end, too, so that there would be more outputs than lines.

    Args:
        options: fairseq's; a file that ``--input`` names becomes the standard input.
        argv: the command and its arguments; ``sys.argv`` by default. Under any other command nothing happens.

    Raises:
        OSError: if the file cannot be read.
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
    """Put a space in the place of every carriage return."""
    return text.replace("\r", " ")
