"""The files of a BERT, in a directory or fetched from HuggingFace's hub."""

import json
from pathlib import Path
from typing import Any

from ..checkpoints.files import require_file


def find(origin: str, name: str) -> Path | None:
    """An optional file of a model; None if it is missing, or the hub cannot be reached. See ``fetch``."""
    return _cached(origin, name, optional=True)


def fetch(origin: str, name: str) -> Path:
    """Local path of a model's file, downloaded if ``origin`` is a name on the hub; nothing in it is run.

    Raises a ValueError if the model cannot be found or has no such file.
    """
    path = _cached(origin, name, optional=False)
    if path is None:  # transformers raises nothing for a missing config.json
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
    """A JSON object from a file; a ValueError names the file if it holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: must be JSON in UTF-8, but is not: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: must hold a JSON object, but holds a {type(found).__name__}")
    return found
