"""What a user can get wrong, through fairseq's commands: the message names option, constraint and value."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from ..facts import named
from .conftest import TRAIN, Setting

Command = Callable[..., str]
Write = Callable[[Path, Sequence[str]], Path]


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (["--bert-encoder", "/no/such/bert"], ["--bert-encoder", "/no/such/bert"]),
        (["--bert-encoder", "TEXT"], ["--bert-encoder", "config.json"]),
        (["--bert-encoder", "BERT", "--encoder-embed-dim", "48"], ["--encoder-embed-dim", "48", "64"]),
        (["--bert-encoder", "BERT", "--decoder-layers", "9"], ["--decoder-layers", "9", "1", "4"]),
        (["--ctc-upsample", "0"], ["--ctc-upsample", "0", "finite", "0.0"]),
        (["--glancing", "0.5"], ["--glancing", "--canvas-tokens"]),
        (
            ["--canvas-tokens", "--glancing", "5:1"],
            ["--glancing", "0", "1", "FROM:TO@UPDATES", "5:1"],
        ),
        (["--criterion", "label_smoothed_cross_entropy"], ["--criterion", "bnb_loss", "label_smoothed_cross_entropy"]),
        (["--arch", "transformer_iwslt_de_en"], ["--criterion", "bnb_loss", "bnb_loss"]),
        (["--length-control", "magic"], ["--length-control", "invalid choice: 'magic'", "ctc", "length"]),
        (["--label-smoothing", "1.5"], ["--label-smoothing", "0", "1", "1.5"]),
        (["--token-loss", "oaxe"], ["--token-loss", "oaxe", "--length-control", "length", "ctc"]),
        (["--latent", "vae", "--latent-size", "0"], ["--latent-size", "--latent", "vae", "0"]),
        (["--kl-schedule", "cyclic"], ["--kl-total-updates", "--max-update", "--kl-cycles", "0"]),
        (
            ["--kl-schedule", "cyclic", "--max-update", "9", "--kl-zero-share", "0.7", "--kl-increase-share", "0.6"],
            ["--kl-zero-share", "--kl-increase-share", "1", "0.7", "0.6"],
        ),
        (
            ["--ctc-canvas-length", "600"],
            ["--ctc-canvas-length", "0", "512", "600"],
        ),
        (
            ["--kl-factor", "2", "--length-range", "64"],
            ["--length-range 64", "--length-control length", "--kl-factor 2.0", "--latent vae"],
        ),
        (["--best-checkpoint-metric", "blue"], ["--best-checkpoint-metric", "loss", "nll_loss", "blue"]),
        (["--ctc-upsample", "0.5"], ["train", "--ctc-upsample", "0.5", "3,000"]),
        (
            ["--length-control", "length", "--length-range", "1"],
            ["train", "--length-range", "1", "3,000"],
        ),
        (["--num-shards", "2"], ["--num-shards 2", "--shard-id 0", "fairseq-generate", "fairseq-validate"]),
        (["--dataset-impl", "fasta"], ["--dataset-impl", "mmap", "cached", "lazy", "fasta"]),
    ],
)
def test_train_refuses(
    options: list[str], facts: list[str], setting: Setting, fairseq: Command, tmp_path: Path
) -> None:
    paths = {"BERT": str(setting.bert), "TEXT": str(setting.text)}
    options = [paths.get(option, option) for option in options]
    sizes = [] if "--bert-encoder" in options or "--arch" in options else ["--arch", "bnb_transformer_tiny"]
    output = fairseq("train", setting.data_bin, *TRAIN, *sizes, *options, "--save-dir", tmp_path, fails=True)
    assert named(output, *facts), output[-2000:]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (["--iter-decode-max-iter", "4"], ["--iter-decode-max-iter", "0", "--canvas-tokens", "4"]),
        (["--lenpen", "0.6"], ["--lenpen", "0.6"]),
        (["--iter-decode-with-beam", "999"], ["--iter-decode-with-beam", "999"]),
        (["--ctc-lm-path", "lm.arpa"], ["--ctc-lm-path", "--ctc-beam", "lm.arpa"]),
        (["--ctc-beam", "5", "--ctc-lm-path", "missing.arpa"], ["--ctc-lm-path", "missing.arpa"]),
        (["--prefix-size", "1"], ["--prefix-size", "1"]),
        (["--bpe", "gpt2"], ["--bpe", "source and target", "gpt2"]),
    ],
)
def test_generate_refuses(
    options: list[str], facts: list[str], setting: Setting, checkpoint: Path, fairseq: Command
) -> None:
    output = fairseq("generate", setting.data_bin, "--path", checkpoint, *options, fails=True)
    assert named(output, *facts), output[-2000:]


def test_other_dictionary_than_the_checkpoints(
    setting: Setting, checkpoint: Path, fairseq: Command, tmp_path: Path
) -> None:
    prefix = ["-s", "en", "-t", "de", "--testpref", setting.text / "test"]
    dictionaries = ["--srcdict", setting.sentencepiece, "--tgtdict", setting.sentencepiece]
    fairseq("preprocess", *prefix, *dictionaries, "--destdir", tmp_path)
    output = fairseq("generate", tmp_path, "--path", checkpoint, fails=True)
    assert named(output, "source", f"{tmp_path}/dict.en.txt", setting.data_bin / "dict.en.txt")


def test_too_long_sentences(setting: Setting, checkpoint: Path, fairseq: Command, write: Write, tmp_path: Path) -> None:
    long = "the file " * 40  # 82 tokens with [CLS] and [SEP]; 160 positions allow a canvas of 2 x 80
    typed = f"the cell\n{long}\n"  # each line is a buffer of its own, in which numbers begin anew
    output = fairseq("interactive", setting.data_bin, "--path", checkpoint, stdin=typed, fails=True)
    facts = ("1", "1", f"'{long[:60]}...'", "82", "0", "--max-source-positions", "80", "160", "--truncate-source")
    assert named(output, *facts), output[-2000:]
    write(tmp_path / "long.en", ["the file", "the file"])
    write(tmp_path / "long.de", ["die Datei", "die Datei " * 100])
    dictionaries = ["--srcdict", setting.data_bin / "dict.en.txt", "--tgtdict", setting.data_bin / "dict.de.txt"]
    prefix = ["-s", "en", "-t", "de", "--testpref", tmp_path / "long"]
    fairseq("preprocess", *prefix, *dictionaries, "--destdir", tmp_path)
    output = fairseq("generate", tmp_path, "--path", checkpoint, fails=True)
    assert named(output, "1 of 2", "sentence 1", "--max-target-positions")
    skipped = fairseq("generate", tmp_path, "--path", checkpoint, "--skip-invalid-size-inputs-valid-test")
    assert "D-0" in skipped
    assert "D-1" not in skipped


def test_truncate_source(setting: Setting, checkpoint: Path, fairseq: Command, write: Write, tmp_path: Path) -> None:
    write(tmp_path / "long.en", ["the file " * 40])
    write(tmp_path / "long.de", ["die Datei"])
    dictionaries = ["--srcdict", setting.data_bin / "dict.en.txt", "--tgtdict", setting.data_bin / "dict.de.txt"]
    prefix = ["-s", "en", "-t", "de", "--testpref", tmp_path / "long"]
    fairseq("preprocess", *prefix, *dictionaries, "--destdir", tmp_path)
    for limit, longest in ([], 80), (["--max-source-positions", 40], 40):  # 160 positions allow a canvas of 2 x 80
        output = fairseq("generate", tmp_path, "--path", checkpoint, "--truncate-source", *limit)
        assert "D-0" in output
        assert f"test: 1 of 1 sources (100.0%) cut to {longest} tokens" in output


def test_broken_utf8_and_unequal_counts(setting: Setting, fairseq: Command, write: Write, tmp_path: Path) -> None:
    dictionaries = ["--srcdict", setting.bert, "--tgtdict", setting.sentencepiece]
    arguments = ["-s", "en", "-t", "de", "--trainpref", tmp_path / "x", *dictionaries, "--destdir", tmp_path / "bin"]
    write(tmp_path / "x.en", ["one", "two"])
    write(tmp_path / "x.de", ["eins"])
    output = fairseq("preprocess", *arguments, fails=True)
    assert named(output, "--trainpref", "x.en", "2", "x.de", "1")
    (tmp_path / "x.de").write_bytes(b"eins\nzw\xffei\n")
    output = fairseq("preprocess", *arguments, fails=True)
    assert named(output, "x.de", "2", "UTF-8", "0xff", "3")
    (tmp_path / "x.de").write_bytes(b"eins\r\nzw\rei\r\n")
    output = fairseq("preprocess", *arguments, fails=True)
    assert named(output, "x.de", "2", "carriage return", "3")
    assert not list((tmp_path / "bin").glob("*.??"))  # what fairseq-preprocess writes but its log


def test_broken_utf8_in_interactive(setting: Setting, checkpoint: Path, fairseq: Command) -> None:
    output = fairseq("interactive", setting.data_bin, "--path", checkpoint, stdin=b"the \xff file\n", fails=True)
    assert named(output, "--input", "1", "UTF-8", "the \\udcff file")


def test_checkpoint_with_foreign_classes(setting: Setting, checkpoint: Path, fairseq: Command, tmp_path: Path) -> None:
    proof = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (proof,))

    state = torch.load(checkpoint)
    state["extra_state"]["payload"] = Payload()
    torch.save(state, tmp_path / "evil.pt", pickle_module=pickle)
    output = fairseq("generate", setting.data_bin, "--path", tmp_path / "evil.pt", fails=True)
    assert named(output, "evil.pt", "getattr")
    assert not proof.exists()


def test_missing_data(fairseq: Command, checkpoint: Path, setting: Setting, tmp_path: Path) -> None:
    output = fairseq("generate", tmp_path / "nothing", "--path", checkpoint, fails=True)
    assert named(output, "data", f"{tmp_path}/nothing")
    output = fairseq("generate", setting.data_bin, "--path", checkpoint, "--gen-subset", "dev", fails=True)
    assert named(output, "dev.en-de.en", setting.data_bin)
