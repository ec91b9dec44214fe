"""Averages of hand-made checkpoints, and which checkpoints are taken."""

import argparse
import re
import sys
import weakref
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

Tensors = dict[str, Tensor]
DICTIONARIES = {side: {"size": 90, "sha256": side * 9} for side in ("source", "target")}


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("average_checkpoints")


@pytest.fixture
def average(script: ModuleType) -> Callable[..., dict[str, Any]]:
    """Run the script; what it wrote."""

    def run(*arguments: object) -> dict[str, Any]:
        script.run(script.parse_arguments([str(argument) for argument in arguments]))
        return dict(torch.load(str(arguments[-1])))

    return run


Average = Callable[..., dict[str, Any]]


def save(path: Path, model: dict[str, Any], updates: int = 1, score: float | None = None, **changes: object) -> Path:
    """Write a checkpoint with fairseq's entries; ``changes`` replace or add entries, ``None`` takes one away."""
    state = {
        "args": None,
        "cfg": {"checkpoint": {"best_checkpoint_metric": "bleu", "maximize_best_checkpoint_metric": True}, "model": {}},
        "model": model,
        "criterion": None,
        "optimizer_history": [{"num_updates": updates, "optimizer_name": "FairseqAdam"}],
        "task_state": {"dictionaries": DICTIONARIES},
        "extra_state": {"train_iterator": {"epoch": 1}, "val_loss": score, "best": 99.0, "ema": model},
        "last_optimizer_state": {"state": torch.zeros(3)},
        **changes,
    }
    torch.save({name: value for name, value in state.items() if value is not None or name not in changes}, path)
    return path


def configured(metric: str = "bleu", maximize: bool = True, **model: object) -> dict[str, Any]:
    checkpoint = {"best_checkpoint_metric": metric, "maximize_best_checkpoint_metric": maximize}
    return {"checkpoint": checkpoint, "model": {"_name": "bnb_transformer", **model}}


def tensor(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def save_all(folder: Path, models: Sequence[Tensors]) -> list[Path]:
    return [save(folder / f"{i}.pt", model, updates=i) for i, model in enumerate(models)]


def bits(value: Tensor) -> list[int]:
    return list(value.contiguous().reshape(-1).view(torch.uint8).tolist())


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (torch.float32, [(1.0, -4.0), (2.0, 0.0), (6.0, 1.0)], (3.0, -1.0)),
        (torch.float32, [(2.0**24,), (1.0,), (1.0,)], (5592406.0,)),  # in float32 the ones would be lost
        (torch.float16, [(2048.0,), (1.0,), (1.0,)], (683.5,)),
        (torch.float16, [(65504.0,), (65504.0,), (65504.0,)], (65504.0,)),  # in float16 the sum would be infinite
        (torch.bfloat16, [(256.0,), (1.0,), (1.0,)], (86.0,)),
        (torch.float64, [(1.0,), (1.0 + 2.0**-51,)], (1.0 + 2.0**-52,)),
        (torch.float32, [(float("inf"), 1.0), (float("inf"), 2.0)], (float("inf"), 1.5)),
    ],
)
def test_mean_by_hand(
    dtype: torch.dtype,
    values: list[tuple[float, ...]],
    expected: tuple[float, ...],
    average: Average,
    tmp_path: Path,
) -> None:
    paths = save_all(tmp_path, [{"w": tensor(*each, dtype=dtype)} for each in values])
    mean = average("--checkpoints", *paths, tmp_path / "out.pt")["model"]["w"]
    assert mean.dtype == dtype
    assert mean.tolist() == list(expected)


def test_mean_of_random_numbers_is_the_nearest_to_the_true_one(average: Average, tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(1)
    models = [{"w": torch.randn(40, generator=random), "b": torch.randn(2, 3, generator=random)} for _ in range(5)]
    mean = average("--checkpoints", *save_all(tmp_path, models), tmp_path / "out.pt")["model"]
    for name, found in mean.items():
        columns = zip(*(model[name].flatten().tolist() for model in models), strict=True)
        true = [float(sum(map(Fraction, column)) / 5) for column in columns]
        assert found.shape == models[0][name].shape
        assert found.flatten().tolist() == torch.tensor(true, dtype=torch.float64).float().tolist()


def test_average_of_one_is_itself_bit_by_bit(average: Average, tmp_path: Path) -> None:
    model = {
        "w": torch.randn(7, 3, generator=torch.Generator().manual_seed(1)).t(),
        "extremes": tensor(-0.0, 0.0, 1e-45, -1e-45, 3.4e38, float("inf"), float("-inf")),
        "half": tensor(-0.0, 6e-8, 65504.0, 0.1, dtype=torch.float16),
        "brain": tensor(-0.0, 1e-40, 3e38, 0.1, dtype=torch.bfloat16),
        "double": tensor(-0.0, 5e-324, 0.1, dtype=torch.float64),
        "whole": tensor(3, -1, dtype=torch.int64),
        "flag": torch.tensor(True),
        "nothing": torch.zeros(0, 3),
        "scalar": torch.tensor(0.1),
    }
    path = save(tmp_path / "a.pt", model)
    found = average("--checkpoints", path, tmp_path / "out.pt")["model"]
    assert list(found) == list(model)
    for name, value in model.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert bits(found[name]) == bits(value), name


def test_order_does_not_matter(average: Average, tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(1)
    models = [{"w": torch.randn(50, generator=random) * 10.0**k} for k in (-12, 0, 12)]  # their sum is rounded
    scores = (3.0, 5.0, 4.0)
    paths = [save(tmp_path / f"{i}.pt", m, updates=7, score=scores[i], seed=i) for i, m in enumerate(models)]
    states = [average("--checkpoints", *order, tmp_path / "out.pt") for order in permutations(paths)]
    assert {tuple(bits(state["model"]["w"])) for state in states} == {tuple(bits(states[0]["model"]["w"]))}
    assert {state["seed"] for state in states} == {1}


def test_what_else_is_kept_is_that_of_the_best(average: Average, tmp_path: Path) -> None:
    for i, score in enumerate((20.5, 31.25, 30.0)):
        extra: dict[str, Any] = {
            "extra_state": {"val_loss": score, "best": 31.25, "train_iterator": {"epoch": i}, "ema": {}}
        }
        criterion: dict[str, Any] = {"criterion": {"margin": tensor(float(i))}}
        save(tmp_path / f"checkpoint{i}.pt", {"w": tensor(score)}, i, **extra, **criterion, seed={"of": i})
    state = average("--best", 2, tmp_path, tmp_path / "new" / "out.pt")
    assert state.pop("model") == {"w": tensor(30.625)}
    assert state.pop("criterion") == {"margin": tensor(1.5)}
    sources = [
        {"file": f"{tmp_path}/checkpoint{i}.pt", "num_updates": i, "val_loss": s} for i, s in ((1, 31.25), (2, 30.0))
    ]
    assert state == {
        "args": None,
        "cfg": {"checkpoint": {"best_checkpoint_metric": "bleu", "maximize_best_checkpoint_metric": True}, "model": {}},
        "optimizer_history": [{"num_updates": 1, "optimizer_name": "FairseqAdam"}],
        "task_state": {"dictionaries": DICTIONARIES},
        "extra_state": {"val_loss": None, "best": 31.25, "train_iterator": {"epoch": 1}},
        "seed": {"of": 1},
        "average_of": sources,
    }


def test_tied_parameters_stay_one(average: Average, tmp_path: Path) -> None:
    models = [{"in": w, "out": w, "row": w[0], "equal": w.clone()} for w in (torch.ones(200, 9), torch.zeros(200, 9))]
    found = average("--checkpoints", *save_all(tmp_path, models), tmp_path / "out.pt")["model"]
    assert all(value.unique().tolist() == [0.5] for value in found.values())
    assert found["in"].data_ptr() == found["out"].data_ptr() != found["equal"].data_ptr()
    w = torch.ones(200, 9)
    save(tmp_path / "1.pt", {"in": w, "out": w + 2, "row": w[0], "equal": w}, updates=1)  # once they were not tied
    found = average("--checkpoints", tmp_path / "0.pt", tmp_path / "1.pt", tmp_path / "out.pt")["model"]
    assert [found[name].unique().tolist() for name in ("in", "out", "row", "equal")] == [[1.0], [2.0], [1.0], [1.0]]


@pytest.mark.parametrize(
    ("maximize", "scores", "best"),
    [
        (True, [1.0, 7.0, 3.0, None, 9.0, float("nan")], [4, 1]),
        (False, [1.0, 7.0, 3.0, None, 9.0, float("nan")], [0, 2]),
        (True, [5.0, 5.0, 5.0, None, None, None], [2, 1]),  # among equals the newest
        (False, [-1.0, -7.0, 100.0, None, 20.0, 0.0], [1, 0]),
    ],
)
def test_best(maximize: bool, scores: list[float | None], best: list[int], average: Average, tmp_path: Path) -> None:
    for i, score in enumerate(scores):
        save(tmp_path / f"checkpoint_1_{i}.pt", {"w": tensor(2.0**i)}, i, score, cfg=configured("loss", maximize))
    state = average("--best", 2, tmp_path, tmp_path / "out.pt")
    assert [source["num_updates"] for source in state["average_of"]] == best
    assert state["model"]["w"].tolist() == [sum(2.0**i for i in best) / 2]


def test_last_and_what_is_no_checkpoint_of_the_training(average: Average, tmp_path: Path) -> None:
    names = ["checkpoint3.pt", "checkpoint_2_80.pt", "checkpoint.best_nll_loss_-1.2340.pt", "checkpoint_last.pt"]
    for updates, name in enumerate(names):
        save(tmp_path / name, {"w": tensor(2.0**updates)}, updates, score=-float(updates))
    for name in ("checkpoint_average.pt", "other.pt", "checkpoint9.pt.tmp", "checkpoint_best-shard0.pt"):
        (tmp_path / name).write_text("this must not be read")
    state = average("--last", 3, tmp_path, tmp_path / "out.pt")
    assert [Path(source["file"]).name for source in state["average_of"]] == names[1:]
    assert state["model"]["w"].tolist() == tensor(14 / 3).tolist()


def test_copies_count_once(average: Average, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for updates in (1, 2):
        for name in (f"checkpoint_1_{updates}.pt", f"checkpoint.best_bleu_{updates}.0001.pt", "checkpoint_last.pt"):
            save(tmp_path / name, {"w": tensor(float(updates))}, updates, float(updates))
    save(tmp_path / "checkpoint_best.pt", {"w": tensor(2.0)}, 2, 2.0, last_optimizer_state=None)
    save(tmp_path / "checkpoint_9_2.pt", {"w": tensor(9.0)}, 2, 1.5)  # of another training that was as long
    assert average("--best", 3, tmp_path, tmp_path / "out.pt")["model"]["w"].tolist() == [4.0]
    width = len(f"{tmp_path}/checkpoint.best_bleu_2.0001.pt")
    best, last = f"{tmp_path}/checkpoint.best_bleu_2.0001.pt", f"{tmp_path}/checkpoint.best_bleu_1.0001.pt"
    assert capsys.readouterr().out.splitlines() == [
        f"{'checkpoint':{width}}  updates  metric (higher is better)  copies",
        f"{best}        2  bleu 2                     checkpoint_1_2.pt, checkpoint_best.pt, checkpoint_last.pt",
        f"{tmp_path / 'checkpoint_9_2.pt'!s:{width}}        2  bleu 1.5                   -",
        f"{last}        1  bleu 1                     checkpoint_1_1.pt",
        f"{tmp_path}/out.pt: the mean of 3; all but the parameters is that of {best}",
    ]
    names = ["checkpoint_last.pt", "checkpoint_9_2.pt", "checkpoint_last.pt", "checkpoint_1_2.pt"]
    state = average("--checkpoints", *(tmp_path / name for name in names), tmp_path / "out.pt")
    assert state["model"]["w"].tolist() == [5.5]


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
    model = {"w": torch.zeros(2, 3), "b": torch.zeros(3), "n": torch.tensor(1), "same": tensor(1.0)}
    first = save(tmp_path / "0.pt", model, 9, cfg=configured(layers=2, heads=4, width=8))
    other = {"w": torch.zeros(3, 2), "b": torch.zeros(3).half(), "c": torch.zeros(1), "same": tensor(2.0)}
    digests = {"dictionaries": {**DICTIONARIES, "target": {"size": 91, "sha256": "abcdefghijklmnop"}}}
    cfg = configured(layers=3, width=8, gate=True)
    second = save(tmp_path / "1.pt", other, 8, cfg=cfg, task_state=digests, criterion={"m": tensor(1.0)})
    third = save(tmp_path / "2.pt", {**model, "n": torch.zeros(1)}, 7, cfg=configured(layers=2, heads=4, width=8))
    wrong = [
        "option layers is 3, not 2",
        "target dictionary is 91 abcdefghijkl, not 90 targettarget",
        "model.w is 3 x 2 float32, not 2 x 3 float32",
        "model.b is 3 float16, not 3 float32",
        "lacks option heads",
        "lacks model.n",
        "has option gate besides",
        "has model.c besides",
        "has criterion.m besides",
    ]
    problems = [*(f"{second}: {line}" for line in wrong), f"{third}: model.n is 1 float32, not scalar int64"]
    message = f"all checkpoints must have the model of {first}, but {'; '.join(problems)}"
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
    save(paths[0], {"w": tensor(0.0)}, 0, cfg=cfg(0, 8, "other"))
    with pytest.raises(
        ValueError, match=r"0\.pt: option _name is other, not transformer; \S+: option heads is 8, not 4$"
    ):
        average("--checkpoints", *paths, tmp_path / "out.pt")


def test_values_without_an_average(average: Average, tmp_path: Path) -> None:
    models: list[Tensors] = [
        {"n": tensor(1, 2, dtype=torch.int64), "flag": torch.tensor(True), "w": tensor(1.0)},
        {"n": tensor(1, 3, dtype=torch.int64), "flag": torch.tensor(True), "w": tensor(float("nan"))},
        {"n": tensor(1, 2, dtype=torch.int64), "flag": torch.tensor(False), "w": tensor(3.0)},
    ]
    paths = save_all(tmp_path, models)
    problems = [
        f"{paths[1]}: model.n has other whole numbers than in {paths[2]}",
        f"{paths[1]}: model.flag has other whole numbers than in {paths[2]}",
        f"{paths[1]}: model.w holds values that are not numbers",
        f"{paths[0]}: model.flag has other whole numbers than in {paths[2]}",
    ]
    with pytest.raises(ValueError, match=f"^{re.escape('there is no average: ' + '; '.join(problems))}$"):
        average("--checkpoints", *paths, tmp_path / "out.pt")
    models[2]["flag"] = torch.tensor(True)
    state = average("--checkpoints", paths[0], save(paths[2], models[2], 2), tmp_path / "out.pt")
    assert {name: value.tolist() for name, value in state["model"].items()} == {"n": [1, 2], "flag": True, "w": [2.0]}


def test_one_checkpoint_at_a_time(
    script: ModuleType, average: Average, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = save_all(tmp_path, [{"w": torch.full((50,), float(i)), "last": tensor(0.0)} for i in range(9)])
    load, alive = script.load, list[int]()
    loaded: list[weakref.ref[Tensor]] = []

    def watched(path: Path) -> dict[str, Any]:
        alive.append(sum(reference() is not None for reference in loaded))
        state = load(path)
        loaded.append(weakref.ref(state["model"]["w"]))
        return dict(state)

    monkeypatch.setattr(script, "load", watched)
    assert average("--checkpoints", *paths, tmp_path / "out.pt")["model"]["w"].unique().tolist() == [4.0]
    assert len(alive) == 9 + 9 + 9  # to choose, to compare and to add
    assert max(alive) == 1, "besides the first, whose other entries are kept, the earlier ones must be gone"


def test_what_may_be_overwritten(average: Average, tmp_path: Path) -> None:
    paths = save_all(tmp_path, [{"w": tensor(1.0)}, {"w": tensor(2.0)}])
    out = tmp_path / "out.pt"

    def refused(path: Path, *sources: Path) -> None:
        before = path.read_bytes() if path.is_file() else b""
        message = f"{path} must be a new file or an earlier average, but is another that would be lost"
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
        with pytest.raises(OSError, match=f"^{path}: cannot be written"):
            average("--checkpoints", *paths, path)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.pt"]
    assert torch.load(out)["model"] == {"w": tensor(1.0)}


def test_files_that_are_no_checkpoints(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        "list.pt": f"{lacks} (cfg, model, optimizer_history, extra_state)",
        "other.pt": f"{lacks} (cfg, extra_state)",
        "names.pt": "must be a checkpoint of fairseq, but holds no tensor as model.x, model.y",
        "code.pt": "must be a checkpoint of fairseq, but names pathlib",
    }
    for name, message in expected.items():
        line = ["x", "--checkpoints", tmp_path / "whole.pt", tmp_path / name, tmp_path / "out.pt"]
        monkeypatch.setattr(sys, "argv", [str(word) for word in line])
        with pytest.raises(SystemExit) as end:
            script.main()
        assert str(end.value.code).startswith(f"average_checkpoints: {tmp_path / name}: {message}")
        assert "\n" not in str(end.value.code)
    assert not (tmp_path / "out.pt").exists()


def test_a_file_of_an_old_torch(average: Average, tmp_path: Path) -> None:
    state = torch.load(save(tmp_path / "new.pt", {"w": tensor(1.0)}))
    torch.save({**state, "model": {"w": tensor(4.0)}}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    found = average("--checkpoints", tmp_path / "old.pt", tmp_path / "new.pt", tmp_path / "out.pt")
    assert found["model"] == {"w": tensor(2.5)}


@pytest.mark.parametrize("words", [("--best", "1", "x"), ("--last", "1", "a", "b", "x"), ("--checkpoints", "x")])
def test_paths_that_are_missing(words: tuple[str, ...], average: Average) -> None:
    with pytest.raises(ValueError, match=r"^the paths must be SAVE_DIR and OUT\.pt, or after --checkpoints the files"):
        average(*words)


def test_no_folder(average: Average, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{tmp_path}/x: must be the --save-dir of a training, but is no folder$"):
        average("--best", 1, tmp_path / "x", tmp_path / "out.pt")
