"""What the package requires and what it says of what pip does not install."""

import ast
import importlib
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib

from bnb_fairseq import installation
from bnb_fairseq.folder.manifest import CARD

from ..conftest import ROOT

SOURCES = sorted((ROOT / "bnb_fairseq").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OUTSIDE = {"torch", "fairseq"}
# Modules that need an extra, and are imported where they are used only; of them bnb-serve's import each other.
SERVING = {"app", "bodies", "counters", "gate", "openapi", "schemas", "server"}
WHOLLY_EXTRA = {"cluster", "comparison_picture", "int8", "serve_on_ray", *SERVING}
PACKAGES = {"hydra": "hydra_core", "fairseq_cli": "fairseq"}  # where they are not called as what they bring
TOOLS = installation.FAIRSEQ[0]
BUILD = installation.FAIRSEQ[1]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0].lower().replace("-", "_") for requirement in requirements}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]


def test_pip_takes_neither_torch_nor_fairseq() -> None:
    required = names(PROJECT["dependencies"])
    assert required & {"torch", "torchaudio", "fairseq", "fairseq_fixed", "accelerate"} == set()
    assert {"transformers", "numpy", "hydra_core"} <= required


def test_everything_that_is_imported_is_required() -> None:
    extras = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
    known = names(PROJECT["dependencies"]) | names(extras) | OUTSIDE
    found = {PACKAGES.get(name, name) for path in SOURCES for name in imported(ast.parse(path.read_text("utf-8")))}
    assert len(SOURCES) > 50
    assert {"torch", "fairseq", "sacrebleu"} <= found
    assert found - set(sys.stdlib_module_names) - known == set()


def test_what_an_extra_brings_is_imported_where_it_is_used_only() -> None:
    extras = names([item for extra in PROJECT["optional-dependencies"].values() for item in extra])
    required = names(PROJECT["dependencies"])
    for path in SOURCES:
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        nodes = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
        at_once = {name for node in nodes for name in imported(node)}
        of_package = {str(node.module).rpartition(".")[2] for node in nodes if isinstance(node, ast.ImportFrom)}
        assert path.stem in WHOLLY_EXTRA or at_once & (extras - required) == set(), path
        assert of_package & WHOLLY_EXTRA == set() or path.stem in SERVING, path


def messages(path: Path) -> Iterator[str]:
    """Every string of a source file but its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docstrings = {id(node.body[0].value) for node in documented if node.body and isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_message_points_into_the_repository(path: Path) -> None:
    """Who installed a wheel has no scripts, examples and docs."""
    place = re.compile(r"\b(scripts|examples|docs|tests)/|README|bootstrap\.sh|https?://")
    assert [message for message in messages(path) if place.search(message) and message != CARD] == []


def error(monkeypatch: pytest.MonkeyPatch, *missing: str) -> str:
    monkeypatch.setattr(installation, "is_installed", lambda name: name not in missing)
    with pytest.raises(ImportError) as caught:
        installation.require_host()
    return str(caught.value)


def commands(message: str) -> list[str]:
    return [line.strip() for line in message.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (("torch", "fairseq"), [installation.TORCH, TOOLS, BUILD]),
        (("fairseq",), [TOOLS, BUILD]),  # a torch that is there was chosen
        (("torch",), [installation.TORCH]),
    ],
)
def test_what_is_missing_and_its_commands(
    missing: tuple[str, ...], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = error(monkeypatch, *missing)
    assert commands(message) == expected
    head = message.splitlines()[0]
    assert ("PyTorch" in head, " fairseq," in head) == ("torch" in missing, "fairseq" in missing)
    assert ("CUDA" in message) == ("torch" in missing)
    assert ("C++ compiler" in message) == ("fairseq" in missing)


def test_a_fairseq_that_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's fairseq 0.12.2 under Python 3.11."""

    def fails(name: str) -> Any:
        assert name == "fairseq"
        raise ValueError("mutable default")

    monkeypatch.setattr(importlib, "import_module", fails)
    message = error(monkeypatch)
    assert commands(message) == [installation.OTHER_FAIRSEQ, TOOLS, BUILD]
    assert "mutable default" in message
    assert f"Python 3.{sys.version_info[1]}" in message


def test_all_is_there() -> None:
    installation.require_host()
    assert installation.is_installed("fairseq")


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bnb_no_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not installation.is_installed("bnb_no_package")
    assert not installation.is_installed("bnb_nothing_at_all")


@pytest.mark.parametrize("missing", [("torch", "fairseq"), ("fairseq",)])
def test_import_says_so(missing: tuple[str, ...]) -> None:
    script = f"import sys; sys.modules.update(dict.fromkeys({missing})); import bnb_fairseq.__main__"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    shown = done.stderr[done.stderr.index("ImportError: bnb_fairseq needs") :]
    assert commands(shown) == [*([installation.TORCH] if "torch" in missing else []), TOOLS, BUILD]


def test_the_command_shows_the_message_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ImportError("torch is missing\n    pip install torch")

    monkeypatch.setattr(installation, "require_host", refuse)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("bnb_fairseq.__main__", run_name="__main__")
    assert ended.value.code == "torch is missing\n    pip install torch"


def test_all_places_install_the_same() -> None:
    """The message, the documentation and the bootstrap."""
    written = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert "\n".join([installation.TORCH, *installation.FAIRSEQ]) in written
    script = (ROOT / "scripts" / "bootstrap.sh").read_text(encoding="utf-8")
    _, _, package = BUILD.rpartition(" ")
    assert f'bnb_fairseq="{package}"' in script
    assert BUILD.removesuffix(package).replace("pip install", "bnb_pip").strip() in script
    assert TOOLS.removeprefix("pip install ") in script
    assert installation.TORCH.removeprefix("pip install ").strip('"') in script
