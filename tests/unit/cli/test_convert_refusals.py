"""What the converter says to bad input: one line that names what is wrong, and nothing is written."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bnb_fairseq.cli import convert

from ...facts import says

SEED = Path(__file__).resolve().parents[2] / "fixtures" / "seed-checkpoint"
EXPECTED = SEED / "expected.safetensors"
TIED = "decoder.cls.predictions.decoder.weight"
Run = Callable[..., str | int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process; its exit status, or the one line of its error."""

    def main(*arguments: object) -> str | int:
        monkeypatch.setattr(sys, "argv", ["bnb-convert", *map(str, arguments)])
        try:
            return convert.main()
        except SystemExit as end:
            assert isinstance(end.code, str)
            assert "\n" not in end.code
            return end.code

    return main


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    """A copy of the fixture, to be spoilt."""
    return Path(shutil.copytree(SEED, tmp_path / "seed"))


def edit_config(seed: Path, **changes: Any) -> None:
    path = seed / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(seed: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tensors = dict(torch.load(seed / "pytorch_model.bin"))
    change(tensors)
    torch.save(tensors, seed / "pytorch_model.bin")


def assert_refused(run: Run, seed: Path, message: str, *more: object) -> None:
    assert says(run("seed-to-fairseq", seed, seed.with_name("out") / "x.pt", *more), f"bnb-convert: {message}")
    assert not seed.with_name("out").exists()


def test_another_model(run: Run, seed: Path) -> None:
    edit_config(seed, model_type="bert", is_vae="yes")
    message = (
        f"{seed}/config.json: not a usable seed checkpoint: model_type must be 'encoder-decoder', but "
        "is 'bert'; is_vae must be true or false, but is 'yes'"
    )
    assert_refused(run, seed, message)
    assert says(run("verify", seed, EXPECTED), f"bnb-convert: {message}")
    (seed / "config.json").unlink()
    assert_refused(run, seed, f"{seed}: not a seed checkpoint, because it has no config.json")


def test_an_output_layer_that_is_not_tied(run: Run, seed: Path) -> None:
    edit_tensors(seed, lambda tensors: tensors.update({TIED: tensors[TIED] * 1.5}))
    tied = f"{TIED} ... equal decoder.bert.embeddings.word_embeddings.weight, to which it is tied"
    assert_refused(run, seed, f"{seed}: its tensors do not fit its config.json: {tied}")


def test_a_file_with_more_than_tensors(run: Run, seed: Path) -> None:
    edit_tensors(seed, lambda tensors: tensors.update(head=nn.Linear(2, 2)))
    refused = "... a file of tensors ... torch.nn.modules.linear.Linear, which is not loaded"
    assert_refused(run, seed, f"{seed}/pytorch_model.bin: {refused}")
    (seed / "pytorch_model.bin").unlink()
    assert_refused(run, seed, f"{seed}: holds neither model.safetensors nor pytorch_model.bin")


def test_sizes_of_another_model(run: Run, seed: Path) -> None:
    """A configuration that does not go with its tensors: all of them are listed."""
    config = json.loads((seed / "config.json").read_text())
    edit_config(seed, encoder={**config["encoder"], "num_hidden_layers": 1, "vocab_size": 91})
    told = run("seed-to-fairseq", seed, seed.with_name("out") / "x.pt")
    assert isinstance(told, str)
    assert told.count("encoder.encoder.layer.1.") == 16
    assert told.count(" is an unknown tensor") == 16
    assert says(told, "encoder.embeddings.word_embeddings.weight ... (90, 32) ... (91, 32)")
    edit_config(seed, encoder={**config["encoder"], "num_attention_heads": 5})
    assert_refused(run, seed, "bnb_transformer: --encoder-attention-heads ... divide the width 32 ... 5")


def test_vocabularies_canvas_and_languages(run: Run, seed: Path, tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    vocabulary = tmp_path / "vocab.txt"
    assert_refused(
        run,
        seed,
        f"--source-vocab ... the checkpoint's 90 symbols ... {vocabulary} has 6; "
        f"--target-vocab ... the checkpoint's 110 symbols ... {vocabulary} has 6",
        *("--source-vocab", vocabulary, "--target-vocab", vocabulary),
    )
    message = "--canvas-length ... between 1 and the checkpoint's 64 positions ... 65"
    assert_refused(run, seed, message, "--canvas-length", 65)
    message = "--target-lang ... --source-lang ... en"
    assert_refused(run, seed, message, "--source-lang", "en", "--target-lang", "en")


def test_what_is_there_is_not_overwritten(run: Run, seed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "x.pt"
    assert run("seed-to-fairseq", seed, output) == 0
    written = {path: path.read_bytes() for path in output.parent.iterdir()}
    assert run("seed-to-fairseq", seed, output) == 0  # the same again
    assert {path: path.read_bytes() for path in output.parent.iterdir()} == written
    edit_config(seed, decoder_start_token_id=4)
    message = f"{output.parent}/dict.src.txt ... not exist yet ... another dictionary; choose another folder for OUT.pt"
    assert says(run("seed-to-fairseq", seed, output.with_name("y.pt")), f"bnb-convert: {message}")
    assert {path: path.read_bytes() for path in output.parent.iterdir()} == written
    assert says(run("seed-to-fairseq", seed, tmp_path), f"bnb-convert: OUT.pt ... a folder ... {tmp_path}")
    for command in ("fairseq-to-seed", "fairseq-to-hf"):
        message = f"{seed} ... a new or empty folder ... config.json, expected.safetensors, generation_config.json"
        assert says(run(command, output, seed), f"bnb-convert: {message}")
        assert run(command, output, tmp_path / command) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fairseq-to-hf", "fairseq-to-seed", "out", "seed"]


def test_verification_ends_with_status_1(run: Run, seed: Path, tmp_path: Path) -> None:
    assert run("verify", seed, EXPECTED) == 0
    assert run("verify", seed, EXPECTED, "--tolerance", "1e-8") == 1
    tensors = load_file(EXPECTED)
    for name, index in (("argmax", (4, 23)), ("kl_uniform", (0,)), ("encoder_hidden", (4, 20, 31))):
        changed = {**tensors, name: tensors[name].clone()}
        changed[name][index] += changed[name].new_tensor(1 if name == "argmax" else 0.001)
        save_file(changed, tmp_path / "x.safetensors")
        assert run("verify", seed, tmp_path / "x.safetensors") == 1, name
    missing = tmp_path / "missing.safetensors"
    assert run("verify", seed, missing) == f"bnb-convert: {missing}: there is no such file"


def random_change(tensor: Tensor) -> Tensor:
    return tensor + 0.05 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.slow
def test_verification_sees_a_change_in_any_tensor(run: Run, seed: Path) -> None:
    """All but those that nothing can see: the pooler, and the bias of keys, which shifts all scores alike."""
    original = dict(torch.load(SEED / "pytorch_model.bin"))
    unseen = ("pooler", "key.bias", "position_ids")
    other = {TIED: "decoder.bert.embeddings.word_embeddings.weight", TIED[:-6] + "bias": "decoder.cls.predictions.bias"}
    names = [name for name in original if not any(part in name for part in unseen) and name not in other]
    assert len(names) == 97
    for name in names:
        changed = {**original, name: random_change(original[name])}
        changed |= {tied: changed[table] for tied, table in other.items()}
        torch.save(changed, seed / "pytorch_model.bin")
        assert run("verify", seed, EXPECTED) == 1, name
