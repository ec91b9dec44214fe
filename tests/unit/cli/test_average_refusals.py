"""What is not averaged: one line says why, and no file is lost."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bnb_fairseq.cli import average as command

from .checkpoints_to_average import DICTIONARIES, Average, Tensors, configured, save, save_all, tensor


def test_too_few_or_metrics_that_differ(average: Average, tmp_path: Path) -> None:
    def refused(message: str, *arguments: object) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            average(*arguments, tmp_path, tmp_path / "out.pt")

    needs = f"needs 2 different checkpoints, but {tmp_path} holds"
    refused(f"--best 2 {needs} none that fairseq-train wrote", "--best", 2)
    save(tmp_path / "checkpoint1.pt", {"w": tensor(1.0)}, 1000, 1.5)
    save(tmp_path / "checkpoint_last.pt", {"w": tensor(1.0)}, 1000, 1.5)
    one = "1: checkpoint1.pt (1,000 updates, bleu 1.5); --best 1 takes all"
    refused(f"--best 2 {needs} {one}", "--best", 2)
    save(tmp_path / "checkpoint2.pt", {"w": tensor(2.0)}, 2000)
    unscored = f"{tmp_path}/checkpoint2.pt was saved without a metric and is left out"
    refused(f"--best 2 {needs} {one}; {unscored}", "--best", 2)
    assert average("--last", 2, tmp_path, tmp_path / "out.pt")["model"]["w"].tolist() == [1.5]
    save(tmp_path / "checkpoint3.pt", {"w": tensor(2.0)}, 3000, 1.25, cfg=configured("bleu", maximize=False))
    both = "2: checkpoint3.pt (3,000 updates, bleu 1.25), checkpoint1.pt (1,000 updates, bleu 1.5)"
    refused(f"--best needs one metric, but {tmp_path} holds {both}; choose by --checkpoints", "--best", 1)
    for number in (0, -1):
        refused(f"--last must be at least 1, but is {number}", "--last", number)


def test_all_that_does_not_fit_is_in_one_error(average: Average, tmp_path: Path) -> None:
    model = {"w": torch.zeros(2, 3), "b": torch.zeros(3), "n": torch.tensor(1.0), "same": tensor(1.0)}
    first = save(tmp_path / "0.pt", model, 9, cfg=configured(layers=2, heads=4, width=8))
    other = {"w": torch.zeros(3, 2), "b": torch.zeros(3).half(), "c": torch.zeros(1), "same": tensor(2.0)}
    digests = {"dictionaries": {**DICTIONARIES, "target": {"size": 91, "sha256": "abcdefghijklmnop"}}}
    cfg = configured(layers=3, width=8, gate=True)
    second = save(tmp_path / "1.pt", other, 8, cfg=cfg, task_state=digests, criterion={"m": tensor(1.0)})
    third = save(tmp_path / "2.pt", {**model, "n": torch.zeros(1)}, 7, cfg=configured(layers=2, heads=4, width=8))
    wrong = [
        "option layers is 3, not 2",
        "option heads is missing, not 4",
        "target dictionary is 91 abcdefghijkl, not 90 targettarget",
        "model.w is 3 x 2 float32, not 2 x 3 float32",
        "model.b is 3 float16, not 3 float32",
        "model.n is missing, not scalar float32",
        "option gate is True, not missing",
        "model.c is 1 float32, not missing",
        "criterion.m is 1 float32, not missing",
    ]
    problems = [*(f"{second}: {line}" for line in wrong), f"{third}: model.n is 1 float32, not scalar float32"]
    message = f"all checkpoints must fit {first}, but {'; '.join(problems)}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        average("--checkpoints", third, second, first, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_an_architecture_without_a_dataclass(average: Average, tmp_path: Path) -> None:
    """Such a one has the whole command line for its options."""

    def cfg(updates: int, heads: int, name: str = "transformer") -> dict[str, Any]:
        model = argparse.Namespace(_name=name, heads=heads, max_update=updates, optimizer="adam", adam_eps=updates)
        sections = {"optimization": {"max_update": updates}, "optimizer": {"_name": "adam", "adam_eps": updates}}
        return {**configured(), **sections, "model": model}

    paths = [save(tmp_path / f"{i}.pt", {"w": tensor(float(i))}, i, cfg=cfg(i, 4)) for i in range(3)]
    state = average("--checkpoints", *paths, tmp_path / "out.pt")
    assert (state["model"]["w"].tolist(), state["cfg"]["model"].max_update) == ([1.0], 2)
    save(paths[0], {"w": tensor(0.0)}, 0, cfg=cfg(0, 8, "transformer_tiny"))
    with pytest.raises(
        ValueError, match=r"0\.pt: option _name is transformer_tiny, not transformer; \S+: option heads is 8, not 4$"
    ):
        average("--checkpoints", *paths, tmp_path / "out.pt")


def test_values_without_an_average(average: Average, tmp_path: Path) -> None:
    criterions: list[Tensors] = [
        {"n": tensor(1, 2, dtype=torch.int64), "flag": torch.tensor(True), "m": tensor(1.0)},
        {"n": tensor(1, 3, dtype=torch.int64), "flag": torch.tensor(True), "m": tensor(float("nan"))},
        {"n": tensor(1, 2, dtype=torch.int64), "flag": torch.tensor(False), "m": tensor(3.0)},
    ]
    paths = [
        save(tmp_path / f"{i}.pt", {"w": tensor(float(i))}, i, criterion=each) for i, each in enumerate(criterions)
    ]
    problems = [
        f"{paths[1]}: criterion.n has other integers",
        f"{paths[1]}: criterion.flag has other integers",
        f"{paths[1]}: criterion.m holds NaN",
        f"{paths[0]}: criterion.flag has other integers",
    ]
    message = f"all checkpoints must fit {paths[2]}, but {'; '.join(problems)}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        average("--checkpoints", *paths, tmp_path / "out.pt")
    criterions[2]["flag"] = torch.tensor(True)
    third = save(paths[2], {"w": tensor(2.0)}, 2, criterion=criterions[2])
    state = average("--checkpoints", paths[0], third, tmp_path / "out.pt")
    found = {name: value.tolist() for name, value in state["criterion"].items()}
    assert found == {"n": [1, 2], "flag": True, "m": [2.0]}


def test_what_may_be_overwritten(average: Average, tmp_path: Path) -> None:
    paths = save_all(tmp_path, [{"w": tensor(1.0)}, {"w": tensor(2.0)}])
    out = tmp_path / "out.pt"

    def refused(path: Path, *sources: Path) -> None:
        before = path.read_bytes() if path.is_file() else b""
        message = f"{path} must be a new file or an earlier average, but is another file"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            average("--checkpoints", *sources, path)
        assert path.is_dir() or path.read_bytes() == before

    refused(paths[1], paths[0])
    refused(paths[1], *paths)
    refused(tmp_path, *paths)
    (tmp_path / "text").write_text("text")
    refused(tmp_path / "text", *paths)
    assert average("--checkpoints", *paths, out)["model"]["w"].tolist() == [1.5]
    assert average("--checkpoints", paths[0], out)["model"]["w"].tolist() == [1.0]
    assert average("--checkpoints", *paths, out)["model"]["w"].tolist() == [1.5]
    refused(out, *paths, out)
    for name in ("checkpoint_last.pt", "checkpoint_0_1.pt", "checkpoint1.pt"):  # an average is none of the training's
        out.rename(tmp_path / name) if name == "checkpoint_0_1.pt" else save(tmp_path / name, {"w": tensor(3.0)}, 3)
    with pytest.raises(
        ValueError, match=r"holds 1: checkpoint1\.pt .* takes all; \S+/checkpoint_0_1\.pt is an average"
    ):
        average("--last", 2, tmp_path, out)


def test_complete_or_not_there(average: Average, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, out = save_all(tmp_path, [{"w": tensor(1.0)}, {"w": tensor(2.0)}]), tmp_path / "new" / "out.pt"
    average("--checkpoints", paths[0], out)

    def fill_disk(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", fill_disk)
    for path in (out, tmp_path / "new" / "other.pt"):
        with pytest.raises(OSError, match=f"^{path.parent} cannot be written: "):
            average("--checkpoints", *paths, path)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.pt"]
    assert torch.load(out)["model"] == {"w": tensor(1.0)}


def test_files_that_are_no_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = save(tmp_path / "whole.pt", {"w": torch.zeros(1000)}).read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pt").write_text("text")
    torch.save([1, 2], tmp_path / "list.pt")
    save(tmp_path / "other.pt", {}, cfg=None, extra_state=None)
    save(tmp_path / "names.pt", {"w": tensor(1.0), "x": "text", "y": 3})
    save(tmp_path / "code.pt", {}, seed=Path("x"))
    lacks = "must be a checkpoint of fairseq, but lacks its entries"
    expected = {
        "none.pt": "must be a checkpoint of fairseq, but there is no such file",
        "half.pt": "must be a checkpoint of fairseq, but cannot be read (",
        "text.pt": "must be a checkpoint of fairseq, but cannot be read (",
        "list.pt": "must be a checkpoint of fairseq, but holds a list",
        "other.pt": f"{lacks} (cfg, extra_state)",
        "names.pt": "must be a checkpoint that can be trusted, but holds no tensor as x; holds no tensor as y",
        "code.pt": "must be a checkpoint of fairseq, but names pathlib",
    }
    for name, message in expected.items():
        line = ["x", "--checkpoints", tmp_path / "whole.pt", tmp_path / name, tmp_path / "out.pt"]
        monkeypatch.setattr(sys, "argv", [str(word) for word in line])
        with pytest.raises(SystemExit) as end:
            command.main()
        assert str(end.value.code).startswith(f"bnb-average: {tmp_path / name}: {message}")
        assert "\n" not in str(end.value.code)
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("words", [("--best", "1", "x"), ("--last", "1", "a", "b", "x"), ("--checkpoints", "x")])
def test_paths_that_are_missing(words: tuple[str, ...], average: Average) -> None:
    with pytest.raises(ValueError, match=r"^the paths must be SAVE_DIR and OUT\.pt, or after --checkpoints the files"):
        average(*words)


def test_no_folder(average: Average, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{tmp_path}/x: must be the --save-dir of a training, but is no folder$"):
        average("--best", 1, tmp_path / "x", tmp_path / "out.pt")
