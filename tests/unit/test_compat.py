"""What torch's safe loader takes with the plugin imported, and how fairseq finds the package."""

import sys
from argparse import Namespace
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fairseq
import numpy as np
import pytest
import torch
from fairseq.distributed.utils import _TensorPlaceholder
from fairseq.logging import progress_bar
from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf
from omegaconf.base import ContainerMetadata, Metadata

from bnb_fairseq import compat, torch_compat

ROOT = Path(__file__).resolve().parents[2]
NUMERIC = ["bool", "int32", "int64", "uint8", "float16", "float32", "float64"]


class Writer:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


class Harmless:
    """A class that is not on the list, though it does nothing."""


def checkpoint(**more: object) -> dict[str, object]:
    return {"args": Namespace(arch="bnb_transformer", lr=[1e-4]), "model": OrderedDict(w=torch.ones(2)), **more}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_a_checkpoint_with_a_namespace_loads(tmp_path: Path) -> None:
    loaded = torch.load(saved(tmp_path / "a.pt", checkpoint()), weights_only=True)
    assert loaded["args"] == Namespace(arch="bnb_transformer", lr=[1e-4])
    assert loaded["model"]["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", NUMERIC)
def test_numpy_scalars_and_arrays_load(name: str, tmp_path: Path) -> None:
    """What validation BLEU puts into the saved meters."""
    array = np.asarray([[1, 0, 1]], dtype=name)
    meters = {"scalar": array[0, 0], "array": array, "fortran": np.asfortranarray(array.repeat(2, axis=0))}
    loaded = torch.load(saved(tmp_path / "a.pt", checkpoint(meters=meters)), weights_only=True)["meters"]
    assert loaded.keys() == meters.keys()
    for key, value in meters.items():
        assert type(loaded[key]) is type(value)
        assert loaded[key].dtype == array.dtype
        assert np.array_equal(loaded[key], value)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_both_names_of_numpys_rebuilders_load(module: bytes, tmp_path: Path) -> None:
    """A checkpoint written under numpy 1 opens under numpy 2, and the other way round."""
    path = tmp_path / "a.pt"
    content = {"scalar": np.float64(1.5), "array": np.arange(3)}
    torch.save(content, path, _use_new_zipfile_serialization=False)  # plain pickles: names can be replaced
    written = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert written.count(b"numpy.core.multiarray\n") == 2
    path.write_bytes(written.replace(b"numpy.core.multiarray", module))
    loaded = torch.load(path, weights_only=True)
    assert loaded["scalar"] == 1.5
    assert loaded["array"].tolist() == [0, 1, 2]


def test_a_class_that_runs_something_is_refused_before_it_runs(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    path = saved(tmp_path / "a.pt", checkpoint(extra=Writer(trap)))
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.read_text() == "ran"  # the trap works


@pytest.mark.parametrize(
    "value", [Harmless(), Path("x"), np.datetime64("2024-01-01"), np.asarray(["text"]), np.random.default_rng(1)]
)
def test_any_other_class_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(saved(tmp_path / "a.pt", checkpoint(extra=value)), weights_only=True)


def test_what_one_process_sends_to_the_others_loads(tmp_path: Path) -> None:
    cfg = OmegaConf.create({"task": {"_name": "x", "sizes": [1, None, 0.5], "data": "${common.data}"}, "common": {}})
    loaded = torch.load(saved(tmp_path / "a.pt", checkpoint(cfg=cfg)), weights_only=True)["cfg"]
    assert loaded == cfg
    assert loaded.task.sizes[2] == 0.5


def test_exactly_these_are_on_the_list() -> None:
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        compat.allow_fairseq_checkpoints()
        entries = torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    named = {entry[1] for entry in entries if isinstance(entry, tuple)}
    classes = {entry for entry in entries if isinstance(entry, type)}
    assert named == {f"numpy.{core}.multiarray.{f}" for core in ("core", "_core") for f in ("_reconstruct", "scalar")}
    configuration = {DictConfig, ListConfig, AnyNode, ContainerMetadata, Metadata, Any, defaultdict, dict, int, list}
    assert classes == {
        Namespace,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(name)) for name in NUMERIC),
        *configuration,
        _TensorPlaceholder,
    }
    functions = {entry.__name__ for entry in entries if not isinstance(entry, tuple | type)}
    assert functions == {"_reconstruct", "scalar"}


def test_logs_of_an_earlier_training_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    writers = {"valid": SimpleNamespace(close=lambda: done.append("tensorboard"))}
    monkeypatch.setattr(progress_bar, "_tensorboard_writers", writers)
    wandb = SimpleNamespace(run=object(), finish=lambda: done.append("wandb"))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    compat.end_earlier_logs()
    assert (done, writers) == (["tensorboard", "wandb"], {})
    wandb.run = None
    compat.end_earlier_logs()
    monkeypatch.delitem(sys.modules, "wandb")
    compat.end_earlier_logs()
    assert done == ["tensorboard", "wandb"]


def test_the_package_answers_to_the_path_that_fairseq_makes_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In site-packages, where fairseq looks for ``--user-dir bnb_fairseq``; a copy elsewhere is another package."""
    (tmp_path / "fairseq").mkdir()
    package = tmp_path / "bnb_fairseq"
    package.mkdir()
    monkeypatch.setattr(fairseq, "__file__", str(tmp_path / "fairseq" / "__init__.py"))
    path = [str(package)]
    compat.answer_to_short_name(path)
    compat.answer_to_short_name(path)
    assert path == [str(package), str(tmp_path / "fairseq" / ".." / "bnb_fairseq")]
    elsewhere = [str(ROOT / "bnb_fairseq")]
    compat.answer_to_short_name(elsewhere)
    assert elsewhere == [str(ROOT / "bnb_fairseq")]


def test_precisions_that_overlap_leave_the_process_its_own() -> None:
    """As of threads, which do not end in the order in which they begin."""
    before = torch.get_float32_matmul_precision()
    first, second = torch_compat.matmul_precision("medium"), torch_compat.matmul_precision("high")
    first.__enter__()
    assert torch.get_float32_matmul_precision() == "medium"
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.get_float32_matmul_precision() == "high"
    own = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    assert own == "ieee", "oneDNN rounds nothing by itself"
    second.__exit__(None, None, None)
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(KeyError), torch_compat.matmul_precision("medium"):
        raise KeyError
    assert torch.get_float32_matmul_precision() == before
