"""Averages of hand-made checkpoints, and which checkpoints are taken."""

import weakref
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnb_fairseq.checkpoints import averaging
from bnb_fairseq.checkpoints.tensors import tensor_digest

from .checkpoints_to_average import DICTIONARIES, Average, configured, save, save_all, tensor


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
        "extremes": tensor(-0.0, 0.0, 1e-45, -1e-45, 3.4e38, -3.4e38),
        "half": tensor(-0.0, 6e-8, 65504.0, 0.1, dtype=torch.float16),
        "brain": tensor(-0.0, 1e-40, 3e38, 0.1, dtype=torch.bfloat16),
        "double": tensor(-0.0, 5e-324, 0.1, dtype=torch.float64),
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
        "task_state": {"dictionaries": DICTIONARIES, "tensors": tensor_digest({"w": tensor(30.625)})},
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


def test_one_checkpoint_at_a_time(average: Average, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = save_all(tmp_path, [{"w": torch.full((50,), float(i)), "last": tensor(0.0)} for i in range(9)])
    load, alive = averaging._load, list[int]()
    loaded: list[weakref.ref[Tensor]] = []

    def watched(path: Path) -> dict[str, Any]:
        alive.append(sum(reference() is not None for reference in loaded))
        state = load(path)
        loaded.append(weakref.ref(state["model"]["w"]))
        return dict(state)

    monkeypatch.setattr(averaging, "_load", watched)
    assert average("--checkpoints", *paths, tmp_path / "out.pt")["model"]["w"].unique().tolist() == [4.0]
    assert len(alive) == 9 + 1 + 9  # to choose, to compare with and to add
    assert max(alive) == 1, "besides the first, whose other entries are kept, the earlier ones must be gone"


def test_a_file_of_an_old_torch(average: Average, tmp_path: Path) -> None:
    state = torch.load(save(tmp_path / "new.pt", {"w": tensor(1.0)}))
    torch.save({**state, "model": {"w": tensor(4.0)}}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    found = average("--checkpoints", tmp_path / "old.pt", tmp_path / "new.pt", tmp_path / "out.pt")
    assert found["model"] == {"w": tensor(2.5)}


def test_dropout_may_differ(average: Average, tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / f"{i}.pt", {"w": tensor(float(i))}, i, cfg=configured(layers=2, dropout=i, latent_dropout=i))
    assert average("--checkpoints", tmp_path / "0.pt", tmp_path / "1.pt", tmp_path / "out.pt")["model"]["w"] == 0.5
