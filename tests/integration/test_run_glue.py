"""Classification and regression through examples/glue/run_glue.py and fairseq's own commands."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from ..conftest import ROOT
from . import forked
from .conftest import Command, Setting

Write = Callable[[Path, Sequence[str]], Path]
TASK = ["--user-dir", ROOT / "bnb_fairseq", "--task", "sentence_prediction_bnb"]


class Ran(NamedTuple):
    """What the script printed on stdout and stderr."""

    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def run(device: str) -> Run:
    """Run the script in a process of its own."""

    def finish(*arguments: str | Path, fails: bool = False) -> Ran:
        cpu = ["--cpu"] if device == "cpu" else []
        done = forked.capture("python", ROOT / "examples" / "glue" / "run_glue.py", *cpu, *arguments)
        assert (done.returncode != 0) == fails, f"{done.args} ended with {done.returncode}:\n{done.stderr[-6000:]}"
        return Ran(done.stdout, done.stderr)

    return finish


@pytest.fixture(scope="module")
def english(setting: Setting) -> list[str]:
    return [line for line in (setting.text / "train.en").read_text(encoding="utf-8").splitlines() if "\t" not in line]


def rows_of(head: str, texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    pairs = zip(texts[::2], texts[1::2], labels, strict=False)
    return [head, *(f"{i}\t{a}\t{b}\t{label}" for i, (a, b, label) in enumerate(pairs))]


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory, write: Write, english: list[str]) -> Path:
    """Made-up RTE and STS-B: pairs of neighbouring lines."""
    folder = tmp_path_factory.mktemp("glue")
    for name in ("RTE", "STS-B"):
        (folder / name).mkdir()
    for part, texts in {"train": english[:130], "dev": english[130:180]}.items():
        labels = ["entailment", "not_entailment", "entailment"] * 30
        write(folder / "RTE" / f"{part}.tsv", rows_of("index\tsentence1\tsentence2\tlabel", texts, labels))
        scores = ["0.000", "2.500", "5.000"] * 30
        write(folder / "STS-B" / f"{part}.tsv", rows_of("index\tsentence1\tsentence2\tscore", texts, scores))
    for name in ("RTE", "STS-B"):
        rows = rows_of("index\tsentence1\tsentence2", english[180:188], [""] * 4)
        write(folder / name / "test.tsv", [row.rstrip("\t") for row in rows])
    return folder


@pytest.mark.slow
def test_two_tasks_and_again(run: Run, glue: Path, setting: Setting, tmp_path: Path) -> None:
    line = [glue, "--task", "RTE", "--task", "STS-B", "--output", tmp_path / "out", "--bert-encoder", setting.bert]
    line += ["--max-epoch", "1", "--max-positions", "40", "--lr", "1e-4"]
    first = run(*line, "--predict-test")
    assert re.search(
        r"^\| task \| train \| dev \| accuracy \| Pearson \| Spearman \| majority \| score \|\n\|[-: |]+\|\n"
        r"\| RTE \| 65 \| 25 \| \d+\.\d \| - \| - \| 68\.0 \| \d+\.\d \|\n"
        r"\| STS-B \| 65 \| 25 \| - \| -?\d+\.\d \| -?\d+\.\d \| - \| -?\d+\.\d \|\n"
        r"\| average of 2 \|.*\| -?\d+\.\d \|\n",
        first.out,
    ), first.out
    for said in (
        "[1/2] RTE",
        "[2/2] STS-B",
        "embedding rows",
        "dense layer from the pooler",
        "cut to 40 tokens",
        "epoch 1",
    ):
        assert said in first.err
    predicted = (tmp_path / "out" / "submission" / "RTE.tsv").read_text().splitlines()
    assert predicted[0] == "index\tprediction"
    assert [row.split("\t")[0] for row in predicted[1:]] == ["0", "1", "2", "3"]
    assert {row.split("\t")[1] for row in predicted[1:]} <= {"entailment", "not_entailment"}
    logs = [(tmp_path / "out" / name / "train.log").stat().st_mtime_ns for name in ("RTE", "STS-B")]
    again = run(*line)
    assert again.err.count("trained before: using its result") == 2
    assert again.out.partition("```")[0] == first.out.partition("```")[0]
    assert [(tmp_path / "out" / name / "train.log").stat().st_mtime_ns for name in ("RTE", "STS-B")] == logs
    other = run(*line, "--seed", "2", fails=True)
    assert re.search(r"^run_glue: .*RTE was made with other options or data \(seed: 1 then, 2 now\)", other.err, re.M)


@pytest.fixture(scope="module")
def learnt(
    run: Run, setting: Setting, english: list[str], write: Write, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Ran]:
    """Three columns without header; the section follows from the first word."""
    folder = tmp_path_factory.mktemp("learnt")
    sections = {"open": "web pages", "save": "mail", "print": "games"}
    begun = [" ".join(line.split()[:3]) for line in english[:200]]
    rows = [f"{word} {text}\tof {word}\t{section}" for text in begun for word, section in sections.items()]
    data = ["--train", write(folder / "train.tsv", rows[:480]), "--dev", write(folder / "dev.tsv", rows[480:])]
    columns = ["--no-header", "--text-columns", "1", "--label-column", "3"]
    start = ["--bert-encoder", setting.bert, "--lr", "1e-3", "--max-epoch", "5", "--batch-size", "16"]
    return folder, run("--task", "custom", *data, *columns, *start, "--output", folder / "out")


def test_what_can_be_learnt_is_learnt(learnt: tuple[Path, Ran]) -> None:
    assert "| custom | 480 | 120 | 100.0 | 33.3 | 100.0 |" in learnt[1].out


def test_the_same_by_fairseqs_commands(
    learnt: tuple[Path, Ran], setting: Setting, fairseq: Command, tmp_path: Path, write: Write, device: str
) -> None:
    """fairseq-preprocess makes the same data-bin folder, and fairseq-validate finds the same accuracy."""
    folder = learnt[0]
    rows = {part: (folder / f"{part}.tsv").read_text().splitlines() for part in ("train", "dev")}
    for part, lines in rows.items():
        write(tmp_path / f"{part}.text", [" ".join(line.split("\t")[0].split()) for line in lines])
    prefixes = ["--trainpref", tmp_path / "train.text", "--validpref", tmp_path / "dev.text"]
    made = [*TASK, "--only-source", *prefixes, "--srcdict", setting.bert, "--destdir", tmp_path / "bin" / "input0"]
    fairseq("preprocess", *made, plugin=False)
    ours, theirs = folder / "out" / "custom" / "data-bin" / "input0", tmp_path / "bin" / "input0"
    for file in ("dict.txt", "dict.wordpiece.json", "train.bin", "valid.bin"):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file
    checkpoint = folder / "out" / "custom" / "checkpoints" / "checkpoint_best.pt"
    options = [
        *TASK,
        "--criterion",
        "sentence_prediction",
        "--path",
        checkpoint,
        "--valid-subset",
        "valid",
        "--batch-size",
        7,
    ]
    options += ["--cpu"] if device == "cpu" else []
    output = fairseq("validate", folder / "out" / "custom" / "data-bin", *options, plugin=False)
    assert "accuracy 100" in output, output[-2000:]


@pytest.mark.slow
def test_the_whole_model_of_a_checkpoint(
    run: Run, glue: Path, setting: Setting, checkpoint: Path, tmp_path: Path
) -> None:
    line = [glue, "--task", "RTE", "--output", tmp_path, "--pretrained-checkpoint", checkpoint]
    line += ["--classify-with", "decoder", "--max-epoch", "1", "--max-positions", "60"]
    assert "--dictionary must name the BERT or dict.txt" in " ".join(run(*line, fails=True).err.split())
    done = run(*line, "--dictionary", setting.data_bin / "dict.en.txt")
    assert "| RTE | 65 | 25 |" in done.out
    assert "classified with the decoder" in done.out
    trained = torch.load(tmp_path / "RTE" / "checkpoints" / "checkpoint_best.pt")
    before = torch.load(checkpoint)["model"]["encoder.embeddings.tokens.weight"]
    after = trained["model"]["body.network.encoder.embeddings.tokens.weight"]
    assert (before - after).abs().max() < 0.01
    assert trained["cfg"]["model"]["latent_size"] == 0


def test_faults_are_told_in_one_line(run: Run, glue: Path, setting: Setting, tmp_path: Path, write: Write) -> None:
    rows = (glue / "RTE" / "train.tsv").read_text().splitlines()
    (tmp_path / "RTE").mkdir()
    write(tmp_path / "RTE" / "train.tsv", [*rows, "65\tIt is.\tIt was.\tperhaps"])
    line = [tmp_path, "--task", "RTE", "--output", tmp_path / "out", "--bert-encoder", setting.bert]
    assert f"run_glue: {tmp_path}/RTE/dev.tsv: there is no such file" in run(*line, fails=True).err.splitlines()
    write(tmp_path / "RTE" / "dev.tsv", rows)
    message = "train.tsv, line 67, column 'label': must be one of entailment, not_entailment, but is 'perhaps'"
    assert f"run_glue: {tmp_path}/RTE/{message}" in run(*line, fails=True).err.splitlines()
    assert not (tmp_path / "out").exists()
