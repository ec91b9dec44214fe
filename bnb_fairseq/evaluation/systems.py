"""The systems of a comparison as a command line names them."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

FIXED = {"--gen-subset", "--path", "--quiet", "--results-path"}  # a system with its own could not be compared
COPY, REFERENCE = "source copied", "reference"
RECORD = "quality.json"  # in the folder of a comparison


class System(NamedTuple):
    """A system to compare: its checkpoint as ``--path`` takes it, and its own options of fairseq-generate."""

    name: str
    checkpoint: str
    options: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of its output file."""
        return output_file(self.name)

    @property
    def checkpoints(self) -> list[Path]:
        """Files of the checkpoint: an ensemble is names with colons between them."""
        return [Path(file) for file in self.checkpoint.split(os.pathsep)]


def output_file(name: str) -> str:
    """Return the name of a system's output file."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") + ".txt"


def parse_system(text: str) -> System:
    """Read a SYSTEM: ``NAME=CHECKPOINT`` and options, quoted as in a shell.

    Raises a ValueError if the text has another form.
    """
    name, equals, rest = text.partition("=")
    name = name.strip()
    try:
        checkpoint, *options = shlex.split(rest)
    except ValueError:  # nothing behind the =, or a quotation without its end
        equals, checkpoint, options = "", "", []
    if not equals or not re.search(r"\w", name) or not name.isprintable():
        raise ValueError(f"must be NAME=CHECKPOINT [OPTIONS], but is {text!r}")
    refuse_reserved(name)
    if options and not options[0].startswith("-"):
        raise ValueError(f"options must follow the checkpoint, but {options[0]!r} does in {text!r}")
    if taken := FIXED & {option.split("=")[0] for option in options}:
        raise ValueError(f"{', '.join(sorted(taken))} must be left to this command, but is in {text!r}")
    return System(name, checkpoint, tuple(options))


def find_outputs(text: str) -> list[tuple[str, Path]]:
    """Return names and output files of a SYSTEM: ``NAME=OUTPUT``, or a folder of ``bnb-score checkpoints``.

    Raises a ValueError if the text is neither.
    """
    folder = Path(text)
    if folder.is_dir():
        record = folder / RECORD
        try:
            names = list(json.loads(record.read_text(encoding="utf-8"))["runs"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"a folder must be one that bnb-score checkpoints has filled, but {record} has no runs ({error!r})"
            ) from error
        return [(name, folder / output_file(name)) for name in names]
    name, equals, file = (part.strip() for part in text.partition("="))
    if not (name and name.isprintable() and equals and file):
        raise ValueError(f"must be NAME=OUTPUT or a folder of bnb-score checkpoints, but is {text!r}")
    refuse_reserved(name)
    return [(name, Path(file))]


def refuse_reserved(name: str) -> None:
    """Refuse the names of other rows of the table with a ValueError."""
    if name in (COPY, REFERENCE):
        raise ValueError(f"NAME must not be {COPY!r} or {REFERENCE!r}, but is {name!r}")
