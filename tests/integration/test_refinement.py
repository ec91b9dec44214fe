"""The page of a trained checkpoint as a user makes them, beside what fairseq-interactive writes."""

from collections.abc import Callable
from pathlib import Path

from ..facts import says
from ..unit.serving.saved import saved
from . import forked
from .conftest import TRAIN, Setting, with_noise

SENTENCES = ["This page describes the <files> & options.", "The file is open."]
Command = Callable[..., str]


def show(*arguments: object, stdin: str = "", fails: bool = False) -> str:
    done = forked.capture("python", "-m", "bnb_fairseq.cli.refinement", *arguments, "--cpu", stdin=stdin)
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    return done.stderr if fails else done.stdout


def test_last_texts_are_those_of_interactive(
    setting: Setting, tmp_path: Path, fairseq: Command, translations: Callable[[str], dict[int, str]]
) -> None:
    model = ["--bert-encoder", setting.bert, "--encoder-layers", 1, "--decoder-layers", 2, "--canvas-tokens"]
    fairseq("train", setting.data_bin, *TRAIN, *model, "--max-update", 3, "--save-dir", tmp_path)
    checkpoint = with_noise(tmp_path / "checkpoint_last.pt", "embeddings", 1.0)
    common = [setting.data_bin, "--path", checkpoint, "--iter-decode-max-iter", 2]
    lines = "".join(f"{sentence}\n" for sentence in SENTENCES)
    output = show(*common, "--html", tmp_path / "a.html", stdin=lines)
    expected = translations(fairseq("interactive", *common, stdin=lines))
    assert len(expected) == 2 and all(expected.values())
    last = [block.splitlines()[-2].split("\t", 1)[1] for block in output.rstrip("\n").split("\n\n")]
    assert last == [expected[0], expected[1]]
    rows = saved(tmp_path / "a.html")
    assert [row["source"] for row in rows] == SENTENCES
    assert [row["row"]["text"] for row in rows] == last
    assert [row["row"]["written"][0]["passes"][-1]["text"] for row in rows] == last


def test_one_line_says_what_is_wrong(setting: Setting, checkpoint: Path, tmp_path: Path) -> None:
    line = [setting.data_bin, "--path", checkpoint, "--html", tmp_path / "a.html", "--sentence", "The file is open."]
    error = show(*line, "--iter-decode-max-iter", 3, fails=True)
    assert says(error, "bnb-refinement: --iter-decode-max-iter ... 0 ... --canvas-tokens ... 3")
    assert len(error.splitlines()) == 1
    show(*line)
    assert "1 of at most 1 passes made" in (tmp_path / "a.html").read_text(encoding="utf-8")
