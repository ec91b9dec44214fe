"""``config.json`` of a model folder: the model's properties, and the sha256 of every other file."""

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
LANGUAGE_MODEL = "lm.arpa.gz"  # KenLM checks the text form but trusts its binary form
# The first existing one is run. A model that refines has two graphs: encoder and decoder.
GRAPHS = ("model.int8.onnx", "encoder.int8.onnx", "model.float32.onnx", "encoder.float32.onnx")
DECODERS = {"encoder.int8.onnx": "decoder.int8.onnx", "encoder.float32.onnx": "decoder.float32.onnx"}
SHORTLIST = "shortlist.npz"
NAR, AUTOREGRESSIVE = "bnb_transformer", "bert2bert"
TASKS = ("translation_bnb", "question_generation_bnb")
UNCHECKED = frozenset({CONFIG, CARD})  # people may edit the card
READ = (WEIGHTS, *GRAPHS, *DECODERS.values(), SHORTLIST, SEARCH, LANGUAGE_MODEL)  # and the files in SOURCE and TARGET
MOST_NAMED = 5  # files in a message
LARGEST_CONFIG = 1 << 20  # bytes
BLOCK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """Content of ``config.json``.

    Attributes:
        architecture: ``bnb_transformer`` or ``bert2bert``.
        task: fairseq's name of the task.
        source_lang: language of the sources; empty if the task has none.
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
        """Write ``config.json`` with the sha256 of the folder's files."""
        files = {name: sha256(folder / name) for name in _list_files(folder) if name not in UNCHECKED}
        values = {"format": FORMAT, **asdict(self), "files": files}
        (folder / CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read ``config.json`` and compare every file with its sha256.

        Args:
            folder: the model folder.

        Returns:
            The content.

        Raises:
            ValueError: if it is no model folder or has another format version, or a file is missing, changed or added.
        """
        path = folder / CONFIG
        if fault := _find_fault(folder, CONFIG):
            raise ValueError(f"{path}: must be a file of a model folder, but {fault}; bnb-export makes such folders")
        values = read_json(path)
        version = values.pop("format", None)
        if version is None:
            raise ValueError(f"{path}: must be a model folder's, but has no format; bnb-export makes such folders")
        if type(version) is not int or version != FORMAT:
            raise ValueError(f"{path}: format must be {FORMAT}, but is {version!r}; update bnb_fairseq")
        wanted = {"architecture": str, "task": str, "source_lang": str, "target_lang": str, "network": dict}
        wanted |= {"name": str, "files": dict}
        wrong = [name for name, kind in wanted.items() if not isinstance(values.get(name), kind)]
        wrong += sorted(values.keys() - wanted.keys())
        if wrong:
            raise ValueError(f"{path}: must have {', '.join(wanted)}, but is wrong in {', '.join(wrong)}")
        for name, known in (("architecture", (NAR, AUTOREGRESSIVE)), ("task", TASKS)):
            if values[name] not in known:
                raise ValueError(f"{path}: {name} must be {' or '.join(known)}, but is {values[name]!r}")
        manifest = cls(**values)
        manifest.check_files(folder)
        return manifest

    def check_files(self, folder: Path) -> None:
        """Compare a model folder with ``files``.

        Args:
            folder: the model folder.

        Raises:
            ValueError: naming files that are missing or changed, that lie outside the folder, or that a reader would
                open but are not in ``files``.
        """
        problems = []
        for name, expected in self.files.items():
            if fault := _find_fault(folder, name):
                problems.append(f"{name}: {fault}")
            elif sha256(folder / name) != expected:
                problems.append(f"{name}: it has changed, its sha256 is not the one in {CONFIG}")
        problems += [f"{name}: it is not in {CONFIG}" for name in _list_read(folder) if name not in self.files]
        if problems:
            more = [f"{len(problems) - MOST_NAMED} more"] if len(problems) > MOST_NAMED else []
            raise ValueError(f"{folder}: {'; '.join([*problems[:MOST_NAMED], *more])}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a small file; a ValueError if it is missing, too large, or holds something else."""
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
    """The sha256 of a file, hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def _list_files(folder: Path) -> Iterable[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _list_read(folder: Path) -> list[str]:
    """Existing files that a reader of the folder opens."""
    inside = [path for side in (SOURCE, TARGET) for path in sorted((folder / side).glob("*"))]
    paths = [path for path in (*(folder / name for name in READ), *inside) if path.exists()]
    return [path.relative_to(folder).as_posix() for path in paths if not path.name.startswith(".")]


def _find_fault(folder: Path, name: str) -> str | None:
    """Why a name is no file inside the folder, as the end of a sentence; None if it is one."""
    path = PurePosixPath(name)
    if path.is_absolute() or path.as_posix() != name or {"..", "."} & set(path.parts) or "\\" in name or ":" in name:
        return "it must be a path inside the folder"
    if fault := find_file_fault(folder / name):
        return fault
    if not (folder / name).resolve().is_relative_to(_root(folder).resolve()):
        return "it is a link that leads out of the folder"
    return None


def _root(folder: Path) -> Path:
    """The folder; of a folder of the HuggingFace hub the one above, where the linked files are."""
    folder = folder.absolute()
    return folder.parents[1] if folder.parent.name == "snapshots" else folder
