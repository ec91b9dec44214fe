"""Tiny files of GLUE's nine tasks, with the columns that GLUE's own files have, and the script's modules."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Part = Callable[[str], Any]
Write = Callable[[Path, Sequence[str]], Path]

PARSES = ["parse"] * 4
MNLI_HEAD = ["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"]
MNLI_HEAD += ["sentence1_parse", "sentence2_parse", "sentence1", "sentence2"]
STSB_HEAD = ["index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2"]
MRPC_HEAD = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
QQP_HEAD = ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
PAIR = ["index", "sentence1", "sentence2", "label"]


def stsb(i: int, *fields: str) -> list[str]:
    return [str(i), "main-news", "file", "2015", "7", "s1", "s2", *fields]


def mnli(i: int, *fields: str) -> list[str]:
    return [str(i), "12c", "12e", "fiction", *PARSES, *fields]


# task -> file -> rows, the header among them where GLUE's file has one.
FILES: Mapping[str, Mapping[str, list[list[str]]]] = {
    "CoLA": {
        "train.tsv": [["gj04", "1", "", 'He said "go.'], ["cj99", "0", "*", "Go he  said ."], ["ks08", "1", "", "Go."]],
        "dev.tsv": [["gj04", "0", "*", "Said he go."]],
        "test.tsv": [["index", "sentence"], ["0", "He goes."], ["1", "Goes he."]],
    },
    "SST-2": {
        "train.tsv": [["sentence", "label"], ["a fine film ", "1"], ["a bad film ", "0"]],
        "dev.tsv": [["sentence", "label"], ["a film", "1"]],
        "test.tsv": [["index", "sentence"], ["0", "no film"]],
    },
    "MRPC": {
        "train.tsv": [MRPC_HEAD, ["1", "7", "8", "He went.", 'He "left.'], ["0", "9", "10", "It rained.", "Sunny."]],
        "dev.tsv": [MRPC_HEAD, ["1", "3", "4", "A dog.", "One dog."]],
        "test.tsv": [["index", *MRPC_HEAD[1:]], ["0", "5", "6", "Left.", "Right."]],
    },
    "STS-B": {
        "train.tsv": [[*STSB_HEAD, "score"], stsb(0, "A cat.", "A dog.", "1.250"), stsb(1, "One.", "1.", "5")],
        "dev.tsv": [[*STSB_HEAD, "score"], stsb(0, "Up.", "Down.", "0.000")],
        "test.tsv": [STSB_HEAD, stsb(0, "In.", "Out.")],
    },
    "QQP": {
        "train.tsv": [QQP_HEAD, ["5", "1", "2", "Why?", "How?", "0"], ["6", "3", "4", "Who?", "Who is it?", "1"]],
        "dev.tsv": [QQP_HEAD, ["9", "1", "4", "Why?", "Who is it?", "0"]],
        "test.tsv": [["id", "question1", "question2"], ["0", "When?", "At what time?"]],
    },
    "MNLI": {
        "train.tsv": [
            [*MNLI_HEAD, "label1", "gold_label"],
            mnli(0, "It is.", "It was.", "neutral", "neutral"),
            mnli(1, "It is.", "It is not.", "contradiction", "contradiction"),
        ],
        **{
            f"dev_{half}.tsv": [
                [*MNLI_HEAD, "label1", "label2", "label3", "label4", "label5", "gold_label"],
                mnli(0, f"{half}.", "It is.", "neutral", "neutral", "entailment", "neutral", "neutral", "entailment"),
            ]
            for half in ("matched", "mismatched")
        },
        **{f"test_{half}.tsv": [MNLI_HEAD, mnli(0, f"Is {half}.", "Is.")] for half in ("matched", "mismatched")},
    },
    "QNLI": {
        "train.tsv": [["index", "question", "sentence", "label"], ["0", "Who?", "Me.", "not_entailment"]],
        "dev.tsv": [["index", "question", "sentence", "label"], ["0", "When?", "Now.", "entailment"]],
        "test.tsv": [["index", "question", "sentence"], ["0", "Where?", "Here."]],
    },
    "RTE": {
        "train.tsv": [PAIR, ["0", "It is.", "It was.", "not_entailment"], ["1", "Both.", "One.", "entailment"]],
        "dev.tsv": [PAIR, ["0", "All.", "Some.", "entailment"]],
        "test.tsv": [PAIR[:3], ["0", "None.", "Some."]],
    },
    "WNLI": {
        "train.tsv": [PAIR, ["0", "He told him.", "He told.", "1"], ["1", "She is.", "Is she.", "0"]],
        "dev.tsv": [PAIR, ["0", "They.", "He.", "0"]],
        "test.tsv": [PAIR[:3], ["0", "We.", "She."]],
    },
}


@pytest.fixture(scope="session")
def run_glue(load_script: Callable[..., ModuleType]) -> ModuleType:
    return load_script("run_glue", "examples/glue")


@pytest.fixture(scope="session")
def part(run_glue: ModuleType) -> Part:
    """One of the modules that the script is made of."""
    return lambda name: importlib.import_module(f"glue.{name}")


@pytest.fixture
def glue(tmp_path: Path, write: Write) -> Path:
    """A folder with the files above."""
    for task, files in FILES.items():
        (tmp_path / task).mkdir()
        for file, rows in files.items():
            write(tmp_path / task / file, ["\t".join(row) for row in rows])
    return tmp_path
