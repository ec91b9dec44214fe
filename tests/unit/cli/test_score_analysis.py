"""The script that shows where systems differ: its tables, and what it refuses."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ...facts import check_faults, says
from .conftest import Main, Refused, Write

Analyse = Callable[..., str]

SOURCES = ["one", "one two", "one two three", "one two three four"]
REFERENCES = ["eins", "eins zwei drei vier fünf", "sechs sieben acht neun zehn", "a b c d e f g h"]
RIGHT = {0: "eins", 1: "eins zwei drei vier fünf", 2: "sechs sieben acht neun zehn", 3: "a b c d e f g h"}
OTHER = {**RIGHT, 2: "sechs sieben acht", 3: "a b c d e f g g g g g"}
TRAINING = ["eins zwei", *["a"] * 11, *["b c"] * 101, *["d"] * 1001, "e , e ."]


@pytest.fixture
def texts(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Texts and the outputs of a system that is right and one that is not; the working directory."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "source", SOURCES)
    write(tmp_path / "reference", REFERENCES)
    write(tmp_path / "train", TRAINING)
    for name, lines in (("right", RIGHT), ("other", OTHER)):
        write(tmp_path / name, [f"D-{i}\t-1\t{line}" for i, line in reversed(lines.items())])
    return tmp_path


@pytest.fixture
def analyse(texts: Path, run_score: Main) -> Analyse:
    """Run ``bnb-score analysis`` on the texts and return what it prints."""
    files = ["--source", "source", "--reference", "reference", "--train-text", "train"]
    return lambda *arguments: run_score("analysis", *files, *arguments).removesuffix("counting words of train\n")


def table_of(printed: str, title: str) -> list[list[str]]:
    """The cells below a title, without the line that follows the head."""
    lines = printed.split(f"### {title}\n\n")[1].split("\n\n")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line[1:-1].split(" | ")] for line in lines)
    return [head, *rows]


def test_by_length(analyse: Analyse) -> None:
    """Buckets of two; the other one's last two lines: 14 tokens against 13."""
    printed = analyse("right=right", "other one=other", "--buckets", "2")
    assert printed.startswith("4 sentences; `BLEU nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    # 3 + 7, 2 + 6, 1 + 5 and 0 + 4 n-grams are right of 3 + 11, 2 + 10, 1 + 9 and 0 + 8
    later = 100 * (10 / 14 * 8 / 12 * 6 / 10 * 4 / 8) ** 0.25
    # and with the first two lines: 6, 4, 3 and 2 n-grams more
    whole = 100 * (16 / 20 * 12 / 16 * 9 / 13 * 6 / 10) ** 0.25
    assert table_of(printed, "BLEU by source length") == [
        ["source tokens", "sentences", "right", "other one"],
        ["1-2", "2", "100.0", "100.0"],
        ["3-4", "2", "100.0", f"{later:.1f}"],
        ["all", "4", "100.0", f"{whole:.1f}"],
    ]
    assert table_of(printed, "Length ratio by source length") == [
        ["source tokens", "sentences", "right", "other one"],
        ["1-2", "2", "1.00", "1.00"],
        ["3-4", "2", "1.00", f"{14 / 13:.2f}"],
        ["all", "4", "1.00", f"{20 / 19:.2f}"],
    ]


def test_by_the_length_of_the_reference(analyse: Analyse) -> None:
    table = table_of(analyse("right=right", "--length-of", "reference"), "BLEU by reference length")
    assert [row[:2] for row in table] == [
        ["reference tokens", "sentences"],
        ["1", "1"],
        ["5", "2"],
        ["8", "1"],
        ["all", "4"],
    ]


def test_parts_of_bleu(analyse: Analyse, texts: Path, write: Write) -> None:
    """Every n-gram of the short one is right; a quarter of its tokens is missing."""
    write(texts / "short", [f"D-{i}\t-1\t{line}" for i, line in {**RIGHT, 3: "a b c d"}.items()])
    printed = analyse("other=other", "short=short", "--baseline", "short")
    penalty = math.exp(1 - 19 / 15)
    precisions = [16 / 20, 12 / 16, 9 / 13, 6 / 10]
    bleu = math.prod(precisions) ** 0.25
    names = ["1-gram precision", "2-gram precision", "3-gram precision", "4-gram precision"]
    assert table_of(printed, "Parts of BLEU") == [
        ["part", "other", "short"],
        *([f"{name} %", f"{100 * value:.1f}", "100.0"] for name, value in zip(names, precisions, strict=True)),
        ["brevity penalty", "1.000", f"{penalty:.3f}"],
        ["BLEU", f"{100 * bleu:.1f}", f"{100 * penalty:.1f}"],
    ]
    assert table_of(printed, "What moves BLEU away from that of short") == [
        ["factor", "other", "short"],
        *([name, f"{value**0.25:.3f}", "1.000"] for name, value in zip(names, precisions, strict=True)),
        ["brevity penalty", f"{1 / penalty:.3f}", "1.000"],
        ["BLEU, their product", f"{bleu / penalty:.3f}", "1.000"],
    ]


def test_a_system_without_any_bleu(analyse: Analyse, texts: Path, write: Write) -> None:
    write(texts / "empty", [f"D-{i}\t-1\t" for i in range(4)])
    table = table_of(analyse("right=right", "empty=empty"), "What moves BLEU away from that of right")
    assert {row[2] for row in table[1:]} == {"-"}
    assert {row[1] for row in table[1:]} == {"1.000"}


def test_recall_and_shares(analyse: Analyse) -> None:
    printed = analyse("right=right", "other=other")
    assert table_of(printed, "Recall of the references' words, %") == [
        ["times in the training text", "words", "right", "other"],
        ["unseen", "11", "100.0", f"{100 * 8 / 11:.1f}"],  # f g h, drei to zehn, without neun, zehn and h
        ["1-10", "4", "100.0", "100.0"],  # eins eins zwei e
        ["11-100", "1", "100.0", "100.0"],  # a
        ["101-1,000", "2", "100.0", "100.0"],  # b c
        ["more", "1", "100.0", "100.0"],  # d
    ]
    assert table_of(printed, "Shares of tokens and sentences") == [
        ["share, %", "right", "other", "reference"],
        ["tokens that repeat their neighbour", "0.00", f"{100 * 4 / 20:.2f}", "0.00"],
        ["empty sentences", "0.00", "0.00", "0.00"],
        ["exactly right", "100.00", "50.00", "100.00"],
        ["too short: under 80% of the reference's tokens", "0.00", "25.00", "0.00"],
        ["too long: over 125% of the reference's tokens", "0.00", "25.00", "0.00"],
    ]


def test_folder_of_a_comparison(main: Main, folder: Path, run_score: Main) -> None:
    """Its systems in its order, each from its file of the first round, beside an output of another origin."""
    main("good, | 1=good.pt", "bad=bad.pt", "--bootstrap", "10", "--speed-rounds", "2")
    texts = ["--source", "text.en", "--reference", "text.de", "--train-text", "text.de"]
    shown = run_score("analysis", *texts, "out", "again=out/bad.txt").removesuffix("counting words of text.de\n")
    shares = table_of(shown, "Shares of tokens and sentences")
    assert shares[0] == ["share, %", r"good, \| 1", "bad", "again", "reference"]
    assert shares[3] == ["exactly right", "100.00", "0.00", "0.00", "100.00"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["right"], "argument SYSTEM: ... NAME=OUTPUT or a folder of bnb-score checkpoints ... 'right'"),
        (["=right"], "... NAME=OUTPUT or a folder of bnb-score checkpoints ... '=right'"),
        (["reference=right"], "NAME ... 'source copied' or 'reference' ... 'reference'"),
        (["x="], "... NAME=OUTPUT or a folder of bnb-score checkpoints ... 'x='"),
        (["."], "must be one that bnb-score checkpoints has filled ... quality.json has no runs (FileNotFoundError("),
        (["old"], "a folder ... one that bnb-score checkpoints has filled ... old/quality.json has no runs (KeyE"),
        (["x=right", "x=other"], "SYSTEM: every NAME ... given once ... 'x' is given 2 times"),
        (["x=right", "--baseline", "y"], "--baseline ... one of ['x'] ... 'y'"),
        (["x=no"], "SYSTEM: OUTPUT of x ... a file ... no"),
        (["lost"], "SYSTEM: OUTPUT of a b ... a file ... lost/a-b.txt"),
        (["x=right", "--source", "old"], "--source ... a file ... old"),
        (["x=right", "--train-text", "no"], "--train-text ... a file ... no"),
        (["x=right", "--buckets", "0"], "--buckets ... at least 1 ... 0"),
        (["x=right", "--length-of", "target"], "--length-of: invalid choice: 'target'"),
        (
            ["x=right", "--source", "train"],
            "--source and --reference ... the same number of lines ... --source train has 1,115, "
            "--reference reference has 4",
        ),
        (
            ["x=right", "y=part"],
            "SYSTEM: y ... a translation of every line of --reference reference (4) ... part holds 2 "
            "translations, not 4; first missing: [0, 2]",
        ),
        (["x=right", "--reference", "latin"], "--reference ... text in UTF-8 ... latin is not: 'utf-8' c"),
        (["x=right", "--train-text", "latin"], "--train-text ... text in UTF-8 ... latin is not: 'utf-8'"),
    ],
)
def test_refused(arguments: list[str], message: str, analyse: Analyse, refused: Refused, texts: Path) -> None:
    for name, content in (("old", "{}"), ("lost", '{"runs": {"a b": {}}}')):
        (texts / name).mkdir()
        (texts / name / "quality.json").write_text(content, encoding="utf-8")
    (texts / "latin").write_bytes("fünf\n".encode("latin-1"))
    (texts / "part").write_text("D-1\t-1\tx\nD-3\t-1\ty\n", encoding="utf-8")
    assert says(refused(analyse, *arguments), message)


def test_all_faults_at_once(analyse: Analyse, refused: Refused) -> None:
    faults = [
        "--train-text ... a file ... none",
        "SYSTEM: OUTPUT of x ... a file ... no",
        "--baseline ... one of ['x'] ... 'y'",
    ]
    check_faults(refused(analyse, "x=no", "--baseline", "y", "--train-text", "none"), faults)
