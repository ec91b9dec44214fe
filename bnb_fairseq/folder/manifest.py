"""``config.json`` of a model folder: what the model is, and the sha256 of every other file."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..checkpoints.files import find_file_fault

FORMAT = 1  # of the folder; a reader refuses another
CONFIG, WEIGHTS, SEARCH, CARD = "config.json", "model.safetensors", "search.json", "README.md"
SOURCE, TARGET = "source", "target"
LANGUAGE_MODELS = ("lm.arpa.gz", "lm.bin")
GRAPHS = ("model.int8.onnx", "model.float32.onnx")  # the first one that is there is run
NAR, AUTOREGRESSIVE = "bnb_transformer", "bert2bert"
UNCHECKED = frozenset({CONFIG, CARD})  # the card is for people, who may add to it
LARGEST_CONFIG = 1 << 20  # bytes
BLOCK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What ``config.json`` says.

    Attributes:
        architecture: ``bnb_transformer`` or ``bert2bert``.
        task: fairseq's name of the task.
        source_lang: language of the sources; empty where the task has none.
        target_lang: language of the targets.
        network: options of the network.
        name: of the model, for people.
        files: sha256 of each other file, by its path in the folder.
    """

    architecture: str
    task: str
    source_lang: str
    target_lang: str
    network: dict[str, Any]
    name: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write ``config.json`` with the sha256 of the files that are there."""
        files = {name: sha256(folder / name) for name in _list_files(folder) if name not in UNCHECKED}
        values = {"format": FORMAT, **asdict(self), "files": files}
        (folder / CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read ``config.json`` and compare every file with its sha256.

        Args:
            folder: the model folder.

        Returns:
            What it says.

        Raises:
            ValueError: if the folder is none, of another format version, or a file is missing, changed or unknown.
        """
        values = read_json(folder / CONFIG)
        version = values.pop("format", None)
        if version != FORMAT:
            raise ValueError(f"{folder / CONFIG}: format must be {FORMAT}, but is {version!r}; update bnb_fairseq")
        wanted = {"architecture": str, "task": str, "source_lang": str, "target_lang": str, "network": dict}
        wanted |= {"name": str, "files": dict}
        wrong = [name for name, kind in wanted.items() if not isinstance(values.get(name), kind)]
        wrong += sorted(values.keys() - wanted.keys())
        if wrong:
            raise ValueError(f"{folder / CONFIG}: must have {', '.join(wanted)}, but is wrong in {', '.join(wrong)}")
        if values["architecture"] not in (NAR, AUTOREGRESSIVE):
            kinds = f"{NAR} or {AUTOREGRESSIVE}"
            raise ValueError(f"{folder / CONFIG}: architecture must be {kinds}, but is {values['architecture']!r}")
        manifest = cls(**values)
        manifest.check_files(folder)
        return manifest

    def check_files(self, folder: Path) -> None:
        """Compare the folder's files with ``files``.

        Args:
            folder: the model folder.

        Raises:
            ValueError: naming every file that is missing, changed, or lies outside the folder.
        """
        problems = []
        for name, expected in self.files.items():
            if not _is_inside(name):
                problems.append(f"{name} must be a path inside the folder")
            elif (folder / name).is_symlink() or find_file_fault(folder / name):
                problems.append(f"{name} is missing or no file")
            elif sha256(folder / name) != expected:
                problems.append(f"{name} has changed: its sha256 is not the one in {CONFIG}")
        if problems:
            raise ValueError(f"{folder}: {'; '.join(problems)}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a small JSON file that holds an object.

    Args:
        path: the file.

    Returns:
        Its values.

    Raises:
        ValueError: if it is missing, too large, or holds something else.
    """
    if fault := find_file_fault(path):
        raise ValueError(f"{path}: must be a file of a model folder, but {fault}; bnb-export makes such folders")
    if path.stat().st_size > LARGEST_CONFIG:
        raise ValueError(f"{path}: must have at most {LARGEST_CONFIG:,} bytes, but has {path.stat().st_size:,}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: must be JSON, but cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must hold a JSON object, but holds a {type(values).__name__}")
    return values


def sha256(path: Path) -> str:
    """Compute the sha256 of a file, hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def _list_files(folder: Path) -> Iterable[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name
