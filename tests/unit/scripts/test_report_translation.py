"""Scores and samples of what fairseq-generate wrote."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

OUTPUT = """2024-01-01 | INFO | fairseq_cli.generate | loading model(s)
S-1\tthe mat
T-1\tdie Matte
H-1\t-0.5\t▁die ▁Matte
D-1\t-0.5\tdie Matte
D-0\t-1.25\tdie Katze  saß
P-0\t-1.25 -1.0
D-2\t0.0\t
D-10\t-3.0\tD-11\tmit Tabulator
INFO | fairseq_cli.generate | Translated 1,234 sentences (5,678 tokens) in 2.0s (1,612.51 sentences/s, 99 tokens/s)
"""


@pytest.fixture(scope="module")
def report(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("report_translation")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_translations_are_in_the_order_of_the_data(report: ModuleType, tmp_path: Path) -> None:
    output = write(tmp_path / "out.txt", OUTPUT.replace("D-10\t-3.0\tD-11\tmit Tabulator\n", "D-3\t-1\tx\u2028y\n"))
    assert report.read_translations(output, 4) == ["die Katze  saß", "die Matte", "", "x\u2028y"]


def test_best_hypothesis_counts(report: ModuleType, tmp_path: Path) -> None:
    output = write(tmp_path / "out.txt", "D-0\t-1\tbest\nD-0\t-2\tsecond\n")
    assert report.read_translations(output, 1) == ["best"]


@pytest.mark.parametrize(
    ("sentences", "faults"),
    [
        (12, "first missing: [3, 4, 5, 6, 7]"),
        (4, "first missing: [3], first in excess: [10]"),
        (3, "first in excess: [10]"),
        (1, "first in excess: [1, 2, 10]"),
    ],
)
def test_other_sentences_than_the_references_are_refused(
    sentences: int, faults: str, report: ModuleType, tmp_path: Path
) -> None:
    output = write(tmp_path / "out.txt", OUTPUT.replace("\tD-11\tmit Tabulator", "\tmehr"))
    with pytest.raises(ValueError) as caught:
        report.read_translations(output, sentences)
    assert str(caught.value) == f"{output} holds 4 translations, not {sentences}; {faults}"


def test_speed(report: ModuleType, tmp_path: Path) -> None:
    assert report.read_speed(write(tmp_path / "out.txt", OUTPUT)) == "1,613"
    assert report.read_speed(write(tmp_path / "out.txt", "D-0\t-1\tx\n")) == "-"


def test_scores_worked_out_by_hand(report: ModuleType) -> None:
    """N-gram precisions 5/6, 3/5, 2/4 and 1/3; no brevity penalty. The product's fourth root is 0.5373."""
    row, signatures = report.score("it", ["the cat sat on the mat"], ["the cat sat on a mat"], "7")
    assert (row.system, row.speed) == ("it", "7")
    assert row.bleu == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, abs=1e-9)
    assert row.length_ratio == 1.0
    assert "tok:13a" in signatures.split(", chrF ")[0]
    assert "nc:6" in signatures.split(", chrF ")[1]


def test_short_output(report: ModuleType) -> None:
    row, _ = report.score("it", ["the cat sat on", "a"], ["the cat sat on a mat", "a b"], "-")
    assert row.length_ratio == 5 / 8
    assert row.bleu == pytest.approx(100 * 2.718281828459045 ** (1 - 8 / 5), abs=1e-9)  # every n-gram is right
    assert row.chrf < 100


def run_main(report: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["report_translation.py", *arguments])
    report.main()


def test_table_and_samples(
    report: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    references = [f"die Zelle Nummer {i} ist leer" for i in range(5)]
    source = write(tmp_path / "test.en", "".join(f"cell {i}\n" for i in range(5)))
    reference = write(tmp_path / "test.de", "\n".join(references))  # no newline at the end
    lines = [f"D-{i}\t-1\t{references[i]}\n" for i in (4, 2, 0, 1, 3)]
    speed = "Translated 5 sentences (30 tokens) in 0.1s (50.40 sentences/s, 300 tokens/s)"
    good = write(tmp_path / "good.txt", "".join(lines) + speed)
    bad = write(tmp_path / "bad.txt", "".join(f"D-{i}\t-1\tx\n" for i in range(5)))
    files = ["--source", str(source), "--reference", str(reference), "--samples", "2"]
    run_main(report, monkeypatch, *files, f"good={good}", f"bad one={bad}")
    printed = capsys.readouterr().out
    samples, table = printed.split("system", 1)
    expected = [
        f"source       cell {i}\ntranslation  {references[i]}\nreference    {references[i]}\n\n" for i in (0, 2)
    ]
    assert samples == "".join(expected)
    rows = [line.split() for line in table.splitlines()]
    assert rows[1] == ["good", "100.0", "100.0", "1.00", "50"]
    assert rows[2] == ["bad", "one", "0.0", "0.0", "0.17", "-"]
    assert rows[3][:3] == ["source", "copied", "0.0"]
    assert rows[3][-2:] == ["0.33", "-"]
    assert table.splitlines()[-1].startswith("5 sentences; BLEU nrefs:1|case:mixed|eff:no|tok:13a")


def test_more_samples_than_sentences(
    report: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write(tmp_path / "text", "a\nb\n")
    output = write(tmp_path / "out.txt", "D-0\t-1\ta\nD-1\t-1\tb\n")
    files = ["--source", str(text), "--reference", str(text), f"x={output}"]
    run_main(report, monkeypatch, *files, "--samples", "10")
    assert capsys.readouterr().out.count("translation  ") == 2
    run_main(report, monkeypatch, *files, "--samples", "0")
    assert capsys.readouterr().out.startswith("system")


def test_errors_are_one_line(
    report: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, output = write(tmp_path / "text", "a\n"), write(tmp_path / "out.txt", "D-0\t-1\ta\nD-1\t-1\tb\n")
    files = ["--source", str(text), "--reference", str(text)]
    with pytest.raises(SystemExit) as ended:
        run_main(report, monkeypatch, *files, f"x={output}")
    assert ended.value.code == f"report_translation: {output} holds 2 translations, not 1; first in excess: [1]"
    with pytest.raises(SystemExit) as ended:
        run_main(report, monkeypatch, *files, f"x={output}", f"a={tmp_path}/none")
    assert ended.value.code == f"report_translation: NAME=FILE: FILE of a must be a file, but is {tmp_path}/none"
    with pytest.raises(SystemExit) as ended:
        run_main(report, monkeypatch, *files, f"x={output}", f"x={output}")
    assert ended.value.code == "report_translation: NAME=FILE: every NAME must be another, but they are x, x"
    longer = tmp_path / "longer"
    longer.write_text("one\ntwo\nthree\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=f"--source must have as many lines as --reference, 1, but {longer} has 3$"):
        run_main(report, monkeypatch, *files, "--source", str(longer), f"x={output}")
    with pytest.raises(SystemExit) as ended:
        run_main(report, monkeypatch, "--source", f"{tmp_path}/no", "--reference", str(tmp_path), f"x={output}")
    assert ended.value.code == (
        f"report_translation: --source must be a file, but is {tmp_path}/no; "
        f"--reference must be a file, but is {tmp_path}"
    )
    with pytest.raises(SystemExit):
        run_main(report, monkeypatch, *files, str(output))
    assert f"argument NAME=FILE: must be NAME=FILE, but is '{output}'" in capsys.readouterr().err
