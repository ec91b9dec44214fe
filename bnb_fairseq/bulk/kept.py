"""Parts of a long run that are kept: each is a file that is whole or not there, and says what it was made from."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoints.writing import PARTIAL, staging

RUN = "run.json"
Options = Mapping[str, Any]  # as JSON has them


class Part(NamedTuple):
    """Content of a part.

    Attributes:
        about: what is to be known about it, as JSON has it.
        body: the rest.
    """

    about: dict[str, Any]
    body: bytes


def digest(*parts: bytes) -> str:
    """Return a hash of byte strings and their borders, in hexadecimal."""
    found = hashlib.sha256()
    for part in parts:
        found.update(b"%d " % len(part))
        found.update(part)
    return found.hexdigest()


def write_part(path: Path, identity: str, part: Part) -> None:
    """Write a part; an OSError leaves the old one, or none.

    Args:
        path: its file; folders are made.
        identity: hash of all that it depends on.
        part: its content.
    """
    head = {"identity": identity, "body": digest(part.body), "about": part.about}
    with staging(path.parent) as lent:
        (lent / path.name).write_bytes(json.dumps(head).encode() + b"\n" + part.body)


def read_part(path: Path, identity: str) -> Part | None:
    """Return a part; None if there is none with this identity, or it is damaged, as by a machine that crashed."""
    try:
        line, _, body = path.read_bytes().partition(b"\n")
        head = json.loads(line)
        if head["identity"] == identity and head["body"] == digest(body):
            return Part(head["about"], body)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock the folder of a run against other commands of this machine.

    Processes that work for this one need no lock: what they write is whole or not there.

    Args:
        folder: made if it is missing.

    Yields:
        Nothing.

    Raises:
        OSError: if nothing can be written there.
        ValueError: if another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"--output must be filled by one process, but another one is at {folder}") from None
        yield
    finally:
        os.close(lock)


def claim(folder: Path, options: Options) -> str:
    """Make the folder of a run, or go on with one; what killed processes left half done is removed.

    Args:
        folder: made if it is missing; see ``alone``.
        options: what must stay the same for a run to go on, by name.

    Returns:
        A hash of the options.

    Raises:
        OSError: if nothing can be written there.
        ValueError: if it holds something else, or what a run with other options has kept.
    """
    text = json.dumps(options, indent=2, ensure_ascii=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(PARTIAL))
    if held := [name for name in names if name != RUN]:
        if RUN not in names:
            raise ValueError(
                f"--output must be a new or empty folder, or one of an earlier run, but {folder} holds {held[0]} and "
                f"no {RUN}"
            )
        _compare(json.loads(text), folder)
    else:  # a run that kept nothing, as one that an option was wrong for, binds nobody
        with staging(folder) as lent:
            (lent / RUN).write_text(text, encoding="utf-8")
    for left in [*folder.glob(f"{PARTIAL}*"), *folder.glob(f"*/{PARTIAL}*")]:
        shutil.rmtree(left, ignore_errors=True)  # a process of a run that was killed may still be at it
    return digest(text.encode())


def _compare(here: Options, folder: Path) -> None:
    """Raise a ValueError if a run has other options than these, or its record of them is damaged."""
    try:
        there = dict(json.loads((folder / RUN).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"--output must be another folder: {folder / RUN} is damaged: {error}") from error
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    if names:
        changes = ", ".join(f"{name} is {here.get(name)} here, {there.get(name)} there" for name in names)
        raise ValueError(f"--output must be another folder for a run with other options; {folder}: {changes}")
