"""ROUGE in the comparison: its columns, bootstrap, JSON and picture, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from matplotlib import pyplot as plt

from bnb_fairseq.evaluation.bootstrap import compare_means

from ...facts import says
from .conftest import REFERENCES, Main, Refused, Write, calls

FEW = ("--bootstrap", "20")
BLEU_HEAD = ["BLEU", "mean ± 95%", "p"]
ROUGE_HEAD = ["ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-L mean ± 95%", "p of ROUGE-L"]
HALF = [REFERENCES[0], "das hat Zeile", "Öffne alle Datei sofort!", "weg"]
REST = ["length ratio", "repetition %", "sentences/s", "ratio"]


def cells_of(shown: str) -> list[list[str]]:
    """Head and rows of the table."""
    head, _, *rows = shown.split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *rows)]


@pytest.mark.parametrize(
    ("metrics", "middle"),
    [
        ([], [*BLEU_HEAD, "chrF"]),
        (["chrf", "bleu"], [*BLEU_HEAD, "chrF"]),
        (["chrf"], ["chrF"]),
        (["rouge"], ROUGE_HEAD),
        (["rouge", "bleu", "bleu"], [*BLEU_HEAD, *ROUGE_HEAD]),
        (["bleu", "chrf", "rouge"], [*BLEU_HEAD, "chrF", *ROUGE_HEAD]),
    ],
)
def test_columns_that_were_asked_for(metrics: list[str], middle: list[str], main: Main) -> None:
    chosen = ["--metrics", *metrics] if metrics else []
    shown = main("good=good.pt", *FEW, *chosen)
    rows = cells_of(shown)
    assert rows[0] == ["system", *middle, *REST]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[1][1] == "100.0"
    assert ("`BLEU nrefs:1" in shown) == ("chrF nrefs:1" in shown) == (metrics != ["rouge"])
    assert ("ROUGE nrefs:1|score:f1|stem:porter|" in shown) == ("rouge" in metrics)
    assert ("p: paired bootstrap on BLEU against good, 20 samples, seed 12345 (`" in shown) == ("BLEU" in middle)
    of_rouge = (
        "p of ROUGE-L: paired bootstrap on its mean over the sentences against good, 20 samples, seed 12345; equal"
    )
    assert (of_rouge in shown) == ("rouge" in metrics)


def test_figures_by_hand(main: Main, folder: Path, write: Write) -> None:
    """References of 4, 5, 4 and 6 words; the second and third outputs share 3 of 5 + 3 and 2 of 4 + 4 words."""
    assert REFERENCES[1:3] == ["das Blatt hat eine Zeile .", "öffne die neue Datei ."]
    write(folder / "half.pt", HALF)
    shown = main("half=half.pt", "good=good.pt", "bad=bad.pt", "again=half.pt", "--metrics", "rouge", *FEW)
    half, good, bad, again, copied, reference = cells_of(shown)[1:]
    of_words, of_pairs, of_sequence = ((1 + 6 / 8 + 4 / 8) / 4, 1 / 4, (1 + 6 / 8 + 4 / 8) / 4)
    assert (
        half[1:4] == [f"{100 * value:.1f}" for value in (of_words, of_pairs, of_sequence)] == ["56.2", "25.0", "56.2"]
    )
    assert half[5] == "baseline"
    assert good[1:5] == ["100.0", "100.0", "100.0", "100.0 ± 0.0"]
    assert bad[1:5] == ["0.0", "0.0", "0.0", "0.0 ± 0.0"]
    assert again[1:6] == [*half[1:5], "equal"]
    assert copied[4:6] == ["-", "-"]
    assert copied[1] != "-"
    assert reference[1:6] == ["-"] * 5
    content = json.loads((folder / "out" / "quality.json").read_text(encoding="utf-8"))
    row = content["rows"][0]["rouge"]
    assert [row[name] for name in ("rouge1", "rouge2", "rougeL")] == pytest.approx([56.25, 25.0, 56.25])
    assert row["bootstrap"]["p_value"] is None
    by_sentence = {"half": np.array([100.0, 75.0, 50.0, 0.0])}  # ROUGE-L
    assert row["bootstrap"] == pytest.approx(compare_means(by_sentence, "half", 20, 12345)["half"]._asdict())
    assert half[4] == f"{row['bootstrap']['mean']:.1f} ± {row['bootstrap']['interval']:.1f}"
    assert content["rows"][1]["rouge"]["bootstrap"]["p_value"] == pytest.approx(float(good[5]), abs=1e-4)
    assert content["rows"][0]["bootstrap"] is content["bootstrap"]["signature"] is content["rows"][5]["rouge"] is None
    assert content["rows"][4]["rouge"]["bootstrap"] is None
    assert content["signatures"].startswith("ROUGE nrefs:1|")


def test_without_rouge_nothing_is_said_of_it(main: Main, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is its library loaded."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("rouge_score", "nltk")]:
        monkeypatch.delitem(sys.modules, name)
    main("good=good.pt", *FEW)
    assert not any(name.split(".")[0] in ("rouge_score", "nltk") for name in sys.modules)
    content = json.loads((folder / "out" / "quality.json").read_text(encoding="utf-8"))
    assert {row["rouge"] for row in content["rows"]} == {None}


@pytest.mark.parametrize(
    ("metrics", "label"), [(["rouge"], "ROUGE-L"), (["rouge", "bleu"], "BLEU"), (["bleu", "chrf"], "BLEU")]
)
def test_what_the_picture_draws(metrics: list[str], label: str, main: Main, folder: Path, write: Write) -> None:
    kept: list[Any] = []
    write(folder / "half.pt", HALF)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt, "close", kept.append)
        main("half=half.pt", *FEW, "--metrics", *metrics, "--picture", "out/new.png")
    (figure,) = kept
    (axes,) = figure.axes
    assert image.imread(folder / "out" / "new.png").shape[:2] == (720, 1080)
    assert axes.get_ylabel() == label
    (mark,) = (line for line in axes.lines if line.get_marker() == "s" and len(line.get_xdata()))
    content = json.loads((folder / "out" / "quality.json").read_text(encoding="utf-8"))
    row = content["rows"][0]
    expected, tested = (row["bleu"], row["bootstrap"]) if label == "BLEU" else (56.25, row["rouge"]["bootstrap"])
    assert mark.get_ydata()[0] == pytest.approx(expected)
    bar = axes.collections[0].get_segments()[0]
    assert bar[:, 1].tolist() == pytest.approx(
        [tested["mean"] - tested["interval"], tested["mean"] + tested["interval"]]
    )
    plt.close(figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "rouge", "ter"], "argument --metrics: invalid choice: 'ter'"),
        (["--metrics", "rouge", "bad=bad.pt"], "argument --metrics: invalid choice: 'bad=bad.pt'"),
        (["--metrics"], "argument --metrics: expected at least one argument"),
        (
            ["--metrics", "chrf", "--picture", "x.png"],
            "--picture needs bleu or rouge or meteor among --metrics ... they are chrf",
        ),
    ],
)
def test_refused_before_anything_runs(
    arguments: list[str], message: str, main: Main, refused: Refused, folder: Path
) -> None:
    assert says(refused(main, "good=good.pt", *arguments), message)
    assert calls(folder) == []


def test_without_the_library(main: Main, refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only ROUGE needs it."""
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    message = "--metrics rouge needs rouge-score ... it is not installed; pip install rouge-score"
    assert says(refused(main, "good=good.pt", "--metrics", "rouge"), message)
    assert calls(folder) == []
    assert main("good=good.pt", *FEW).startswith("| system |")
