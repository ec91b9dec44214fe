"""Samples and scores of what fairseq-generate wrote."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib import image

from ...facts import says
from .conftest import Main, Refused, Write

LINES = [f"die Zelle Nummer {i} ist leer" for i in range(5)]
SPEED = "Translated 5 sentences (30 tokens) in 0.1s (50.40 sentences/s, 300 tokens/s)"


@pytest.fixture
def texts(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Texts and the outputs of a good and a bad system; the working directory."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "source", [f"cell {i}" for i in range(5)])
    (tmp_path / "reference").write_text("\n".join(LINES), encoding="utf-8")  # no newline at the end
    write(tmp_path / "good", [*(f"D-{i}\t-1\t{LINES[i]}" for i in (4, 2, 0, 1, 3)), SPEED])
    write(tmp_path / "empty", [])
    write(tmp_path / "bad", [f"D-{i}\t-1\tx" for i in range(5)])
    return tmp_path


@pytest.fixture
def report(texts: Path, run_score: Main) -> Main:
    """Run ``bnb-score texts`` and return what it prints."""
    files = ["--source", "source", "--reference", "reference", "--bootstrap", "10"]
    return lambda *arguments: run_score("texts", *files, *arguments)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def sample(numbers: Sequence[int]) -> str:
    shown = [f"source       cell {i}\ntranslation  {LINES[i]}\nreference    {LINES[i]}\n\n" for i in numbers]
    return "".join(shown)


def test_samples_and_table(report: Main) -> None:
    printed = report("--samples", "2", "good=good", "bad one=bad")
    assert printed.startswith(sample([0, 2]) + "| system | ")
    table, sentences, test, repetition, speed = printed.removeprefix(sample([0, 2])).split("\n\n")
    head, _, good, bad, copied, reference = cells(table)
    assert head == ["system", "BLEU", "mean ± 95%", "p", "chrF", "length ratio", "repetition %", "sentences/s", "ratio"]
    assert good == ["good", "100.0", "100.0 ± 0.0", "baseline", "100.0", "1.00", "0.00", "50.4", "1.00"]
    assert bad[:2] == ["bad one", "0.0"]
    assert bad[4:] == ["0.0", "0.17", "0.00", "-", "-"]
    assert copied[:2] == ["source copied", "0.0"]
    assert copied[5:] == ["0.33", "0.00", "-", "-"]
    assert reference[0] == "reference"
    assert sentences.startswith("5 sentences; `BLEU nrefs:1|case:mixed|eff:no|tok:13a")
    assert test.startswith("p: paired bootstrap on BLEU against good, 10 samples, seed 12345 (`")
    assert repetition.startswith("repetition: ")
    assert speed.endswith("of one run; ratio: to that of good\n")


def test_more_samples_than_sentences(report: Main) -> None:
    assert report("x=good", "--samples", "10").startswith(sample(range(5)) + "| system |")
    assert report("x=good", "--samples", "0").startswith("| system |")


def test_options_of_the_table(report: Main, texts: Path) -> None:
    shown = report("good=good", "bad=bad", "--baseline", "bad", "--metrics", "bleu", "rouge", "--picture", "x.png")
    table = shown.removeprefix(sample(range(5))).split("\n\n")[0]
    assert cells(table)[0][4:7] == ["ROUGE-1", "ROUGE-2", "ROUGE-L"]
    assert [row[3] for row in cells(table)[2:4]] == ["0.0909", "baseline"]
    assert shown.endswith("--picture lacks bad: fairseq-generate printed no speed\n")
    assert image.imread(texts / "x.png").shape[:2] == (720, 1080)


def test_folder_of_a_comparison(main: Main, run_score: Main, folder: Path) -> None:
    """The table is the same, made of the outputs that the comparison kept."""
    options = ["--source", "text.en", "--reference", "text.de", "--bootstrap", "20"]
    compared = main("good one=good.pt", "bad=bad.pt", "--bootstrap", "20").split("\n\n")[0]
    assert run_score("texts", "out", *options, "--samples", "0").split("\n\n")[0] == compared


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x=part"], "SYSTEM: x ... a translation of every line of --reference reference (5) ... part holds 2"),
        (["x=good", "a=none"], "SYSTEM: OUTPUT of a ... a file ... none"),
        (["x=good", "x=good"], "SYSTEM: every NAME ... given once ... 'x' is given 2 times"),
        (["good"], "argument SYSTEM: ... NAME=OUTPUT or a folder of bnb-score checkpoints ... 'good'"),
        (
            ["x=good", "--source", "part"],
            "--source and --reference ... the same number of lines ... --source part has 2, --reference",
        ),
        (["x=good", "--source", "empty", "--reference", "empty"], "--reference ... at least 1 line ... empty is"),
        (
            ["x=good", "--source", "no", "--reference", ".", "--baseline", "y", "--picture", "x.txt"],
            "--source ... a file ... no; --reference ... a file ... .; --baseline ... one of "
            "['x'] ... 'y'; --picture ... end in .png, .pdf, .svg ... x.txt",
        ),
        (["x=good", "--picture", "no/x.png"], "--picture ... a folder that exists ... no is none"),
        (
            ["x=latin"],
            "SYSTEM: x ... a translation of every line of --reference reference (5) ... 'utf-8' codec",
        ),
    ],
)
def test_refused(arguments: list[str], message: str, report: Main, refused: Refused, texts: Path, write: Write) -> None:
    write(texts / "part", ["D-1\t-1\tx", "D-3\t-1\ty"])
    (texts / "latin").write_bytes("D-0\t-1\tfünf\n".encode("latin-1"))
    assert says(refused(report, *arguments), message)


def test_the_card_of_a_model_folder_gets_the_table(report: Main, texts: Path) -> None:
    (texts / "plain").write_text("\n".join(LINES), encoding="utf-8")
    (texts / "model").mkdir()
    card = texts / "model" / "README.md"
    card.write_text("# m\n\n## Scores\n\nNone yet.\n", encoding="utf-8")
    for _ in range(2):
        printed = report("--samples", "0", "--card", "model", "plain=plain")
        before, _, scores = card.read_text(encoding="utf-8").partition("## Scores\n\n")
        assert before == "# m\n\n" and scores.startswith(printed.rstrip()) and "| plain | 100.0 |" in scores
        assert scores.endswith("```\n") and "None yet" not in scores


def test_a_folder_without_a_card(report: Main, texts: Path, refused: Refused) -> None:
    assert "--card must be a model folder with a README.md, but is" in refused(report, "--card", "nowhere", "good=good")
