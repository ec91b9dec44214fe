"""Reading checkpoints of strangers: nothing runs, damage is noticed, and the message says what is wrong."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils
from torch import Tensor

from bnb_fairseq.checkpoints.reader import load_models, read_checkpoint, read_state
from bnb_fairseq.checkpoints.tensors import tensor_digest
from bnb_fairseq.translator import Translator

from ...facts import naming
from ...hostile import KINDS, code, write_hostile

RUNS = ("fconv", "fconv by its older entry", "fconv as the only entry", "lstm")  # in the hands of fairseq alone
FLIPS = 30


@pytest.mark.parametrize("kind", KINDS)
def test_what_would_run_is_refused(kind: str, good: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = write_hostile(kind, good, tmp_path / "evil.pt", marker)
    readers: list[Callable[[], Any]] = [
        lambda: read_checkpoint(evil),
        lambda: read_state(evil, {"data": str(good.parent)}),
        lambda: load_models([evil], {"data": str(good.parent)}),
        lambda: Translator.load(evil, data=good.parent),
    ]
    for read in readers:
        with pytest.raises(ValueError, match=r"^\S+/evil\.pt: must be "):
            read()
    assert not marker.exists()


@pytest.mark.parametrize("kind", RUNS)
def test_the_tasks_own_door_is_shut_too(kind: str, good: Path, tmp_path: Path) -> None:
    """Whoever calls fairseq's loader from Python."""
    marker = tmp_path / "marker"
    evil = write_hostile(kind, good, tmp_path / "evil.pt", marker)
    with pytest.raises(ValueError, match=r"model must be one that can be trusted, but its --arch must be one of"):
        checkpoint_utils.load_model_ensemble_and_task([str(evil)], {"data": str(good.parent)})
    assert not marker.exists()


def test_the_traps_work(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    eval(code(marker))
    assert marker.exists()


def test_messages_name_option_limit_and_value(good: Path, tmp_path: Path) -> None:
    expected = {
        "fconv": ["--arch", "bnb_transformer", "bert2bert", "'fconv'"],
        "task": ["--task", "translation_bnb", "'multilingual_translation'"],
        "criterion": ["--criterion", "bnb_loss", "'ctc'"],
        "optimizer": ["adam_betas", "literal", "__import__"],
        "many layers": ["encoder_layers 1,000,000,000", "parameters, but the file has", " bytes"],
        "arguments": ["args"],
        "meter": ["'OrderedDict'"],
        "pickle": ["names posix.mkdir"],
    }
    for kind, parts in expected.items():
        with pytest.raises(ValueError, match=r"evil\.pt") as raised:
            read_checkpoint(write_hostile(kind, good, tmp_path / "evil.pt", tmp_path / "marker"))
        assert all(part in str(raised.value) for part in parts), raised.value


def changed(good: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    state = torch.load(good)
    change(state)
    torch.save(state, path)
    return path


def first_tensor(state: dict[str, Any]) -> str:
    return next(iter(state["model"]))


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (lambda tensor: tensor.index_fill(0, torch.tensor([0]), float("nan")), "must be finite, but .* are nan"),
        (lambda tensor: tensor / 0, "must be finite, but .* are (inf|-inf|nan)"),
        (lambda tensor: tensor.to(torch.int64), "must be of a floating type, but is int64"),
        (lambda tensor: tensor.to(torch.complex64), "must be of a floating type, but is complex64"),
        (lambda tensor: torch.zeros(1).expand(10**12), r"must store all values of its shape, but \(1000000000000,\)"),
        (lambda tensor: "text", "holds no tensor as"),
    ],
)
def test_tensors_that_are_no_weights(
    replace: Callable[[Tensor], Any], message: str, good: Path, tmp_path: Path
) -> None:
    def change(state: dict[str, Any]) -> None:
        name = first_tensor(state)
        state["model"][name] = replace(state["model"][name])

    bad = changed(good, tmp_path / "bad.pt", change)
    name = first_tensor(torch.load(good))
    with pytest.raises(ValueError, match=message) as raised:
        read_checkpoint(bad)
    assert name in str(raised.value)


def test_digest(good: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def change(state: dict[str, Any]) -> None:
        state["model"][first_tensor(state)].view(-1)[0] += 1e-3

    def forget(state: dict[str, Any]) -> None:
        change(state)
        del state["task_state"]["tensors"]

    with pytest.raises(ValueError, match=r"bad\.pt: .* the digest of its tensors must be [0-9a-f]{64}, but is"):
        read_checkpoint(changed(good, tmp_path / "bad.pt", change))
    assert "has no digest" not in caplog.text
    old = changed(good, tmp_path / "old.pt", forget)
    for _ in range(2):
        read_state(old)
    assert caplog.text.count(f"{old}: has no digest of its tensors") == 1


def test_half_precision_has_the_digest_of_what_is_saved() -> None:
    """fairseq saves half precision as float32."""
    half = {"w": torch.randn(5).half(), "v": torch.randn(3).bfloat16()}
    assert tensor_digest(half) == tensor_digest({name: tensor.float() for name, tensor in half.items()})
    assert tensor_digest(half) != tensor_digest({"w": half["w"].float() * 2, "v": half["v"]})


def test_every_flipped_bit_is_noticed(good: Path, tmp_path: Path) -> None:
    content, chosen = good.read_bytes(), random.Random(1)
    bad = tmp_path / "bad.pt"
    for place in [*(chosen.randrange(len(content)) for _ in range(FLIPS)), 0, 30, len(content) - 1]:
        bit = 1 << chosen.randrange(8)
        bad.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"bad\.pt"):
            read_checkpoint(bad)
        with pytest.raises(ValueError, match=r"bad\.pt"):
            Translator.load(bad, data=good.parent)
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        bad.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"bad\.pt"):
            read_checkpoint(bad)
    bad.write_bytes(content)
    assert read_checkpoint(bad).keys() == torch.load(good).keys()


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "pipe"), (Path("/dev/zero"), "device"), (tmp_path, "folder")):
        with pytest.raises(ValueError, match=naming(f"{path}: ... {what}")):
            read_checkpoint(path)
    with pytest.raises(ValueError, match=r"none\.pt: must be a checkpoint of fairseq, but there is no such file$"):
        read_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("bpe", {"_name": "gpt2", "gpt2_encoder_json": "https://example.org/encoder.json"}),
        ("bpe", {"_name": "subword_nmt", "bpe_codes": "/etc/passwd"}),
    ],
)
def test_files_that_fairseqs_tokenizers_name_are_not_read(
    section: str, options: dict[str, str], good: Path, tmp_path: Path
) -> None:
    def change(state: dict[str, Any]) -> None:
        state["cfg"][section] = options

    bad = changed(good, tmp_path / "bad.pt", change)
    text = ["the cell"]
    found = Translator.load(bad, data=good.parent).translate(text)
    assert found == Translator.load(good, data=good.parent).translate(text)
