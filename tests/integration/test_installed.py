"""The package as a wheel, away from the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bnb_fairseq.translator import Translator

from ..conftest import ROOT
from ..unit.conftest import random_parameters  # noqa: F401  # a fixture
from ..unit.export.conftest import trained  # noqa: F401  # a fixture
from ..unit.folder.conftest import exported  # noqa: F401  # a fixture

# Imports the package as a program does that uses it from Python, then lets fairseq load it by its path.
IMPORTED_BY_BOTH_WAYS = """
import argparse, sys
import bnb_fairseq.plugin
from fairseq.tasks import TASK_REGISTRY
from fairseq.utils import import_user_module
task = TASK_REGISTRY["translation_bnb"]
import_user_module(argparse.Namespace(user_dir=sys.argv[1]))
assert TASK_REGISTRY["translation_bnb"] is task
files = [str(getattr(module, "__file__", "")) for module in sys.modules.values()]
files = [name for name in files if "bnb_fairseq" in name]
assert len(files) == len(set(files)) > 50, files
print(len(files), "files")
"""


def run(site: Path, cwd: Path, *arguments: str | Path) -> str:
    line = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert done.returncode == 0, f"{line}:\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bnb_fairseq", folder / "source" / "bnb_fairseq", ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    command: list[str | Path] = [
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        folder / "source",
    ]
    run(ROOT, folder, *command)
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_is_complete_and_takes_no_torch(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    source = ROOT / "bnb_fairseq"
    suffixes = (".py", ".tsv", ".typed", ".html", ".css", ".js")
    expected = {str(path.relative_to(ROOT)) for path in source.rglob("*") if path.suffix in suffixes}
    assert packed == expected
    required = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert any(line.startswith("Requires-Dist: transformers") for line in required)
    assert [line for line in required if "torch" in line or "fairseq" in line] == []


@pytest.mark.slow
def test_fairseq_loads_an_installed_package_by_its_path(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    printed = run(site, elsewhere, "-m", "bnb_fairseq")
    assert printed == f"{site / 'bnb_fairseq'}\n"
    (elsewhere / "both.py").write_text(IMPORTED_BY_BOTH_WAYS)
    assert run(site, elsewhere, "both.py", printed.strip()).endswith(" files\n")


@pytest.mark.slow
def test_translating_with_an_installed_package(
    wheel: Path,
    exported: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    """Away from the repository, where neither fairseq nor transformers can be imported."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in ("fairseq", "transformers"):
        (site / f"{name}.py").write_text(f"raise ImportError('{name} is not there')")
    (elsewhere / "text").write_text("the cell opens\n\nthe cell\n")
    command: list[str | Path] = [
        "-m",
        "bnb_fairseq.cli.translate",
        exported["ctc"],
        "--input",
        "text",
        "--output",
        "out",
    ]
    assert run(site, elsewhere, *command) == ""
    expected = [one.text for one in Translator.load(exported["ctc"]).translate(["the cell opens", "", "the cell"])]
    assert (elsewhere / "out").read_text(encoding="utf-8") == "".join(f"{text}\n" for text in expected)
    assert expected[0]
