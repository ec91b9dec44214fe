"""Curves from a training log."""

import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

LOG = """2026-01-01 | INFO | train_inner | epoch 001:     50 / 486 loss=9.1, nll_loss=9.5, num_updates=50, lr=0.1
2026-01-01 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 8 | nll_loss 8.25 | bleu 1.5 | num_updates 50
2026-01-01 | INFO | train_inner | epoch 001:    100 / 486 loss=8.1, nll_loss=8.5, num_updates=100, lr=0.1
2026-01-01 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 7 | nll_loss 7 | num_updates 100 | best_loss 7
2026-01-01 | INFO | train_inner | epoch 001:    100 / 486 loss=8.0, nll_loss=8.4, num_updates=100, lr=0.1
2026-01-01 | INFO | train | epoch 001 | loss 3 | nll_loss 3 | num_updates 3
"""


@pytest.fixture
def plot(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("plot_training")


def test_points(plot: ModuleType) -> None:
    training, validation = plot.read_curves(LOG.splitlines())
    assert training == [{"num_updates": 50, "nll_loss": 9.5}, {"num_updates": 100, "nll_loss": 8.4}]
    assert validation == [
        {"num_updates": 50, "nll_loss": 8.25, "bleu": 1.5},
        {"num_updates": 100, "nll_loss": 7},
    ]


def test_log_file_of_fairseq(plot: ModuleType) -> None:
    """``--log-file`` writes the messages without time, level and name."""
    bare = [line.rpartition(" | INFO | ")[2].partition(" | ")[2] for line in LOG.splitlines()]
    assert bare[0].startswith("epoch 001:     50 / 486 loss=9.1")
    assert plot.read_curves(bare) == plot.read_curves(LOG.splitlines())


LATENT = (
    "x | INFO | train_inner | epoch 001: 50 / 9 loss=9, nll_loss=8, kl_factor=0.25, kl_loss=3, kl_unit_0=2.9, "
    "kl_unit_1=0.1, num_updates=50, active_units=1\n"
    "x | INFO | train_inner | epoch 001: 99 / 9 loss=9, nll_loss=7, kl_factor=1, kl_loss=0.5, kl_unit_0=0.4, "
    "kl_unit_1=0.1, num_updates=99, active_units=0\n"
    "x | INFO | valid | epoch 001 | valid on 'valid' subset | loss 8 | nll_loss 8.25 | kl_factor 1 | kl_loss 0.625 | "
    "kl_unit_0 0.5 | kl_unit_1 0.125 | active_units 1 | num_updates 99\n"
)


def test_latent(plot: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, validation = plot.read_curves(LATENT.splitlines())
    first = {"kl_factor": 0.25, "kl_loss": 3.0, "kl_unit_0": 2.9, "kl_unit_1": 0.1, "active_units": 1.0}
    assert training[0] == {"num_updates": 50, "nll_loss": 8, **first}
    assert plot.table(validation).splitlines() == [
        "| updates | validation NLL (bits) | KL (bits) | active units | validation BLEU |",
        "|---|---|---|---|---|",
        "| 99 | 8.25 | 0.62 | 1 | - |",
    ]
    lines = []
    monkeypatch.setattr(plot, "_line", lambda _, points, name, *style, **more: lines.append((name, len(points))))
    plot.draw(training, validation, tmp_path / "latent.png")
    shown = ("nll_loss", "kl_loss", "kl_factor", "kl_unit_0", "kl_unit_1", "active_units")
    assert {name for name, _ in lines} == set(shown)
    assert all(count == 2 for name, count in lines if name != "nll_loss")
    monkeypatch.undo()
    plot.draw(training, validation, tmp_path / "latent.png")
    assert (tmp_path / "latent.png").read_bytes().startswith(b"\x89PNG")


def test_command(
    plot: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_text(LOG)
    monkeypatch.setattr("sys.argv", ["plot", str(tmp_path / "log"), str(tmp_path / "curve.png")])
    plot.main()
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines()[2:] == ["| 50 | 8.25 | 1.5 |", "| 100 | 7.00 | - |"]


@pytest.mark.parametrize("content", [b"nothing", b"\xff\xfe"])
def test_log_without_a_training(content: bytes, plot: ModuleType, tmp_path: Path) -> None:
    log, picture = tmp_path / "log", tmp_path / "curve.png"
    log.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        plot.run(Namespace(log=log, picture=picture))
    assert str(caught.value) == (
        f"LOG must have been written with --log-format simple, but {log} holds no lines of training or validation"
    )
    assert not picture.exists()


def test_files_that_cannot_be(plot: ModuleType, tmp_path: Path) -> None:
    def error(log: Path, picture: Path) -> str:
        with pytest.raises(ValueError) as caught:
            plot.run(Namespace(log=log, picture=picture))
        return str(caught.value)

    log, missing = tmp_path / "log", tmp_path / "missing"
    log.write_text(LOG)
    assert error(missing, tmp_path / "x.png") == f"LOG must be a file, but is {missing}"
    assert error(tmp_path, missing / "x.png") == (
        f"LOG must be a file, but is {tmp_path}; "
        f"PICTURE must be a file in a folder that exists, but is {missing / 'x.png'}"
    )
    assert error(log, tmp_path) == f"PICTURE must be a file in a folder that exists, but is {tmp_path}"
    message = error(log, tmp_path / "x.nonsense")
    assert re.fullmatch(r"PICTURE must end in one of \.\w+(, \.\w+)+, but is .*x\.nonsense", message)
    assert {".pdf", ".png", ".svg"} < set(re.findall(r"\.\w+", message))
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.parametrize(("name", "written"), [("x.SVG", "x.SVG"), ("x", "x.png")])
def test_endings_of_pictures(name: str, written: str, plot: ModuleType, tmp_path: Path) -> None:
    """A capital one counts, and without one it is matplotlib's own."""
    (tmp_path / "log").write_text(LOG)
    plot.run(Namespace(log=tmp_path / "log", picture=tmp_path / name))
    assert (tmp_path / written).is_file()
