"""The files of a BERT, in a directory or fetched from HuggingFace's hub."""

import json
from pathlib import Path
from typing import Any

from ..checkpoints.files import require_file


def find(origin: str, name: str) -> Path | None:
    """Find a file that a model may have; None without it, or where the hub cannot be reached. See ``fetch``."""
    return _cached(origin, name, optional=True)


def fetch(origin: str, name: str) -> Path:
    """Find a file of a model; nothing in it is run.

    Args:
        origin: a directory, or a model's name on the hub, from which the file is downloaded.
        name: the file's name.

    Returns:
        Its local path.

    Raises:
        ValueError: if the model cannot be found or has no such file.
    """
    path = _cached(origin, name, optional=False)
    if path is None:  # transformers does not raise where config.json is missing
        raise ValueError(f"{origin}: has no {name}")
    return path


def _cached(origin: str, name: str, optional: bool) -> Path | None:
    from transformers.utils import cached_file

    try:
        path = cached_file(origin, name, _raise_exceptions_for_missing_entries=not optional)
    except OSError as error:
        if Path(origin).is_dir():
            raise ValueError(f"{origin}: has no {name}") from error
        raise ValueError(
            f"{origin}: neither a directory with {name} nor a HuggingFace model that can be fetched ({error})"
        ) from error
    return None if path is None else require_file(Path(path))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a ValueError that names the file if it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: must be JSON in UTF-8, but is not: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: must hold a JSON object, but holds a {type(found).__name__}")
    return found
