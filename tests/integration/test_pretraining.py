"""Pretraining on plain text and what follows it."""

import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from .conftest import TRAIN, Setting, make_bert

Command = Callable[..., str]
Write = Callable[[Path, Sequence[str]], Path]
SIZES = ("--encoder-layers", 2, "--decoder-layers", 1, "--latent-size", 0)
BLOCKS = ("--tokens-per-sample", 24, "--batch-size", 16)


@pytest.fixture(scope="module")
def pretrain(fairseq: Command) -> Command:
    return partial(fairseq, task="pretraining_bnb")


@pytest.fixture(scope="module")
def corpus(
    setting: Setting, pretrain: Command, write: Write, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Two shards of documents of three lines each, and what fairseq-preprocess makes of them."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = (setting.text / "train.en").read_text(encoding="utf-8").splitlines()[:900]
    shards = []
    for number, start in enumerate((0, 450)):
        part = [x for i in range(start, start + 450, 3) for x in (*lines[i : i + 3], "")]
        text = write(folder / f"text{number}", part)
        valid = write(folder / "valid", part[:80])
        files = ["--only-source", "--trainpref", text, "--validpref", valid, "--srcdict", setting.bert]
        pretrain("preprocess", *files, "--destdir", folder / f"bin{number}")
        shards.append(folder / f"bin{number}")
    return shards[0], shards[1]


def read(path: Path) -> dict[str, Any]:
    return dict(torch.load(path))


def parameters(path: Path) -> dict[str, torch.Tensor]:
    return dict(read(path)["model"])


def same(first: Path, second: Path) -> bool:
    ours, theirs = parameters(first), parameters(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def pretrained(
    corpus: tuple[Path, Path], setting: Setting, pretrain: Command, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Six updates, saved after three, too."""
    folder = tmp_path_factory.mktemp("pretrained")
    options = ["--bert-encoder", setting.bert, *SIZES, *BLOCKS, "--strategy", "mlm"]
    steps = ["--max-update", 6, "--save-interval-updates", 3]
    output = pretrain("train", corpus[0], *TRAIN, *options, *steps, "--save-dir", folder)
    assert re.search(r"bin0/train: \d+ blocks of 150 documents", output)
    return folder


def test_a_resumed_training_continues_with_the_same_batches(
    pretrained: Path, corpus: tuple[Path, Path], setting: Setting, pretrain: Command, tmp_path: Path
) -> None:
    options = ["--bert-encoder", setting.bert, *SIZES, *BLOCKS, "--strategy", "mlm"]
    resumed = ["--max-update", 6, "--restore-file", pretrained / "checkpoint_1_3.pt"]
    pretrain("train", corpus[0], *TRAIN, *options, *resumed, "--save-dir", tmp_path)
    assert same(tmp_path / "checkpoint_last.pt", pretrained / "checkpoint_last.pt")
    assert not same(tmp_path / "checkpoint_last.pt", pretrained / "checkpoint_1_3.pt")


@pytest.mark.slow
def test_workers_do_not_matter(
    pretrained: Path, corpus: tuple[Path, Path], setting: Setting, pretrain: Command, tmp_path: Path
) -> None:
    options = ["--bert-encoder", setting.bert, *SIZES, *BLOCKS, "--strategy", "mlm", "--max-update", 3]
    for workers in (1, 4):
        folder = tmp_path / str(workers)
        pretrain("train", corpus[0], *TRAIN, *options, "--num-workers", workers, "--save-dir", folder)
        assert same(folder / "checkpoint_last.pt", pretrained / "checkpoint_1_3.pt"), workers


@pytest.mark.slow
def test_workers_and_a_resumed_training_in_the_third_epoch(
    corpus: tuple[Path, Path], setting: Setting, pretrain: Command, tmp_path: Path
) -> None:
    """fairseq's workers live through all epochs, and it makes batches when a process starts."""
    options = ["--bert-encoder", setting.bert, *SIZES, "--tokens-per-sample", 24, "--batch-size", 64]
    options += ["--strategy", "mlm", "--disable-validation", "--save-interval-updates", 1]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    output = pretrain("train", corpus[0], *TRAIN, *options, "--max-epoch", 3, "--save-dir", whole)
    (updates,) = set(re.findall(r"begin training epoch 3.*?num_updates (\d+) ", output, re.DOTALL))
    last = int(updates)
    assert last % 3 == 0
    assert last >= 9
    start = whole / f"checkpoint_3_{last - 2}.pt"
    for workers in (0, 2):
        more = ["--max-epoch", 3, "--num-workers", workers, "--restore-file", start, "--save-dir", resumed]
        pretrain("train", corpus[0], *TRAIN, *options, *more)
        assert same(resumed / "checkpoint_last.pt", whole / "checkpoint_last.pt"), workers
        shutil.rmtree(resumed)
    pretrain("train", corpus[0], *TRAIN, *options, "--max-epoch", 3, "--num-workers", 2, "--save-dir", resumed)
    assert same(resumed / "checkpoint_last.pt", whole / "checkpoint_last.pt")


@pytest.mark.parametrize(
    ("strategy", "model"),
    [
        ("ae", ["--length-control", "length"]),
        pytest.param("plm", ["--length-control", "ctc"], marks=pytest.mark.slow),
        pytest.param("clm", ["--length-control", "length"], marks=pytest.mark.slow),
        pytest.param("clm", ["--length-control", "ctc", "--ctc-upsample", 1], marks=pytest.mark.slow),
        ("mlm", ["--arch", "bert2bert", "--criterion", "label_smoothed_cross_entropy"]),
    ],
)
def test_strategies(
    strategy: str,
    model: list[str],
    corpus: tuple[Path, Path],
    setting: Setting,
    pretrain: Command,
    tmp_path: Path,
) -> None:
    sizes = SIZES[:4] if "bert2bert" in model else SIZES
    options = ["--bert-encoder", setting.bert, *sizes, *BLOCKS, "--strategy", strategy, "--max-update", 2]
    output = pretrain("train", corpus[0], *TRAIN, *options, *model, "--eval-bleu", "--save-dir", tmp_path)
    assert re.search(r"valid on 'valid' subset \| loss [\d.]+ .*\| bleu [\d.]+ ", output), output[-3000:]


def test_training_goes_round_the_shards(
    corpus: tuple[Path, Path], setting: Setting, pretrain: Command, tmp_path: Path
) -> None:
    options = ["--bert-encoder", setting.bert, *SIZES, *BLOCKS, "--max-epoch", 3, "--disable-validation"]
    output = pretrain("train", f"{corpus[0]}:{corpus[1]}", *TRAIN, *options, "--save-dir", tmp_path)
    opened = re.findall(r"(bin\d)/train: \d+ blocks", output)
    # The second is opened once to compare its lengths with the canvas; fairseq may open one epoch's more at the end.
    assert opened[:4] == ["bin0", "bin1", "bin1", "bin0"]


def test_finetuning_with_the_same_dictionaries(
    pretrained: Path, setting: Setting, fairseq: Command, tmp_path: Path
) -> None:
    prefixes = [x for part in ("train", "valid") for x in (f"--{part}pref", setting.text / part)]
    dictionaries = ["--srcdict", setting.bert, "--joined-dictionary"]
    fairseq("preprocess", "-s", "en", "-t", "de", *prefixes, *dictionaries, "--destdir", tmp_path / "bin")
    start = ["--finetune-from-model", pretrained / "checkpoint_last.pt", "--max-update", 1, "--lr", "1e-9"]
    sizes = ["--bert-encoder", setting.bert, *SIZES]
    fairseq("train", tmp_path / "bin", *TRAIN, *sizes, *start, "--save-dir", tmp_path / "checkpoints")
    ours = parameters(tmp_path / "checkpoints" / "checkpoint_last.pt")
    theirs = parameters(pretrained / "checkpoint_last.pt")
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-6) for name in ours)


def test_finetuning_with_other_dictionaries(
    pretrained: Path, setting: Setting, fairseq: Command, translations: Callable[[str], dict[int, str]], tmp_path: Path
) -> None:
    start = ["--pretrained-checkpoint", pretrained / "checkpoint_last.pt", "--latent-size", 0]
    steps = ["--max-update", 1, "--lr", "1e-9", "--save-dir", tmp_path]
    output = fairseq("train", setting.data_bin, *TRAIN, *start, *steps)
    assert re.search(r"model from .*checkpoint_last.pt: \d+ tensors used, 0 ignored, 0 parameters new", output)
    ours, theirs = parameters(tmp_path / "checkpoint_last.pt"), parameters(pretrained / "checkpoint_last.pt")
    for name, tensor in ours.items():
        if tensor.shape == theirs[name].shape:
            assert torch.allclose(tensor, theirs[name], rtol=0, atol=1e-6), name
    assert len(ours["decoder.head.bias"]) != len(theirs["decoder.head.bias"])
    last = ["--path", tmp_path / "checkpoint_last.pt", "--batch-size", 50]
    assert len(translations(fairseq("generate", setting.data_bin, *last))) == 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tokens-per-sample", 2], "--tokens-per-sample must be at least 3 with --strategy mlm"),
        (["--tokens-per-sample", 5, "--strategy", "clm"], "--tokens-per-sample must be at least 6 with --strategy clm"),
        (["--tokens-per-sample", 100], "--tokens-per-sample must be at most 80, as --max-source-positions"),
        (
            ["--tokens-per-sample", 24, "--sample-break-mode", "eos"],
            "bin0/valid: line 4 is empty, but --sample-break-mode eos makes every line",
        ),
        (["--mask-prob", 1.5], "--mask-prob must lie in [0, 1], but is 1.5"),
        (
            ["--leave-unmasked-prob", 0.6, "--random-token-prob", 0.5],
            "--leave-unmasked-prob and --random-token-prob must add up to at most 1, but are 0.6 and 0.5",
        ),
        (
            ["--continuation-min", 0.4],
            "--continuation-min and --continuation-max must lie in (0, 1), in this order, but are 0.4 and 0.3",
        ),
    ],
)
def test_bad_options(
    options: list[Any], message: str, corpus: tuple[Path, Path], setting: Setting, pretrain: Command, tmp_path: Path
) -> None:
    sizes = ["--bert-encoder", setting.bert, *SIZES]
    output = pretrain("train", corpus[0], *TRAIN, *sizes, *options, "--save-dir", tmp_path, fails=True)
    assert message in output, output[-2000:]


def test_documents_too_short_to_split(setting: Setting, pretrain: Command, write: Write, tmp_path: Path) -> None:
    text = write(tmp_path / "text", ["Open the file, then close it.", "", "Open", "it", "", "Save the file first."])
    files = ["--only-source", "--trainpref", text, "--validpref", text, "--srcdict", setting.bert]
    pretrain("preprocess", *files, "--destdir", tmp_path / "bin")
    options = [*SIZES, "--bert-encoder", setting.bert, *BLOCKS, "--strategy", "clm", "--save-dir", tmp_path / "x"]
    output = pretrain("train", tmp_path / "bin", *TRAIN, *options, fails=True)
    assert re.search(
        r"bin/valid: --strategy clm needs .* 4 tokens, but 1 of 3 .*; the first, of \d, .* line 3",
        output,
    ), output[-2000:]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["a", "", "", "b"], ["--only-source"], "--trainpref: {}, line 3 ends an empty document; leave the line out"),
        (["", "a"], ["--only-source"], "--trainpref: {}, line 1 ends an empty document; leave the line out"),
        (["a"], [], "--only-source is needed for a corpus of plain text, but is not set"),
        (["a"], ["--only-source", "-s", "en"], "--source-lang must not be set for a corpus of plain text, but is en"),
    ],
)
def test_bad_corpora(
    lines: list[str],
    options: list[str],
    message: str,
    setting: Setting,
    pretrain: Command,
    write: Write,
    tmp_path: Path,
) -> None:
    text = write(tmp_path / "text", lines)
    files = ["--trainpref", text, "--srcdict", setting.bert, "--destdir", tmp_path / "bin"]
    output = pretrain("preprocess", *files, *options, fails=True)
    assert message.format(text) in output, output[-2000:]


def test_a_folder_of_another_task(setting: Setting, pretrain: Command, tmp_path: Path) -> None:
    output = pretrain("train", setting.data_bin, *TRAIN, "--save-dir", tmp_path, fails=True)
    assert "data must be a folder made by fairseq-preprocess --task pretraining_bnb --only-source, but" in output


@pytest.mark.slow
def test_another_bert_as_decoder(
    corpus: tuple[Path, Path], setting: Setting, pretrain: Command, tmp_path: Path
) -> None:
    other = make_bert(tmp_path / "other", [setting.text / "train.de"], symbols=500, width=64)
    options = ["--bert-encoder", setting.bert, "--bert-decoder", other, *SIZES, *BLOCKS, "--max-update", 1]
    output = pretrain("train", corpus[0], *TRAIN, *options, "--save-dir", tmp_path / "x")
    assert re.search(r"decoder from .*other, .*embedding rows: \d+ of 1,000", output)
