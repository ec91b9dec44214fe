"""Speeds over several rounds: the order of runs, median and spread, and what is used again."""

import json
import os
import re
from pathlib import Path

import pytest

from ...facts import says
from .conftest import REFERENCES, Main, Refused, Write, calls

GOOD, BAD = "good=good.pt --speeds 40/10/26", "bad=bad.pt --speeds 5/5.5/5.2"
THREE = ("--speed-rounds", "3", "--bootstrap", "10")


def cells_of(shown: str) -> list[list[str]]:
    table = shown.split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_systems_run_in_turns(main: Main, folder: Path) -> None:
    shown = main(GOOD, BAD, "--baseline", "bad", *THREE)
    assert calls(folder) == ["good.pt", "bad.pt"] * 3
    places = [f"{name}, round {i} of 3: " for i in (1, 2, 3) for name in ("good", "bad")]
    progress = re.sub(r"\d+ s$", "", shown[shown.index("[1/6]") :], flags=re.MULTILINE)
    assert progress.splitlines() == [f"[{i}/6] {place}" for i, place in enumerate(places, start=1)]
    head, _, good, bad, copied, reference = cells_of(shown)
    assert head[-2:] == ["sentences/s", "ratio"]
    assert good[-2:] == ["26.0 ±58%", "5.00"]  # (40 - 10) / 2 of 26; 26 / 5.2
    assert bad[-2:] == ["5.2 ±5%", "1.00"]
    assert copied[-2:] == reference[-2:] == ["-", "-"]
    assert (
        "\n\nsentences/s: generation only, as fairseq-generate prints it, median of 3 rounds, in each of which every "
        "system ran once, ± half the distance between the slowest and the fastest; the first round's output is scored; "
        "ratio: to that of bad\n\n"
    ) in shown


def test_figures_of_the_rounds(main: Main, folder: Path) -> None:
    main(GOOD, BAD, *THREE)
    content = json.loads((folder / "out" / "quality.json").read_text(encoding="utf-8"))
    good, bad, *_ = content["rows"]
    assert (good["speed"], good["speed_rounds"], good["ratio"]) == (26, [40, 10, 26], 1)
    assert bad["ratio"] == pytest.approx(5.2 / 26, abs=1e-12)
    assert len(content["runs"]["bad"]["later_rounds"]) == 2
    assert content["runs"]["bad"]["later_rounds"][0].items() <= content["runs"]["bad"].items(), "the same machine"


def test_first_output_is_scored(main: Main, folder: Path, write: Write) -> None:
    main("good=good.pt", "--bootstrap", "10")
    # Later rounds see other translations, as a program that is not deterministic writes them, from the same files.
    state = (folder / "good.pt").stat()
    (folder / "good.pt").write_text((folder / "good.pt").read_text(encoding="utf-8").replace("leer", "voll"))
    os.utime(folder / "good.pt", ns=(state.st_atime_ns, state.st_mtime_ns))
    shown = main("good=good.pt", *THREE)
    assert calls(folder) == ["good.pt"] * 3, "the first round was there"
    assert cells_of(shown)[2][1] == "100.0"


def test_rounds_are_used_again(main: Main, folder: Path) -> None:
    first = main(GOOD, "--bootstrap", "10", "--speed-rounds", "2")
    assert main(GOOD, "--bootstrap", "10", "--speed-rounds", "2").split("[")[0] == first.split("[")[0]
    assert calls(folder) == ["good.pt"] * 2
    shown = main(GOOD, BAD, *THREE)
    assert calls(folder) == ["good.pt"] * 2 + ["bad.pt", "bad.pt", "good.pt", "bad.pt"]
    assert shown.count("used again") == 2
    assert "[3/6] good, round 2 of 3: made before, used again\n" in shown
    assert cells_of(shown)[2][-2] == "26.0 ±58%"
    assert cells_of(main(GOOD, BAD, "--bootstrap", "10"))[2][-2] == "40.0", "one round is asked for"
    assert len(calls(folder)) == 6


def test_rounds_of_another_checkpoint_are_not(main: Main, folder: Path, write: Write) -> None:
    main(GOOD, *THREE)
    write(folder / "good.pt", [*REFERENCES[:3], "longer than before it was"])
    main(GOOD, *THREE)
    assert calls(folder) == ["good.pt"] * 6
    (folder / "out" / "round-2" / "good.txt").unlink()
    assert main(GOOD, *THREE).count("used again") == 2


def test_round_that_fails(main: Main, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was measured before it stays."""
    main(GOOD, BAD, "--bootstrap", "10")
    program = folder / "fairseq-generate"
    text = program.read_text(encoding="utf-8")
    program.write_text(text.replace('if "--fail"', 'if checkpoint == "bad.pt" or "--fail"'), encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(GOOD, BAD, *THREE)
    assert "bad: fairseq-generate ended with exit code 3; its whole output is out/round-2/bad.txt.partial" in str(
        caught.value
    )
    assert capsys.readouterr().err.endswith("[4/6] bad, round 2 of 3: ")
    program.write_text(text, encoding="utf-8")
    assert main(GOOD, BAD, *THREE).count("used again") == 3


def test_outputs_without_a_speed(main: Main, folder: Path, write: Write) -> None:
    """The good one misses it in one round, and what fairseq-generate rounds to 0 is none either."""
    names = ("good=good.pt --speeds 40/none/26", "bad=bad.pt --speeds 0.00/1.00", "fine=fine.pt")
    write(folder / "fine.pt", REFERENCES)
    good, bad, fine = cells_of(main(*names, "--speed-rounds", "2", "--bootstrap", "10"))[2:5]
    assert good[-2:] == bad[-2:] == ["-", "-"]
    assert fine[-2:] == ["1,034.6 ±0%", "-"], "there is nothing to compare it with"


def test_number_of_rounds(main: Main, refused: Refused, folder: Path) -> None:
    assert says(refused(main, GOOD, "--speed-rounds", "0"), "--speed-rounds ... at least 1 ... 0")
    assert calls(folder) == []
