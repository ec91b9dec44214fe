"""What figures depend on is named."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def machine(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("machine")


def test_hardware_and_versions(machine: ModuleType) -> None:
    found = machine.describe_machine("cpu", ("torch", "fairseq", "no_such_package"))
    assert list(found) == ["commit", "CPU", "threads", "Python", "torch", "fairseq"]
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__
    assert re.fullmatch(r".+ \(\w+\)", found["CPU"])


def test_changes_that_are_not_committed_show(
    machine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert machine.describe_machine("cpu", ())["commit"] == "unknown"
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert re.fullmatch(r"[0-9a-f]{7,}", machine.describe_machine("cpu", ())["commit"])
    (tmp_path / "file").write_text("2")
    assert machine.describe_machine("cpu", ())["commit"].endswith("-dirty")


def test_gpu(machine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert machine.describe_machine("cuda", ())["GPU"] == "a GPU"
    assert "GPU" not in machine.describe_machine("cpu", ())


def test_no_git(machine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.describe_machine("cpu", ())["commit"] == "unknown"
