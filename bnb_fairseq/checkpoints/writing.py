"""Writing files and folders that are either complete or not there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"  # the lent folders' names begin with it; a killed process leaves them


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what could not be written, and why: a RuntimeError is what torch makes of a full disk."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} cannot be written: {error}") from error


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Lend a folder to write in.

    Args:
        folder: where the files are to go, made if need be; afterwards every file in the lent one is moved into it,
            unless there was an error.

    Yields:
        The lent folder.

    Raises:
        OSError: if there is no room, or nothing may be written there.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=PARTIAL) as lent:
            yield Path(lent)
            for path in sorted(Path(lent).iterdir()):
                path.replace(folder / path.name)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Lend a folder to write in, which becomes a new one.

    Args:
        folder: what it is to become, unless there is an error; it does not exist yet or is empty.

    Yields:
        The lent folder.

    Raises:
        OSError: if there is no room, or nothing may be written there.
        ValueError: if the folder is there and not empty, or not a folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a new folder, but is a file")
    if folder.is_dir() and (inside := sorted(path.name for path in folder.iterdir())):
        raise ValueError(f"{folder} must be a new or empty folder, but holds {', '.join(inside[:3])}")
    folder = folder.absolute()
    lent = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    with _writing(folder):
        lent.mkdir(parents=True)
        try:
            yield lent
            lent.replace(folder)
        except BaseException:
            shutil.rmtree(lent)
            raise
