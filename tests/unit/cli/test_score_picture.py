"""The picture that a comparison draws, and what is refused before anything runs."""

import importlib
import sys
from pathlib import Path

import pytest
from matplotlib import image

from ...facts import says
from .conftest import Main, Refused, calls


def test_whole_command(main: Main, folder: Path) -> None:
    shown = main("good=good.pt --speeds none", "bad=bad.pt", "--bootstrap", "10", "--picture", "out/new.png")
    assert image.imread(folder / "out" / "new.png").shape[:2] == (720, 1080)
    assert shown.endswith("--picture lacks good: fairseq-generate printed no speed\n")
    assert "lacks" not in main("bad=bad.pt", "--bootstrap", "10", "--picture", "there.svg")
    assert b"<svg" in (folder / "there.svg").read_bytes()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("x.txt", "--picture ... end in .png, .pdf, .svg ... x.txt"),
        ("no/x.png", "--picture ... a folder that exists ... no is none"),
        ("folder.png", "--picture ... a file ... folder.png is a folder"),
    ],
)
def test_refused_before_anything_runs(picture: str, message: str, main: Main, refused: Refused, folder: Path) -> None:
    (folder / "folder.png").mkdir()
    assert says(refused(main, "good=good.pt", "--picture", picture), message)
    assert calls(folder) == []


def test_without_matplotlib(main: Main, refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a picture needs it."""
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "bnb_fairseq.evaluation.comparison_picture", raising=False)
    message = "--picture needs matplotlib ... it is not installed; pip install matplotlib"
    assert says(refused(main, "good=good.pt", "--picture", "x.png"), message)
    assert calls(folder) == []
    assert main("good=good.pt", "--bootstrap", "10").startswith("| system |")
    with pytest.raises(ImportError):
        importlib.import_module("bnb_fairseq.evaluation.comparison_picture")
