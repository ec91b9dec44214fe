"""Writing files and folders completely or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"  # the lent folders' names begin with it; a killed process leaves them


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the file and the reason of a failure: torch raises a RuntimeError if the disk is full."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} cannot be written: {error}") from error


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Lend a folder to write in; on success its files move to ``folder``, which is made if need be.

    An OSError says if there is no room, or nothing may be written there.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=PARTIAL) as lent:
            yield Path(lent)
            for path in sorted(Path(lent).iterdir()):
                path.replace(folder / path.name)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Lend a folder to write in, which on success becomes ``folder``.

    Args:
        folder: the final place, missing or empty.

    Yields:
        The lent folder.

    Raises:
        OSError: if there is no room, or nothing may be written there.
        ValueError: if it exists and is not an empty folder.
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
