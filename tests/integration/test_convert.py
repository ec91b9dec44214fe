"""The converter as a user runs it, and fairseq's commands on what it writes."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ..conftest import ROOT
from . import forked

SEED = ROOT / "tests" / "fixtures" / "seed-checkpoint"
SPECIAL = (0, 2, 3)  # [PAD], [CLS], [SEP]
UNKNOWN, MASK = 1, 109
SIZES = {"layers": 2, "embed-dim": 32, "ffn-embed-dim": 64, "attention-heads": 4, "positions": 64}
LIKE_THE_SEED = [x for s in ("encoder", "decoder") for name, n in SIZES.items() for x in (f"--{s}-{name}", n)]
LIKE_THE_SEED += ["--latent-size", 8, "--ctc-canvas-length", 24, "--ctc-blank", "pad"]
Command = Callable[..., str]
Convert = Callable[..., str]
Tensors = dict[str, Tensor]


def convert(*arguments: str | Path | int, status: int = 0) -> str:
    """Run the command; its output, or what it says on stderr if it is to fail with an error."""
    done = forked.capture("python", "-m", "bnb_fairseq.cli.convert", *arguments)
    assert done.returncode == status, f"{done.args} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout or done.stderr


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture as a fairseq checkpoint with a canvas of 24 positions, which its expected values have."""
    path = tmp_path_factory.mktemp("converted") / "new" / "model.pt"
    convert("seed-to-fairseq", SEED, path, "--canvas-length", 24)
    return path


@pytest.fixture(scope="module")
def data_bin(converted: Path, fairseq: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture's sentences as lines of numbered words, preprocessed with the converted dictionaries."""
    folder, expected = tmp_path_factory.mktemp("data"), load_file(SEED / "expected.safetensors")
    for language, name in (("src", "input_ids"), ("tgt", "labels")):
        lines = [" ".join(f"w{i}" for i in row if i not in SPECIAL) for row in expected[name].tolist()]
        for part in ("train", "valid", "test"):
            (folder / f"{part}.{language}").write_text("".join(f"{line}\n" for line in lines))
    arguments = [x for part in ("train", "valid", "test") for x in (f"--{part}pref", folder / part)]
    arguments += ["--srcdict", converted.with_name("dict.src.txt"), "--tgtdict", converted.with_name("dict.tgt.txt")]
    fairseq("preprocess", "-s", "src", "-t", "tgt", *arguments, "--destdir", folder / "bin")
    return folder / "bin"


def changed_seed(folder: Path, change: Callable[[Tensors], object], **config: object) -> Path:
    shutil.copytree(SEED, folder)
    tensors = torch.load(folder / "pytorch_model.bin")
    change(tensors)
    torch.save(dict(tensors), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({**json.loads((SEED / "config.json").read_text()), **config}))
    return folder


def test_verify(tmp_path: Path) -> None:
    table = convert("verify", SEED, SEED / "expected.safetensors").splitlines()
    assert [line.split()[0] for line in table[1:]] == [
        *("encoder_hidden", "latent", "logits", "argmax", "ctc_loss", "kl_uniform", "kl_vae")
    ]
    assert all(line.endswith("  yes") for line in table[1:]), table

    spoilt = changed_seed(tmp_path / "spoilt", lambda t: t["decoder.linear.bias"].add_(0.01 * torch.randn(32)))
    table = convert("verify", spoilt, SEED / "expected.safetensors", status=1).splitlines()
    failed = {line.split()[0] for line in table[1:] if line.endswith("  NO")}
    assert {"logits", "ctc_loss", "kl_uniform"} <= failed <= {"logits", "ctc_loss", "kl_uniform", "argmax"}


@pytest.mark.parametrize("variational", [False, True])
def test_there_and_back_is_bit_equal(variational: bool, converted: Path, tmp_path: Path) -> None:
    seed = SEED
    if variational:
        seed = changed_seed(tmp_path / "seed", lambda tensors: tensors, is_vae=True, dropout_prob=0.5)
        converted = tmp_path / "vae.pt"
        convert("seed-to-fairseq", seed, converted)
        model = torch.load(converted)["cfg"]["model"]
        assert (model["latent"], model["latent_dropout"], model["ctc_canvas_length"]) == ("vae", 0.5, 64)
    convert("fairseq-to-seed", converted, tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["config.json", "pytorch_model.bin"]
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads((seed / "config.json").read_text())
    before, after = torch.load(seed / "pytorch_model.bin"), torch.load(tmp_path / "back" / "pytorch_model.bin")
    assert list(before) == list(after)
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype, name
        assert torch.equal(after[name], tensor), name


def hypotheses(output: str) -> list[str]:
    found = {int(i): text for i, text in re.findall(r"(?m)^H-(\d+)\t[-\d.]+\t(.*)$", output)}
    return [found[i] for i in sorted(found)]


def collapsed(argmax: Sequence[int]) -> str:
    """Merge repeats, drop blanks; write what remains as fairseq does, without special symbols."""
    merged = [symbol for symbol, _ in groupby(argmax)]
    return " ".join(f"w{symbol}" for symbol in merged if symbol not in (*SPECIAL, MASK))


@pytest.mark.parametrize("batch", [1, 5])
def test_generate_writes_what_the_original_computes(
    batch: int, converted: Path, data_bin: Path, fairseq: Command
) -> None:
    argmax = load_file(SEED / "expected.safetensors")["argmax"]
    assert not (argmax == UNKNOWN).any()  # would be written as it is
    output = fairseq("generate", data_bin, "--path", converted, "--batch-size", batch)
    expected = [collapsed(row) for row in argmax.tolist()]
    assert hypotheses(output) == expected
    assert len(set(expected)) == 5
    assert all(len(text.split()) > 1 for text in expected)


def test_interactive_needs_nothing_but_the_converters_folder(converted: Path, data_bin: Path, fairseq: Command) -> None:
    text = (data_bin.parent / "test.src").read_text()
    arguments = ["-s", "src", "-t", "tgt", "--path", converted, "--buffer-size", 5, "--batch-size", 5]
    output = fairseq("interactive", converted.parent, *arguments, stdin=text)
    expected = [collapsed(row) for row in load_file(SEED / "expected.safetensors")["argmax"].tolist()]
    assert hypotheses(output) == expected


@pytest.mark.slow
def test_a_model_that_was_trained_on_goes_back_too(
    converted: Path, data_bin: Path, fairseq: Command, tmp_path: Path
) -> None:
    training = "--arch bnb_transformer --criterion bnb_loss --optimizer adam --lr 1e-3 --max-update 3 --batch-size 5 "
    training += "--data-buffer-size 0 --num-workers 0 --no-epoch-checkpoints"
    arguments = [*training.split(), *LIKE_THE_SEED, "--finetune-from-model", converted, "--save-dir", tmp_path]
    output = fairseq("train", data_bin, *arguments)
    assert f"Loaded checkpoint {converted}" in output
    trained = torch.load(tmp_path / "checkpoint_last.pt")
    before = torch.load(converted)["model"]
    moved = {name: float((tensor - before[name]).abs().max()) for name, tensor in trained["model"].items()}
    assert 0 < max(moved.values()) < 0.02, moved  # it went on from there

    told = convert("fairseq-to-seed", tmp_path / "checkpoint_last.pt", tmp_path / "seed")
    assert "the pooler and the log-variance, which this model does not have, are zeros" in told
    convert("seed-to-fairseq", tmp_path / "seed", tmp_path / "again" / "x.pt", "--canvas-length", 24)
    again = torch.load(tmp_path / "again" / "x.pt")
    assert again["cfg"]["model"] == trained["cfg"]["model"] | {"latent_dropout": 0.0}
    assert list(again["model"]) == list(trained["model"])
    assert all(torch.equal(again["model"][name], tensor) for name, tensor in trained["model"].items())
    for digest in (digest for state in (again, trained) for digest in state["task_state"]["dictionaries"].values()):
        del digest["origin"]
    assert again["task_state"] == trained["task_state"]
    assert set(again) - {"seed"} == set(trained) - {"last_optimizer_state"}
    assert set(again["cfg"]) == set(trained["cfg"])
    assert set(again["optimizer_history"][0]) == set(trained["optimizer_history"][0])
    assert set(again["extra_state"]["train_iterator"]) == set(trained["extra_state"]["train_iterator"])


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    def spoil(tensors: Tensors) -> None:
        del tensors["encoder.pooler.dense.bias"]
        tensors["enc_to_dec_proj.weight"] = torch.zeros(32, 32)
        tensors["decoder.linear.weight"] = torch.zeros(32, 9)

    seed = changed_seed(tmp_path / "seed", spoil)
    told = convert("seed-to-fairseq", seed, tmp_path / "out" / "x.pt", status=1)
    assert told.splitlines()[-1] == (
        f"bnb-convert: {seed}: its tensors do not fit its config.json: encoder.pooler.dense.bias is missing; "
        "enc_to_dec_proj.weight is an unknown tensor; decoder.linear.weight has shape (32, 9), but must have "
        "(32, 8)"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["seed"]


def test_the_checkpoint_is_one_of_fairseqs(converted: Path, data_bin: Path, fairseq: Command) -> None:
    """fairseq-validate loads model, criterion and task from it; the safe loader reads it without the plugin."""
    output = fairseq("validate", data_bin, "--path", converted, "--batch-size", 5)
    assert "nll_loss" in output
    state = torch.load(converted, weights_only=True)
    assert sorted(state["seed"]) == ["config", "names", "tensors"]
    assert state["cfg"]["task"]["data"] == str(converted.parent)
