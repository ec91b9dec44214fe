"""Which steps of the bootstrap are still to be done."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ...conftest import ROOT

WANTED = "fairseq-fixed==0.12.3.1"
ALL = ["torch", "build-tools", "fairseq", "requirements", "plugin"]
TOOLS = {"cython": "3.0", "wheel": "0.4", "numpy": "2.3.1", "setuptools": "80.1"}
COMMANDS = {"bnb-x": "x:main", "bnb-y": "y:main"}

Install = Callable[..., None]


@pytest.fixture
def packages(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("missing_packages")


@pytest.fixture
def install(packages: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Install:
    """Pretend that just these packages are installed; the requirements are numpy and sacrebleu."""
    (tmp_path / "scripts").mkdir()
    requirements = "# a comment\n\nnumpy<2.4  # not the newest\nsacrebleu\n"
    (tmp_path / "scripts" / "requirements.txt").write_text(requirements)
    (tmp_path / "pyproject.toml").write_text('[project.scripts]\nbnb-x = "x:main"\nbnb-y = "y:main"\n')
    monkeypatch.setattr(packages, "ROOT", tmp_path)

    def pretend(versions: dict[str, str], plugin: str | None = None, commands: Mapping[str, str] = COMMANDS) -> None:
        files = {name: {"RECORD": "complete"} for name in versions}
        if plugin is not None:
            files["bnb_fairseq"] = {"RECORD": "complete", "direct_url.json": plugin}

        def distribution(name: str) -> SimpleNamespace:
            if name not in files:
                raise PackageNotFoundError(name)
            points = [SimpleNamespace(name=command, value=value) for command, value in commands.items()]
            version = versions.get(name, "0.1.0")
            return SimpleNamespace(read_text=files[name].get, version=version, entry_points=points)

        monkeypatch.setattr(packages, "distribution", distribution)

    return pretend


def test_a_package_whose_installation_was_cut_off(packages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for record, expected in (("complete", "2.0"), (None, None)):
        package = SimpleNamespace(read_text={"RECORD": record}.get, version="2.0")
        monkeypatch.setattr(packages, "distribution", lambda name, package=package: package)
        assert packages.installed("torch") == expected


def here(packages: ModuleType) -> str:
    return f'{{"url": "{packages.ROOT.as_uri()}", "dir_info": {{"editable": true}}}}'


def test_nothing_installed(packages: ModuleType, install: Install) -> None:
    install({})
    assert list(packages.missing(WANTED)) == ALL


def test_everything_installed(packages: ModuleType, install: Install) -> None:
    install({**TOOLS, "torch": "2.13.0", "fairseq-fixed": "0.12.3.1", "sacrebleu": "2.6"}, here(packages))
    assert list(packages.missing(WANTED)) == []


@pytest.mark.parametrize(
    ("gone", "steps"),
    [
        ("torch", ["torch"]),
        ("fairseq-fixed", ["fairseq"]),
        ("sacrebleu", ["requirements"]),
        ("numpy", ["requirements"]),
        ("cython", []),  # only building fairseq needs it
    ],
)
def test_one_package_is_gone(gone: str, steps: list[str], packages: ModuleType, install: Install) -> None:
    versions = {**TOOLS, "torch": "2.13.0", "fairseq-fixed": "0.12.3.1", "sacrebleu": "2.6"}
    del versions[gone]
    install(versions, here(packages))
    assert list(packages.missing(WANTED)) == steps


@pytest.mark.parametrize("tool", TOOLS)
def test_building_fairseq_needs_its_tools(tool: str, packages: ModuleType, install: Install) -> None:
    versions = {**TOOLS, "torch": "2.13.0", "fairseq-fixed": "0.12.2", "sacrebleu": "2.6"}
    install(versions, here(packages))
    assert list(packages.missing(WANTED)) == ["fairseq"]
    del versions[tool]
    install(versions, here(packages))
    assert list(packages.missing(WANTED))[:2] == ["build-tools", "fairseq"]


@pytest.mark.parametrize(("numpy", "holds"), [("2.3.5", True), ("2.4.0", False), ("2.3.0rc1", True), ("1.26", True)])
def test_versions_of_requirements(numpy: str, holds: bool, packages: ModuleType, install: Install) -> None:
    install({"numpy": numpy, "sacrebleu": "2.6"})
    assert packages.satisfied(packages.ROOT / "scripts" / "requirements.txt") is holds


def test_requirements_cannot_be_read_before_packaging_is_there(
    packages: ModuleType, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install({"numpy": "2.3", "sacrebleu": "2.6"})
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert packages.satisfied(packages.ROOT / "scripts" / "requirements.txt") is False


@pytest.mark.parametrize("plugin", [None, "", "{}", '{"url": "file:///elsewhere"}'])
def test_plugin_of_another_folder(plugin: str | None, packages: ModuleType, install: Install) -> None:
    install({}, plugin)
    assert packages.plugin_is_editable() is False
    install({}, here(packages))
    assert packages.plugin_is_editable() is True


@pytest.mark.parametrize("commands", [{}, {"bnb-x": "x:main"}, {**COMMANDS, "bnb-y": "z:main"}, {**COMMANDS, "z": "z"}])
def test_commands_that_came_later(commands: dict[str, str], packages: ModuleType, install: Install) -> None:
    """A command that was added, renamed or removed since the installation needs another one."""
    versions = {**TOOLS, "torch": "2.13.0", "fairseq-fixed": "0.12.3.1", "sacrebleu": "2.6"}
    install(versions, here(packages), commands)
    assert list(packages.missing(WANTED)) == ["plugin"]


def run_bare(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run without site-packages, as in a fresh virtual environment."""
    line = [sys.executable, "-I", "-S", str(ROOT / "scripts" / "missing_packages.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_runs_where_nothing_is_installed() -> None:
    done = run_bare(WANTED)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ALL, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: FAIRSEQ"),
        (["fairseq"], "argument FAIRSEQ: must be NAME==VERSION, but is 'fairseq'"),
        (["fairseq=="], "argument FAIRSEQ: must be NAME==VERSION, but is 'fairseq=='"),
        (["==1"], "argument FAIRSEQ: must be NAME==VERSION, but is '==1'"),
        ([WANTED, "more"], "unrecognized arguments: more"),
    ],
)
def test_arguments_that_cannot_be(arguments: list[str], message: str) -> None:
    done = run_bare(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"missing_packages.py: error: {message}\n")


def test_help() -> None:
    done = run_bare("--help")
    assert done.returncode == 0
    assert "NAME==VERSION" in done.stdout
