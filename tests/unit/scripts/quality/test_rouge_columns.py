"""ROUGE in the comparison: its columns, bootstrap, JSON and picture, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from .conftest import REFERENCES, Main, Part, Write, calls

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


def test_figures_by_hand(main: Main, folder: Path, part: Part, write: Write) -> None:
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
    assert row["bootstrap"] == pytest.approx(
        part("means").compare_means(by_sentence, "half", 20, 12345)["half"]._asdict()
    )
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


def test_bootstrap_of_means_against_a_slow_one(part: Part) -> None:
    scores = {
        "first": np.array([10.0, 60.0, 0.0, 33.0, 100.0, 12.5]),
        "base": np.array([20.0, 50.0, 10.0, 30.0, 80.0, 0.0]),
        "same": np.array([20.0, 50.0, 10.0, 30.0, 80.0, 0.0]),
        "ordered": np.array(
            [0.0, 10.0, 20.0, 30.0, 50.0, 80.0]
        ),  # the base's mean, sentence by sentence something else
    }
    samples, seed = 80, 7
    draws = np.random.default_rng(seed).choice(6, size=(samples, 6), replace=True).tolist()
    drawn = {name: [sum(of[i] for i in draw) / 6 for draw in draws] for name, of in scores.items()}
    found = part("means").compare_means(scores, "base", samples, seed)
    for name, means in drawn.items():
        ranked = sorted(means)
        assert found[name].mean == pytest.approx(sum(means) / samples, abs=1e-9)
        assert found[name].interval == pytest.approx(
            (ranked[-3] - ranked[2]) / 2, abs=1e-9
        )  # without 1 / 40 at each end
    for name in ("first", "ordered"):
        apart = [abs(one - other) for one, other in zip(drawn[name], drawn["base"], strict=True)]
        observed = abs(sum(scores[name]) - sum(scores["base"])) / 6
        beyond = sum(value - sum(apart) / samples > observed for value in apart)
        assert found[name].p_value == pytest.approx((beyond + 1) / (samples + 1), abs=1e-12)
    assert 0 < found["first"].p_value < 1
    assert found["ordered"].p_value > 0.2, "no difference is observed"
    assert found["base"].p_value is found["same"].p_value is None
    assert part("means").compare_means(scores, "base", samples, seed + 1)["first"] != found["first"]


def test_bootstrap_of_means_is_the_one_of_bleu(part: Part, report: object) -> None:
    """sacrebleu's paired test of a metric whose corpus score is the mean: the same mean, interval and p."""
    from sacrebleu.metrics.base import Score
    from sacrebleu.significance import _paired_bs_test

    class Mean:
        def _extract_corpus_statistics(self, hypotheses: list[float], references: None) -> list[list[float]]:
            return [[value, 1.0] for value in hypotheses]

        def _compute_score_from_stats(self, total: list[float]) -> Score:
            return Score("mean", float(total[0] / total[1]))

        def _aggregate_and_compute(self, stats: list[list[float]]) -> Score:
            return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])

    chance = np.random.default_rng(3)
    base = chance.uniform(0, 100, size=40).round(2)
    other = np.clip(base + chance.normal(2, 9, size=40), 0, 100).round(2)
    metric = Mean()
    stats = metric._extract_corpus_statistics(base.tolist(), None)
    info = {"m": (stats, metric._aggregate_and_compute(stats))}
    _, theirs = _paired_bs_test(info, "other", other.tolist(), None, {"m": metric}, n_samples=200, seed=9)
    ours = part("means").compare_means({"base": base, "other": other}, "base", 200, 9)["other"]
    assert (ours.mean, ours.interval) == pytest.approx((theirs["m"].mean, theirs["m"].ci), abs=1e-3)  # float32 there
    assert ours.p_value == pytest.approx(theirs["m"].p_value, abs=1e-12)
    assert 1 / 201 < ours.p_value < 1


@pytest.mark.parametrize(
    ("metrics", "label"), [(["rouge"], "ROUGE-L"), (["rouge", "bleu"], "BLEU"), (["bleu", "chrf"], "BLEU")]
)
def test_what_the_picture_draws(
    metrics: list[str], label: str, main: Main, folder: Path, part: Part, write: Write
) -> None:
    picture = part("picture")
    kept: list[Any] = []
    write(folder / "half.pt", HALF)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture.plt, "close", kept.append)
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
    picture.plt.close(figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "rouge", "ter"], "argument --metrics: invalid choice: 'ter'"),
        (["--metrics", "rouge", "bad=bad.pt"], "argument --metrics: invalid choice: 'bad=bad.pt'"),
        (["--metrics"], "argument --metrics: expected at least one argument"),
        (
            ["--metrics", "chrf", "--picture", "x.png"],
            "error: --picture needs bleu or rouge or meteor among --metrics, but they are chrf\n",
        ),
    ],
)
def test_refused_before_anything_runs(
    arguments: list[str], message: str, main: Main, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main("good=good.pt", *arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert calls(folder) == []


def test_without_the_library(
    main: Main, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: Part
) -> None:
    """Only ROUGE needs it."""
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    with pytest.raises(SystemExit):
        main("good=good.pt", "--metrics", "rouge")
    message = "--metrics rouge needs rouge-score, but it is not installed; pip install rouge-score\n"
    assert capsys.readouterr().err.partition("error: ")[2] == message
    assert calls(folder) == []
    assert main("good=good.pt", *FEW).startswith("| system |")
