"""Model folders of small random models, and folders as a stranger may make them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnb_fairseq.export.model_folder import export
from bnb_fairseq.folder.manifest import CARD, CONFIG, sha256

from ..export.conftest import trained  # noqa: F401  # a fixture

Reseal = Callable[..., Path]
NAMES = ("ctc", "refining", "autoregressive")


@pytest.fixture(scope="session")
def exported(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: F811
    """Model folders by the names of their checkpoints."""
    place = tmp_path_factory.mktemp("exported")
    for name in NAMES:
        export(trained[name], trained[name].parent, place / name, {"max_len_b": 8} if name == "autoregressive" else {})
    return {name: place / name for name in NAMES}


@pytest.fixture
def folder(exported: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(exported["ctc"], tmp_path / "model"))


@pytest.fixture
def beams(exported: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the autoregressive model's, to damage."""
    return Path(shutil.copytree(exported["autoregressive"], tmp_path / "beams"))


@pytest.fixture(scope="session")
def reseal() -> Reseal:
    """Change values of ``config.json`` and write the sha256 of the files as they are, as a stranger can."""

    def change(folder: Path, network: dict[str, Any] | None = None, /, **values: Any) -> Path:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        for name, value in (network or {}).items():
            *sides, last = name.split(".")
            place = config["network"]
            for side in sides:
                place = place[side]
            place[last] = value
        paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in (CONFIG, CARD)]
        config["files"] = {path.relative_to(folder).as_posix(): sha256(path) for path in paths}
        (folder / CONFIG).write_text(json.dumps({**config, **values}), encoding="utf-8")
        return folder

    return change
