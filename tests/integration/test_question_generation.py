"""Question generation from SQuAD's JSON to scored questions, with the commands that a user types."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from fairseq.data import data_utils

import bnb_fairseq.plugin  # noqa: F401  (lets torch's safe loader read fairseq's checkpoints)
from bnb_fairseq.data.dictionary import load_data_bin

from ..alike import check_alike
from ..conftest import ROOT
from ..facts import named
from ..squad_files import make_articles, write_squad
from ..unit.metrics.wordnet_files import write_wordnet
from . import forked
from .conftest import TRAIN, make_bert, with_noise

Command = Callable[..., str]
Translations = Callable[[str], dict[int, str]]
Write = Callable[[Path, Sequence[str]], Path]
TASK = "question_generation_bnb"
MODEL = ("--encoder-layers", 2, "--decoder-layers", 1, "--ctc-upsample", "0.5", "--truncate-source")
JUDGED = ("--eval-bleu", "--eval-rouge", "--eval-meteor")
BEST = ("--best-checkpoint-metric", "meteor", "--maximize-best-checkpoint-metric")
SIDES = ("answer", "question")
PARTS = {"train": (40, 0), "valid": (5, 40), "test": (5, 45)}


class Questions(NamedTuple):
    """Questions as text and binarized, a BERT for them, and a model trained on them for a moment."""

    text: Path
    bert: Path
    data_bin: Path
    checkpoint: Path
    log: str


def script(name: str, *arguments: object) -> str:
    """Run a script; what it prints."""
    done = forked.capture("python", ROOT / name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where NLTK looks, in every process of this module."""
    folder = write_wordnet(tmp_path_factory.mktemp("nltk"), [["machine", "engine"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLTK_DATA", str(folder))
        yield


@pytest.fixture(scope="module")
def questions(wordnet: None, fairseq: Command, write: Write, tmp_path_factory: pytest.TempPathFactory) -> Questions:
    folder = tmp_path_factory.mktemp("questions")
    for part, (count, first) in PARTS.items():
        write_squad(folder / f"{part}.json", make_articles(count, first))
        script("examples/squad_qg/squad_to_text.py", folder / f"{part}.json", folder / part)
    texts = [folder / f"train.{side}" for side in SIDES]
    bert = make_bert(folder / "bert", texts, symbols=200, width=32, layers=2)
    prefixes = [option for part in PARTS for option in (f"--{part}pref", folder / part)]
    pair = ["-s", "answer", "-t", "question", "--srcdict", bert, "--tgtdict", bert, "--workers", 2]
    fairseq("preprocess", *pair, *prefixes, "--destdir", folder / "bin", task=TASK)
    options = ["--bert-encoder", bert, *MODEL, *JUDGED, *BEST, "--max-update", 3, "--save-dir", folder / "run"]
    log = fairseq("train", folder / "bin", *TRAIN, *options, task=TASK)
    checkpoint = with_noise(folder / "run" / "checkpoint_best.pt", "embeddings", 1.0)
    return Questions(folder, bert, folder / "bin", checkpoint, log)


def test_what_is_binarized(questions: Questions) -> None:
    """By two processes: an answer, its context, each with its end, as the tokenizer splits them alone."""
    source, target = load_data_bin(questions.data_bin, ("answer", "question"))
    prefix = questions.data_bin / "train.answer-question"
    stored = [data_utils.load_indexed_dataset(f"{prefix}.{side}") for side in SIDES]
    lines = [(questions.text / f"train.{side}").read_text(encoding="utf-8").splitlines() for side in SIDES]
    assert [len(side) for side in stored] == [len(side) for side in lines] == [160, 160]
    for i, (pair, question) in enumerate(zip(*lines, strict=True)):
        segments = [source.encode_line(segment).tolist() for segment in pair.split("\t")]
        assert stored[0][i].tolist() == segments[0] + segments[1]
        assert stored[1][i].tolist() == target.encode_line(question).tolist()


def test_training_by_meteor(questions: Questions) -> None:
    found = {metric: re.findall(rf"valid.*? \| {metric} ([\d.]+)", questions.log) for metric in ("meteor", "rougeL")}
    assert len(found["meteor"]) == len(found["rougeL"]) >= 1, questions.log[-3000:]
    state = torch.load(questions.checkpoint)
    assert state["extra_state"]["best"] == max(map(float, found["meteor"]))
    assert state["cfg"]["task"]["_name"] == TASK
    assert state["task_state"]["dictionaries"]["source"]["size"] > 100


def test_generate_and_interactive_agree(questions: Questions, fairseq: Command, translations: Translations) -> None:
    """And the answer makes a difference: the four questions of a paragraph are not the same."""
    arguments = [questions.data_bin, "--path", questions.checkpoint, "--scoring", "sacrebleu"]
    output = fairseq("generate", *arguments, "--batch-size", 7, task=TASK)
    generated = translations(output)
    text = (questions.text / "test.answer").read_text(encoding="utf-8")
    typed = fairseq(
        "interactive", questions.data_bin, "--path", questions.checkpoint, "--buffer-size", 4, stdin=text, task=TASK
    )
    check_alike(translations(typed), generated)
    assert len(generated) == 20
    assert sum(len({generated[4 * i + k] for k in range(4)}) > 1 for i in range(5)) >= 3
    answer, context = text.splitlines()[1].lower().split("\t")
    (shown,) = re.findall(r"(?m)^S-1\t(.*)", output)
    assert shown.replace(" ", "").startswith(f"{answer}{context}".replace(" ", "")[:20])
    output = fairseq(
        "interactive",
        questions.data_bin,
        "--path",
        questions.checkpoint,
        "--buffer-size",
        4,
        fails=True,
        stdin=f"{text.splitlines()[0]}\nno tab in it\n",
        task=TASK,
    )
    assert named(output, "--input", "2", "no tab")


def test_comparison(questions: Questions, device: str, tmp_path: Path) -> None:
    """With the task of the checkpoint, and METEOR among the metrics."""
    text = questions.text
    line = [questions.data_bin, "--source", text / "test.answer", "--reference", text / "test.question"]
    line += ["--output", tmp_path, "--bootstrap", 20, *(["--cpu"] if device == "cpu" else [])]
    metrics = ["--metrics", "bleu", "rouge", "meteor"]
    done = forked.capture("bnb-score", "checkpoints", *line, f"one pass={questions.checkpoint}", *metrics)
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    assert "| ROUGE-L mean ± 95% | p of ROUGE-L | METEOR | METEOR mean ± 95% | p of METEOR |" in printed
    content: dict[str, Any] = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    assert f"--task {TASK} " in content["runs"]["one pass"]["command"]
    assert "METEOR nrefs:1|" in content["signatures"]
    first, copied, reference = content["rows"]
    assert 0 <= first["meteor"]["meteor"] < copied["meteor"]["meteor"]
    assert reference["meteor"] is None


def test_lines_that_are_refused(questions: Questions, fairseq: Command, write: Write, tmp_path: Path) -> None:
    """Before anything is written."""
    for part in ("train", "valid"):
        for side in SIDES:
            shutil.copy(questions.text / f"valid.{side}", tmp_path / f"{part}.{side}")
    lines = (tmp_path / "valid.answer").read_text(encoding="utf-8").splitlines()
    write(tmp_path / "valid.answer", [*lines[:7], lines[7].replace("\t", " "), *lines[8:]])
    pair = ["-s", "answer", "-t", "question", "--srcdict", questions.bert, "--tgtdict", questions.bert]
    files = ["--trainpref", tmp_path / "train", "--validpref", tmp_path / "valid"]
    output = fairseq("preprocess", *pair, *files, "--destdir", tmp_path / "bin", task=TASK, fails=True)
    assert (
        f"--validpref: {tmp_path}/valid.answer, line 8 must be an answer, one tab and the context, but has " in output
    )
    assert not list((tmp_path / "bin").glob("*.bin"))


@pytest.mark.slow
def test_meteor_that_is_not_there(
    questions: Questions, fairseq: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error where it is to choose the checkpoint, before the training; else a warning, and the others go on."""
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    options = [questions.data_bin, *TRAIN, "--bert-encoder", questions.bert, *MODEL, "--max-update", 1, "--no-save"]
    output = fairseq("train", *options, *JUDGED, task=TASK)
    assert len([line for line in output.splitlines() if named(line, "METEOR", "WordNet")]) == 1
    assert " | meteor " not in output
    assert " | rougeL " in output
    output = fairseq("train", *options, *JUDGED, *BEST, task=TASK, fails=True)
    assert named(output, "--best-checkpoint-metric", "meteor", "WordNet")
    assert "begin training epoch" not in output.lower()
