"""What figures depend on is named."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from bnb_fairseq.evaluation import machine


def test_hardware_and_versions() -> None:
    found = machine.describe_machine("cpu", ("torch", "fairseq", "no_such_package"))
    assert list(found) == ["commit", "CPU", "threads", "Python", "torch", "fairseq"]
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__
    assert re.fullmatch(r".+ \(\w+\)", str(found["CPU"]))


def test_changes_that_are_not_committed_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert machine.describe_machine("cpu", ())["commit"] == "unknown"
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert re.fullmatch(r"[0-9a-f]{7,}", str(machine.describe_machine("cpu", ())["commit"]))
    (tmp_path / "file").write_text("2")
    assert str(machine.describe_machine("cpu", ())["commit"]).endswith("-dirty")


def test_a_repository_around_an_installed_package_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], [*identity, "commit", "--allow-empty", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr(machine, "ROOT", tmp_path / "site-packages")
    assert machine.describe_machine("cpu", ())["commit"] == "unknown"


def test_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert machine.describe_machine("cuda", ())["GPU"] == "a GPU"
    assert "GPU" not in machine.describe_machine("cpu", ())


def test_no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.describe_machine("cpu", ())["commit"] == "unknown"
