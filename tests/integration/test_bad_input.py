"""What a user can get wrong, through fairseq's commands: the message names option, constraint and value."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from .conftest import TRAIN, Setting

Command = Callable[..., str]
Write = Callable[[Path, Sequence[str]], Path]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bert-encoder", "/no/such/bert"], ["--bert-encoder", "/no/such/bert", "neither a directory"]),
        (["--bert-encoder", "TEXT"], ["--bert-encoder", "config.json"]),
        (["--bert-encoder", "BERT", "--encoder-embed-dim", "48"], ["--encoder-embed-dim 48", "must be 64"]),
        (["--bert-encoder", "BERT", "--decoder-layers", "9"], ["--decoder-layers 9", "between 1 and the 4 layers"]),
        (["--ctc-upsample", "0"], ["--ctc-upsample must be above 0 and finite, but is 0"]),
        (["--glancing", "0.5"], ["--glancing needs --canvas-tokens"]),
        (
            ["--canvas-tokens", "--glancing", "5:1"],
            ["--glancing must be a share from 0 to 1 or FROM:TO@UPDATES", "'5:1'"],
        ),
        (["--criterion", "label_smoothed_cross_entropy"], ["--criterion", "must be bnb_loss"]),
        (["--arch", "transformer_iwslt_de_en"], ["--criterion", "not bnb_loss"]),
        (["--length-control", "magic"], ["--length-control", "invalid choice: 'magic'", "ctc", "length"]),
        (["--label-smoothing", "1.5"], ["--label-smoothing must lie in [0, 1), but is 1.5"]),
        (["--token-loss", "oaxe"], ["--token-loss oaxe needs --length-control length, but the model has ctc"]),
        (["--latent", "vae", "--latent-size", "0"], ["--latent-size must be positive with --latent vae, but is 0"]),
        (["--kl-schedule", "cyclic"], ["--kl-total-updates or --max-update must be at least --kl-cycles, but is 0"]),
        (
            ["--kl-schedule", "cyclic", "--max-update", "9", "--kl-zero-share", "0.7", "--kl-increase-share", "0.6"],
            ["--kl-zero-share and --kl-increase-share must", "at most 1", "0.7 and 0.6"],
        ),
        (
            ["--ctc-canvas-length", "600"],
            ["--ctc-canvas-length must lie between 0 and the 512 positions of encoder and decoder, but is 600"],
        ),
        (
            ["--kl-factor", "2", "--length-range", "64"],
            [
                "--length-range 64 has no effect: it needs --length-control length; ",
                "--kl-factor 2.0 has no effect: it needs --latent vae",
            ],
        ),
        (["--best-checkpoint-metric", "blue"], ["--best-checkpoint-metric must be", "loss, nll_loss", "but is blue"]),
        (["--ctc-upsample", "0.5"], ["/train: --ctc-upsample must be at least", "but is 0.5: ", "of 3,000 training"]),
        (
            ["--length-control", "length", "--length-range", "1"],
            ["/train: --length-range must be at least", "but is 1: ", "of 3,000 training pairs"],
        ),
        (["--num-shards", "2"], ["--num-shards 2 and --shard-id 0 are for fairseq-generate and fairseq-validate"]),
        (["--dataset-impl", "fasta"], ["--dataset-impl must be one of mmap, cached, lazy, but is fasta"]),
    ],
)
def test_train_refuses(
    options: list[str], message: list[str], setting: Setting, fairseq: Command, tmp_path: Path
) -> None:
    named = {"BERT": str(setting.bert), "TEXT": str(setting.text)}
    options = [named.get(option, option) for option in options]
    sizes = [] if "--bert-encoder" in options or "--arch" in options else ["--arch", "bnb_transformer_tiny"]
    output = fairseq("train", setting.data_bin, *TRAIN, *sizes, *options, "--save-dir", tmp_path, fails=True)
    for part in message:
        assert part in output, output[-2000:]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--iter-decode-max-iter", "4"], ["--iter-decode-max-iter must be 0", "--canvas-tokens", "is 4"]),
        (["--lenpen", "0.6"], ["cannot use --lenpen 0.6"]),
        (["--iter-decode-with-beam", "999"], ["--iter-decode-with-beam must be at most", "but is 999"]),
        (["--ctc-lm-path", "lm.arpa"], ["--ctc-lm-path must stand beside --ctc-beam", "lm.arpa"]),
        (["--ctc-beam", "5", "--ctc-lm-path", "missing.arpa"], ["--ctc-lm-path must be", "no file 'missing.arpa'"]),
        (["--prefix-size", "1"], ["cannot use --prefix-size 1"]),
        (["--bpe", "gpt2"], ["--bpe must not be set", "as on its source and target side, but is gpt2"]),
    ],
)
def test_generate_refuses(
    options: list[str], message: list[str], setting: Setting, checkpoint: Path, fairseq: Command
) -> None:
    output = fairseq("generate", setting.data_bin, "--path", checkpoint, *options, fails=True)
    for part in message:
        assert part in output, output[-2000:]


def test_other_dictionary_than_the_checkpoints(
    setting: Setting, checkpoint: Path, fairseq: Command, tmp_path: Path
) -> None:
    prefix = ["-s", "en", "-t", "de", "--testpref", setting.text / "test"]
    dictionaries = ["--srcdict", setting.sentencepiece, "--tgtdict", setting.sentencepiece]
    fairseq("preprocess", *prefix, *dictionaries, "--destdir", tmp_path)
    output = fairseq("generate", tmp_path, "--path", checkpoint, fails=True)
    assert "the source dictionary of" in output
    assert "is not the one that the checkpoint was trained with" in output


def test_too_long_sentences(setting: Setting, checkpoint: Path, fairseq: Command, write: Write, tmp_path: Path) -> None:
    long = "the file " * 40  # 82 tokens with [CLS] and [SEP]; 160 positions allow a canvas of 2 x 80
    typed = f"the cell\n{long}\n"  # each line is a buffer of its own, in which numbers begin anew
    output = fairseq("interactive", setting.data_bin, "--path", checkpoint, stdin=typed, fails=True)
    shown = f"1 of 1 sentences are too long; sentence 0 of 1, '{long[:60]}...', has"
    for part in (shown, "lengths (82, 0)", "--max-source-positions", "allow (80, 160)", "--truncate-source"):
        assert part in output, output[-2000:]
    write(tmp_path / "long.en", ["the file", "the file"])
    write(tmp_path / "long.de", ["die Datei", "die Datei " * 100])
    dictionaries = ["--srcdict", setting.data_bin / "dict.en.txt", "--tgtdict", setting.data_bin / "dict.de.txt"]
    prefix = ["-s", "en", "-t", "de", "--testpref", tmp_path / "long"]
    fairseq("preprocess", *prefix, *dictionaries, "--destdir", tmp_path)
    output = fairseq("generate", tmp_path, "--path", checkpoint, fails=True)
    assert "1 of 2 sentences are too long; sentence 1" in output
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
    assert "--trainpref: source and target need the same number of lines" in output
    assert "x.en has 2" in output
    assert "x.de has 1" in output
    (tmp_path / "x.de").write_bytes(b"eins\nzw\xffei\n")
    output = fairseq("preprocess", *arguments, fails=True)
    assert "x.de, line 2 is not valid UTF-8 (byte 0xff at column 3)" in output
    (tmp_path / "x.de").write_bytes(b"eins\r\nzw\rei\r\n")
    output = fairseq("preprocess", *arguments, fails=True)
    assert "x.de, line 2 has a carriage return inside (column 3)" in output
    assert not list((tmp_path / "bin").glob("*.??"))  # what fairseq-preprocess writes but its log


def test_broken_utf8_in_interactive(setting: Setting, checkpoint: Path, fairseq: Command) -> None:
    output = fairseq("interactive", setting.data_bin, "--path", checkpoint, stdin=b"the \xff file\n", fails=True)
    assert "--input: line 1 is not valid UTF-8, near 'the \\udcff file'" in output


def test_checkpoint_with_foreign_classes(setting: Setting, checkpoint: Path, fairseq: Command, tmp_path: Path) -> None:
    proof = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (proof,))

    state = torch.load(checkpoint)
    state["extra_state"]["payload"] = Payload()
    torch.save(state, tmp_path / "evil.pt", pickle_module=pickle)
    output = fairseq("generate", setting.data_bin, "--path", tmp_path / "evil.pt", fails=True)
    assert "evil.pt: must be a checkpoint of fairseq, but names getattr, which is not loaded" in output
    assert not proof.exists()


def test_missing_data(fairseq: Command, checkpoint: Path, setting: Setting, tmp_path: Path) -> None:
    output = fairseq("generate", tmp_path / "nothing", "--path", checkpoint, fails=True)
    assert "data must be a folder made by fairseq-preprocess" in output
    output = fairseq("generate", setting.data_bin, "--path", checkpoint, "--gen-subset", "dev", fails=True)
    assert "no dev.en-de.en in" in output
