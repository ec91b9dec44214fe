"""METEOR worked out by hand, over a WordNet of a few words, and what is said where there is none."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import nltk
import numpy as np
import pytest

from bnb_fairseq.metrics.meteor import Meteor, WordNetMissingError, load_meteor

from ...conftest import ROOT
from ...integration import forked
from .wordnet_files import write_wordnet

SYNSETS = [["car", "auto"], ["film", "movie"], ["dog"]]
INSTALL = "To install it: python -m nltk.downloader wordnet"


@pytest.fixture(scope="module")
def meteor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meteor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nltk.data, "path", [str(write_wordnet(tmp_path_factory.mktemp("nltk"), SYNSETS))])
        yield Meteor()  # it reads on as words come


@pytest.fixture
def no_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    return tmp_path


def worked_out(matches: int, hypothesis: int, reference: int, chunks: int) -> float:
    """Banerjee and Lavie 2005: a harmonic mean in which recall counts nine times, less what gaps cost."""
    precision, recall = matches / hypothesis, matches / reference
    return 100 * 10 * precision * recall / (recall + 9 * precision) * (1 - 0.5 * (chunks / matches) ** 3)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "score"),
    [
        ("Who sold the car?", "who sold the car", worked_out(4, 4, 4, 1)),
        ("the car who sold", "who sold the car", worked_out(4, 4, 4, 2)),
        ("who sold", "who sold the car", worked_out(2, 2, 4, 1)),
        ("who sold the car yesterday", "who sold car", worked_out(3, 5, 3, 2)),
        ("who sells cars", "who selling car", worked_out(3, 3, 3, 1)),  # by stems
        ("who sold the auto", "who sold the car", worked_out(4, 4, 4, 1)),  # by synonyms
        ("which film was it", "which movie was it", worked_out(3, 4, 4, 2)),  # NLTK looks for "movi"
        ("which dog was it", "which car was it", worked_out(3, 4, 4, 2)),  # no synonyms
        ("which boat was it", "which ship was it", worked_out(3, 4, 4, 2)),  # words that this WordNet does not know
        ("Größe", "GRÖSSE größe", worked_out(1, 1, 2, 1)),
        ("", "who sold the car", 0),
        ("who", "", 0),
        ("?", "!", 0),
        ("a b", "c d", 0),
    ],
)
def test_by_hand(hypothesis: str, reference: str, score: float, meteor: Meteor) -> None:
    assert meteor.scores([hypothesis], [reference]).tolist() == [pytest.approx([score], abs=1e-9)]


def test_one_score_for_each_text(meteor: Meteor) -> None:
    found = meteor.scores(["the car", "", "an auto"], ["the car", "a", "a car"])
    assert found.dtype == np.float64
    assert found[:, 0].tolist() == pytest.approx([worked_out(2, 2, 2, 1), 0, worked_out(1, 2, 2, 1)])
    assert meteor.scores([], []).shape == (0, 1)
    with pytest.raises(ValueError, match="longer than"):
        meteor.scores(["a"], ["a", "b"])


def test_signature_names_what_figures_depend_on(meteor: Meteor) -> None:
    beginning = "nrefs:1|alpha:0.9|beta:3|gamma:0.5|stem:porter|tok:unicode-words|synonyms:wordnet-3.0|version:nltk-"
    assert meteor.signature.startswith(beginning)


def test_without_wordnet(no_wordnet: Path, caplog: pytest.LogCaptureFixture) -> None:
    message = f"METEOR is left out: NLTK does not find WordNet (corpora/wordnet in its data folders). {INSTALL}"
    with pytest.raises(WordNetMissingError) as caught:
        Meteor()
    assert str(caught.value) == message
    caplog.set_level(logging.INFO)
    assert load_meteor() is None
    assert [(record.levelname, record.message) for record in caplog.records] == [("WARNING", message)]


def test_with_a_part_of_wordnet(no_wordnet: Path) -> None:
    write_wordnet(no_wordnet, SYNSETS)
    (no_wordnet / "corpora" / "wordnet" / "index.noun").unlink()
    with pytest.raises(WordNetMissingError, match=rf"\(incomplete: .*index\.noun.*\)\. {INSTALL}$"):
        Meteor()


def test_where_nltk_looks(tmp_path: Path) -> None:
    """In a process of its own, with the environment that a user sets: an empty folder, then one with the words."""
    program = "import sys; assert 'nltk' not in sys.modules\nfrom bnb_fairseq.metrics.meteor import load_meteor\n"
    program += "meteor = load_meteor(); print(meteor and meteor.scores(['auto'], ['car']))\n"
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    (tmp_path / "empty").mkdir()
    write_wordnet(tmp_path / "full", SYNSETS)
    printed = {}
    for name in ("empty", "full"):
        environment = {**os.environ, "NLTK_DATA": str(tmp_path / name), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        done = forked.capture("python", tmp_path / "program.py", cwd=tmp_path, environment=environment)
        assert done.returncode == 0, done.stderr
        printed[name] = (done.stdout.strip(), INSTALL in done.stderr)
    assert printed["full"] == ("[[50.]]", False)
    if not Path("/usr/share/nltk_data/corpora").is_dir():  # where NLTK looks whatever the environment says
        assert printed["empty"] == ("None", True)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk.translate.meteor_score", None)
    with pytest.raises(ImportError, match=r"^METEOR needs NLTK: pip install nltk$"):
        Meteor()
