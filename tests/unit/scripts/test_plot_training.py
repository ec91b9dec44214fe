"""Curves from a training log."""

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
    assert training == [(50, 9.5, None), (100, 8.4, None)]
    assert validation == [(50, 8.25, 1.5), (100, 7.0, None)]


def test_command(
    plot: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_text(LOG)
    monkeypatch.setattr("sys.argv", ["plot", str(tmp_path / "log"), str(tmp_path / "curve.png")])
    plot.main()
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines()[2:] == ["| 50 | 8.25 | 1.5 |", "| 100 | 7.00 | - |"]
    (tmp_path / "log").write_text("nothing")
    with pytest.raises(SystemExit, match="holds no lines of training"):
        plot.main()
