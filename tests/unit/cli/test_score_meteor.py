"""METEOR in the comparison: its columns and JSON, what is said where WordNet is missing, and the checkpoint's task."""

import json
from pathlib import Path

import nltk
import pytest
import torch

from bnb_fairseq.evaluation.runs import find_task
from bnb_fairseq.evaluation.systems import System

from ...facts import says
from ..metrics.wordnet_files import write_wordnet
from .conftest import REFERENCES, Main, Write, calls

FEW = ("--bootstrap", "20")
MISSING = "METEOR is left out: NLTK does not find WordNet (corpora/wordnet in its data folders). To install it: python"
HEAD = ["METEOR", "METEOR mean ± 95%", "p of METEOR"]


@pytest.fixture
def wordnet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [str(write_wordnet(folder / "nltk", [["zelle", "zell"]]))])


@pytest.fixture
def no_wordnet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [str(folder / "nltk")])


def rows_of(shown: str) -> list[list[str]]:
    head, _, *rows = shown.split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *rows)]


def test_figures_by_hand(main: Main, folder: Path, wordnet: None, write: Write) -> None:
    """A run of N matches of N words scores 1 - 0.5 / N^3; of the second output half the words are there, in one run."""
    half = [REFERENCES[0].replace("Zelle", "Zell"), "das Blatt", "x", "so so so geht das"]
    write(folder / "half.pt", half)
    shown = main("half=half.pt", "good=good.pt", "--metrics", "meteor", "rouge", *FEW)
    rows = rows_of(shown)
    assert rows[0][6:9] == HEAD
    recall, precision = 2 / 5, 1.0
    scores = [1 - 0.5 / 4**3, 10 * precision * recall / (recall + 9 * precision) * (1 - 0.5 / 8), 0, 1 - 0.5 / 5**3]
    good = sum(1 - 0.5 / n**3 for n in (4, 5, 4, 5)) / 4
    assert rows[1][6] == f"{100 * sum(scores) / 4:.1f}"
    assert rows[1][8] == "baseline"
    assert rows[2][6] == f"{100 * good:.1f}"
    assert rows[3][7:9] == ["-", "-"]
    assert rows[4][6:9] == ["-"] * 3
    content = json.loads((folder / "out" / "quality.json").read_text(encoding="utf-8"))
    assert content["rows"][0]["meteor"]["meteor"] == pytest.approx(100 * sum(scores) / 4)
    assert content["rows"][1]["meteor"]["bootstrap"]["p_value"] is not None
    assert "METEOR nrefs:1|alpha:0.9|" in content["signatures"]
    assert "p of METEOR: paired bootstrap on its mean over the sentences against half, 20 samples" in shown
    assert "left out" not in shown


def test_without_wordnet_the_others_go_on(main: Main, folder: Path, no_wordnet: None) -> None:
    shown = main("good=good.pt", "--metrics", "bleu", "meteor", "rouge", *FEW)
    assert rows_of(shown)[0][4:9] == ["ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-L mean ± 95%", "p of ROUGE-L"]
    assert "METEOR |" not in shown
    assert shown.count(f"warning: {MISSING}") == 1, "on stderr"
    assert shown.count(MISSING) == 2, "and below the table"
    content = json.loads((folder / "out" / "quality.json").read_text(encoding="utf-8"))
    assert {row["meteor"] for row in content["rows"]} == {None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "meteor"], "--metrics needs another metric beside meteor, which is left out"),
        (
            ["--metrics", "meteor", "chrf", "--picture", "x.png"],
            "--picture needs bleu or rouge or meteor among --metrics ... they are chrf",
        ),
    ],
)
def test_without_wordnet_nothing_is_left(
    arguments: list[str],
    message: str,
    main: Main,
    folder: Path,
    no_wordnet: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main("good=good.pt", *arguments)
    assert says(ended.value, f"bnb-score: {message}")
    assert capsys.readouterr().err.startswith(f"warning: {MISSING}")
    assert calls(folder) == []


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("question_generation_bnb", "question_generation_bnb"),
        ("translation_bnb", "translation_bnb"),
        ("pretraining_bnb", "translation_bnb"),
    ],
)
def test_the_task_of_the_checkpoint(name: str, task: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "x.pt"
    entries = {"model": {}, "optimizer_history": [], "extra_state": {}, "cfg": {"task": {"_name": name}}}
    torch.save(entries, checkpoint)
    system = System("x", str(checkpoint), ())
    assert find_task(system) == task


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    """fairseq-generate says what is wrong with it."""
    (tmp_path / "x.pt").write_text("no checkpoint")
    assert find_task(System("x", str(tmp_path / "x.pt"), ())) == "translation_bnb"
