"""Shards, empty parts and storage formats, through fairseq's commands."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ..facts import named
from . import forked
from .conftest import TRAIN, Setting

Command = Callable[..., str]
Write = Callable[[Path, Sequence[str]], Path]


def sentence_lines(output: str) -> list[str]:
    return sorted(line for line in output.splitlines() if line[:2] in {"S-", "T-", "H-", "D-", "P-"})


def test_shards_merge_by_id(setting: Setting, checkpoint: Path, fairseq: Command) -> None:
    line = ["generate", setting.data_bin, "--path", checkpoint, "--batch-size", 64, "--scoring", "sacrebleu"]
    whole = sentence_lines(fairseq(*line))
    shards = [sentence_lines(fairseq(*line, "--num-shards", 2, "--shard-id", number)) for number in (0, 1)]
    assert len(whole) == 5 * 300
    assert all(shards)
    assert sorted(shards[0] + shards[1]) == whole
    assert sentence_lines(fairseq(*line, "--num-shards", 20, "--shard-id", 19)) == []


def test_an_empty_test_part(setting: Setting, checkpoint: Path, fairseq: Command, write: Write, tmp_path: Path) -> None:
    for side in ("en", "de"):
        write(tmp_path / f"empty.{side}", [])
    languages: list[str | Path] = [
        "-s",
        "en",
        "-t",
        "de",
        "--srcdict",
        setting.bert,
        "--tgtdict",
        setting.sentencepiece,
    ]
    output = fairseq(
        "preprocess", *languages, "--trainpref", tmp_path / "empty", "--destdir", tmp_path / "no", fails=True
    )
    assert named(output, "--trainpref", f"{tmp_path}/empty.en", "1", "0")
    languages[5::2] = [setting.data_bin / f"dict.{language}.txt" for language in ("en", "de")]
    fairseq("preprocess", *languages, "--testpref", tmp_path / "empty", "--destdir", tmp_path / "bin")
    output = fairseq("generate", tmp_path / "bin", "--path", checkpoint, "--results-path", tmp_path / "results")
    assert named(output, "test", "empty")
    assert (tmp_path / "results" / "generate-test.txt").read_text() == ""
    line = ["validate", tmp_path / "bin", "--path", checkpoint, "--valid-subset", "test", "--batch-size", 8]
    assert named(fairseq(*line, fails=True), "ValueError", "test", "empty")
    tuned = ["bnb-tune", tmp_path / "bin", "--path", checkpoint, "--gen-subset", "test", "--ctc-beam", 2, "--cpu"]
    done = forked.capture(*tuned)
    assert done.returncode == 1
    assert named(done.stderr, "bnb-tune", "--gen-subset", "test", "empty")


@pytest.mark.parametrize("name", ["cached", pytest.param("lazy", marks=pytest.mark.slow)])
def test_storage_formats(name: str, setting: Setting, fairseq: Command, tmp_path: Path) -> None:
    text = [x for part in ("train", "valid") for x in (f"--{part}pref", setting.text / "valid")]
    dictionaries = ["--srcdict", setting.bert, "--tgtdict", setting.sentencepiece]
    fairseq("preprocess", "-s", "en", "-t", "de", *text, *dictionaries, "--destdir", tmp_path, "--dataset-impl", name)
    line = ["train", tmp_path, *TRAIN, "--arch", "bnb_transformer_tiny", "--max-update", 1, "--no-save"]
    for option in ([], ["--dataset-impl", name]):
        assert "valid on 'valid' subset | loss" in fairseq(*line, *option)
    output = fairseq(*line, "--dataset-impl", "mmap", fails=True)
    assert named(output, "--dataset-impl", "cached", f"{tmp_path}/valid.en-de.en", "mmap")
