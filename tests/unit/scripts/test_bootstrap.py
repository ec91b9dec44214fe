"""Which steps scripts/bootstrap.sh takes, in an environment whose pip notes what it is asked for."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ...conftest import ROOT

# Stands for .venv/bin/python: it is of the right version, has pip, and notes what pip is to install.
PYTHON = """#!/bin/sh
case "$*" in
*"pip install"*) echo "$*" >>"$(dirname "$0")/installed" ;;
*) exec {python} "$@" </dev/null ;;
esac
"""
Bootstrap = Callable[[], list[str]]
REST = ["-r ROOT/scripts/requirements.txt", "--no-deps --no-build-isolation -e ROOT"]
FAIRSEQ = ["numpy<2.4 cython wheel setuptools<81", "--no-build-isolation --no-deps --no-binary fairseq-fixed"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An environment in which all is installed; its site-packages."""
    folder = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    for name in ("torch-2.13.0", "fairseq_fixed-0.12.3.1", "sacrebleu-2.6.0"):
        (folder / f"{name}.dist-info").mkdir(parents=True)
        (folder / f"{name}.dist-info" / "RECORD").touch()
    return folder


@pytest.fixture
def bootstrap(tmp_path: Path, site: Path) -> Bootstrap:
    """Run it; what pip was asked for."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "bootstrap.sh", tmp_path / "scripts")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir()
    (programs / "activate").touch()
    (programs / "python").write_text(PYTHON.format(python=sys.executable))
    (programs / "python").chmod(0o755)

    def run() -> list[str]:
        line = ["bash", str(tmp_path / "scripts" / "bootstrap.sh")]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = (programs / "installed").read_text().replace(str(tmp_path), "ROOT").splitlines()
        return [line.partition("--progress-bar off ")[2] for line in lines]

    return run


def test_where_all_is_installed_pip_only_looks(bootstrap: Bootstrap) -> None:
    assert bootstrap() == REST


@pytest.mark.parametrize("name", ["torch-2.13.0", "fairseq_fixed-0.12.3.1"])
@pytest.mark.parametrize("killed", [False, True])
def test_what_is_missing_or_incomplete(name: str, killed: bool, bootstrap: Bootstrap, site: Path) -> None:
    record = site / f"{name}.dist-info" / "RECORD"
    record.unlink() if killed else shutil.rmtree(record.parent)
    first, *others = bootstrap()
    assert not record.parent.exists(), "pip would take it for complete"
    if name.startswith("torch"):
        assert first.startswith("torch==2.13.0")
        assert others == REST
    else:
        assert first == FAIRSEQ[0]
        assert others == [f"{FAIRSEQ[1]} fairseq-fixed==0.12.3.1", *REST]


def test_another_torch_is_kept_and_another_fairseq_is_not(bootstrap: Bootstrap, site: Path) -> None:
    (site / "torch-2.13.0.dist-info").rename(site / "torch-2.9.1+cu130.dist-info")
    (site / "fairseq_fixed-0.12.3.1.dist-info").rename(site / "fairseq_fixed-0.12.2.dist-info")
    assert bootstrap()[0] == FAIRSEQ[0]
