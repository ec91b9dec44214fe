"""Comparing checkpoints: figures worked out by hand, the table, reuse of outputs, and what is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bnb_fairseq.cli import score_runs
from bnb_fairseq.evaluation import runs
from bnb_fairseq.evaluation.systems import parse_system

from ...conftest import ROOT
from ...facts import check_faults, says
from .conftest import REFERENCES, Main, Refused, Write, calls


def test_whole_command(main: Main, folder: Path) -> None:
    """The bad one's 20 tokens repeat 16; the references hold 24 tokens, the sources 22, of which 1 repeats."""
    options = ["--baseline", "the bad", "--bootstrap", "99", "--bootstrap-seed", "3"]
    shown = main("good one=good.pt", "the bad=bad.pt --beam 5", "again=bad.pt", *options)
    table, sentences, test, repetition, speed, machine, block, *_ = shown.split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert rows[0] == ["good one", "100.0", "100.0 ± 0.0", "0.0100", "100.0", "1.00", "0.00", "1,034.6", "1.00"]
    assert rows[1][:4] == ["the bad", "0.0", "0.0 ± 0.0", "baseline"]
    assert rows[1][5:] == ["0.83", "80.00", "1,034.6", "1.00"]
    assert rows[2] == ["again", *rows[1][1:3], "equal", *rows[1][4:]]
    assert rows[3][0] == "source copied"
    assert rows[3][2:4] + rows[3][5:] == ["-", "-", "0.92", f"{100 / 22:.2f}", "-", "-"]
    assert rows[4] == ["reference", "-", "-", "-", "-", "1.00", "0.00", "-", "-"]
    assert sentences.startswith("4 sentences of test; `BLEU nrefs:1|case:mixed|eff:no|tok:13a|")
    assert test.startswith("p: paired bootstrap on BLEU against the bad, 99 samples, seed 3 (`nrefs:1|bs:99|seed:3|")
    assert repetition.startswith("repetition: share of tokens (13a) that equal their left neighbour")
    assert speed == (
        "sentences/s: generation only, as fairseq-generate prints it, of one run; ratio: to that of the bad"
    )
    assert machine.startswith("commit ")
    command = "fairseq-generate data --user-dir plugin --task translation_bnb --path {} --gen-subset test"
    listed = [line.partition(" --batch-size")[0] for line in block.splitlines()]
    runs = [command.format(f"{name}.pt") for name in ("good", "bad", "bad")]
    assert listed[0] == "```bash"
    assert listed[1].startswith("bnb-score checkpoints data --source text.en --reference text.de --output out")
    assert "'the bad=bad.pt --beam 5'" in listed[1]
    assert listed[2:6] == ["# runs", *runs]
    assert "--batch-size 64 --cpu --beam 5\n" in block


def test_files_in_the_output_folder(main: Main, folder: Path) -> None:
    shown = main("good, 1=good.pt", "bad=bad.pt --beam 5")
    names = ["bad.txt", "good-1.txt", "quality.json", "quality.md"]
    assert sorted(file.name for file in (folder / "out").iterdir()) == names
    assert shown.startswith((folder / "out" / "quality.md").read_text(encoding="utf-8"))
    content = json.loads((folder / "out" / "quality.json").read_text(encoding="utf-8"))
    assert content["sentences"] == 4
    assert content["bootstrap"]["baseline"] == "good, 1"
    assert (content["bootstrap"]["samples"], content["bootstrap"]["seed"]) == (1000, 12345)
    assert [row["system"] for row in content["rows"]] == ["good, 1", "bad", "source copied", "reference"]
    good, bad, copied, reference = content["rows"]
    assert good["bleu"] == pytest.approx(100)
    assert good["bootstrap"]["p_value"] is None
    assert bad["bootstrap"] == {"mean": 0, "interval": 0, "p_value": 1 / 1001}
    assert (bad["repetition"], bad["speed"], bad["speed_rounds"], bad["ratio"]) == (80, 1034.56, [1034.56], 1)
    assert copied["speed"] is copied["speed_rounds"] is reference["ratio"] is None
    assert copied["bootstrap"] is reference["bootstrap"] is reference["bleu"] is None
    assert content["runs"]["bad"]["command"].endswith("--path bad.pt --gen-subset test --batch-size 64 --cpu --beam 5")
    assert {"commit", "CPU", "threads", "torch", "fairseq", "sacrebleu"} < content["runs"]["bad"].keys()


def test_outputs_are_used_again(main: Main, folder: Path) -> None:
    first = main("good=good.pt", "bad=bad.pt")
    again = main("good=good.pt", "bad=bad.pt")
    assert calls(folder) == ["good.pt", "bad.pt"]
    assert again.split("[1/2]")[0] == first.split("[1/2]")[0]
    assert "[1/2] good: made before, used again\n[2/2] bad: made before, used again\n" in again
    assert main("bad=bad.pt").count("used again") == 1, "other systems beside it do not matter"


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "bad.pt").write_text("y\n" * 4),  # trained further
        lambda folder: os.utime(folder / "data" / "test.en-de.en.bin", (1, 1)),
        lambda folder: (folder / "data" / "dict.de.txt").write_text("y 1\n"),
        lambda folder: (folder / "out" / "bad.txt").write_text("not this script's"),
        lambda folder: (folder / "out" / "bad.txt").write_text('# made by {"command": "x"}\n'),
        lambda folder: cut(folder / "out" / "bad.txt", "D-2"),
        lambda folder: (folder / "out" / "bad.txt").rename(folder / "out" / "bad.txt.partial"),
    ],
)
def test_outputs_made_from_something_else(change: Callable[[Path], object], main: Main, folder: Path) -> None:
    main("bad=bad.pt")
    change(folder)
    assert main("bad=bad.pt").count("used again") == 0
    assert main("bad=bad.pt").count("used again") == 1
    assert calls(folder) == ["bad.pt", "bad.pt"]


def cut(file: Path, beginning: str) -> None:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith(beginning)), encoding="utf-8")


def test_what_makes_a_command_another_one(main: Main, folder: Path) -> None:
    main("bad=bad.pt")
    os.utime(folder / "data" / "train.en-de.en.bin", (1, 1))
    assert "used again" in main("bad=bad.pt", "--bootstrap", "10"), "neither of these matters to the translation"
    for options in (["--batch-size", "7"], ["--gen-subset", "valid"], ["--user-dir", "data"]):
        assert "used again" not in main("bad=bad.pt", *options)
    assert "used again" not in main("bad=bad.pt --beam 2")


def test_machines_are_told_apart(main: Main, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_runs, "describe_machine", lambda device, packages: {"CPU": "first", "threads": 2})
    main("bad=bad.pt")
    monkeypatch.setattr(score_runs, "describe_machine", lambda device, packages: {"CPU": "second", "threads": 1})
    assert "CPU first, threads 2\n\nCPU second, threads 1\n\n" in main("bad=bad.pt", "good=good.pt")
    content = json.loads((folder / "out" / "quality.json").read_text(encoding="utf-8"))
    assert [content["runs"][name]["threads"] for name in ("bad", "good")] == [2, 1]


def test_output_is_whole_whatever_the_terminal(main: Main, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No umlaut is lost, and no warning falls into a line."""
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    main("good=good.pt --long")
    output = (folder / "out" / "good.txt").read_text(encoding="utf-8").splitlines()
    assert f"D-2\t-1.0\t{REFERENCES[2]}" in output
    assert output.count("a warning") == 300
    assert {len(line) for line in output if line.startswith("H-0")} == {8004 + i for i in range(300)}


def test_failed_run(main: Main, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main("good=good.pt", "bad=bad.pt --fail", "never=good.pt")
    *_, last, message = str(caught.value).split("\n")
    assert last == "the last line"
    assert message == (
        "bad: fairseq-generate ended with exit code 3; its whole output is out/bad.txt.partial, its command "
        "fairseq-generate data --user-dir plugin --task translation_bnb --path bad.pt --gen-subset test --batch-size 64"
        " --cpu --fail"
    )
    assert sorted(file.name for file in (folder / "out").iterdir()) == ["bad.txt.partial", "good.txt"]
    assert calls(folder) == ["good.pt", "bad.pt"]
    assert capsys.readouterr().err.endswith("[2/3] bad: ")


def test_sentences_left_out(main: Main, folder: Path, write: Write) -> None:
    write(folder / "bad.pt", ["x"] * 3)
    with pytest.raises(SystemExit) as caught:
        main("bad=bad.pt")
    expected = "bad: out/bad.txt.partial holds 3 translations, not 4; first missing: [3] (--reference has 4 lines)"
    assert str(caught.value) == f"failed\n{expected}"
    assert not (folder / "out" / "bad.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good.pt"], "argument SYSTEM: ... NAME=CHECKPOINT [OPTIONS] ... 'good.pt'"),
        (["x="], "... NAME=CHECKPOINT [OPTIONS] ... 'x='"),
        (["=good.pt"], "... NAME=CHECKPOINT [OPTIONS] ... '=good.pt'"),
        (["..=good.pt"], "... NAME=CHECKPOINT [OPTIONS] ... '..=good.pt'"),
        (["a\nb=good.pt"], "... NAME=CHECKPOINT [OPTIONS] ... 'a\\nb=good.pt'"),
        (["x=good.pt --beam '5"], '... NAME=CHECKPOINT [OPTIONS] ... "x=good.pt --beam \'5"'),
        (["x=good.pt bad.pt"], "options ... follow the checkpoint ... 'bad.pt' does in 'x=good.pt bad.pt'"),
        (["x=good.pt --path=y --quiet"], "--path, --quiet ... left to this command ... in 'x=good.pt --path=y"),
        (
            ["reference=good.pt"],
            "NAME ... 'source copied' or 'reference' ... 'reference'",
        ),
        (
            ["x=a.pt", "y=good.pt", "z=b.pt:good.pt"],
            "every checkpoint ... a file ... these are missing: a.pt, b.pt",
        ),
        (["x=good.pt", "x=bad.pt"], "every NAME needs an output file of its own ... ['x', 'x'] would share x.txt"),
        (["a b=good.pt", "A: b=bad.pt"], "of its own ... ['a b', 'A: b'] would share a-b.txt"),
        (["x=good.pt", "--baseline", "y"], "--baseline ... one of ['x'] ... 'y'"),
        (["x=good.pt", "--source", "no.en"], "--source ... a file ... no.en"),
        (["x=good.pt", "--output", "good.pt"], "--output ... a folder ... good.pt"),
        (["x=good.pt", "--user-dir", "no"], "--user-dir ... a folder ... no"),
        (["x=good.pt", "--bootstrap", "0"], "--bootstrap ... at least 1 ... 0"),
        (["x=good.pt", "--bootstrap-seed", "-1"], "--bootstrap-seed ... at least 1 ... -1"),
        (["x=good.pt", "--batch-size", "1.5"], "--batch-size: invalid int value: '1.5'"),
        (
            ["x=good.pt", "--source", "short.en"],
            "--source and --reference ... the same number of lines ... --source short.en has 1, --reference t",
        ),
    ],
)
def test_refused_before_anything_runs(
    arguments: list[str], message: str, main: Main, refused: Refused, folder: Path, write: Write
) -> None:
    write(folder / "short.en", ["one"])
    assert says(refused(main, *arguments), message)
    assert calls(folder) == []
    assert not (folder / "out").exists()


def test_all_faults_at_once(main: Main, refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "text.de").unlink()
    (folder / "data").rename(folder / "moved")
    monkeypatch.setattr(runs, "GENERATE", Path("bin/fairseq-generate"))
    faults = [
        "DATA_BIN ... a folder made by fairseq-preprocess ... data",
        "SYSTEM: every checkpoint ... a file ... these are missing: a.pt",
        "fairseq ... installed for the Python that runs this ... bin/fairseq-generate",
        "--reference ... a file ... text.de",
        "--baseline ... one of ['x'] ... 'y'",
        "--picture ... end in .png, .pdf, .svg ... x.txt",
    ]
    check_faults(refused(main, "x=a.pt", "--baseline", "y", "--picture", "x.txt"), faults)


def test_systems_of_the_command_line() -> None:
    system = parse_system(" größe, beam 5 = a.pt:b.pt --beam 5 --remove-bpe='@@ ' ")
    assert tuple(system) == ("größe, beam 5", "a.pt:b.pt", ("--beam", "5", "--remove-bpe=@@ "))
    assert system.file == "größe-beam-5.txt"
    assert system.checkpoints == [Path("a.pt"), Path("b.pt")]


def test_the_plugin_is_found_from_elsewhere(tmp_path: Path) -> None:
    """It is named from where the user stands."""
    line = [sys.executable, "-m", "bnb_fairseq.cli.score", "checkpoints", "--help"]
    environment = {**os.environ, "COLUMNS": "1000", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True)
    assert f"(default: {os.path.relpath(ROOT / 'bnb_fairseq', tmp_path)})" in done.stdout
    assert "share of tokens (13a) that equal their left neighbour" in done.stdout
