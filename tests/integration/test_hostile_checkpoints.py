"""Checkpoints of strangers in every command: none of what they say runs, and the command fails."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from bnb_fairseq.checkpoints.reader import DIGEST, read_checkpoint
from bnb_fairseq.checkpoints.tensors import tensor_digest

from ..conftest import ROOT
from ..hostile import write_hostile
from ..unit.checkpoints.conftest import good  # noqa: F401  # a fixture
from ..unit.conftest import random_parameters  # noqa: F401  # which it needs
from . import forked

USER_DIR = ("--user-dir", str(ROOT / "bnb_fairseq"), "--cpu")
TASK = ("--task", "translation_bnb")
TRAIN = (
    *("--arch", "bnb_transformer_tiny", "--criterion", "bnb_loss", "--optimizer", "adam", "--max-update", "1"),
    *("--batch-size", "2", "--num-workers", "0", "--data-buffer-size", "0", "--no-progress-bar"),
)
PYTHON = """
import sys
from bnb_fairseq.models.bnb_transformer import BnbTransformer
print(BnbTransformer.from_pretrained(sys.argv[1], data_name_or_path=sys.argv[2]).translate("the cell"))
"""
SIZES = ("layers=1", "embed-dim=8", "ffn-embed-dim=8", "attention-heads=2")


def script(name: str) -> list[str]:
    return ["python", str(ROOT / "scripts" / f"{name}.py")]


def commands(checkpoint: Path, data: Path, folder: Path) -> dict[str, list[str]]:
    """Every command that reads a checkpoint, by its name."""
    path, out = ["--path", str(checkpoint)], str(folder / "out")
    sizes = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in SIZES]
    train = ["fairseq-train", str(data), *USER_DIR, *TASK, *TRAIN, *sizes, "--save-dir", str(folder / "save")]
    return {
        "generate": ["fairseq-generate", str(data), *USER_DIR, *TASK, *path],
        "generate without --task": ["fairseq-generate", str(data), *USER_DIR, *path],
        "interactive": ["fairseq-interactive", str(data), *USER_DIR, *TASK, *path, "--input", str(folder / "input")],
        "validate": ["fairseq-validate", str(data), *USER_DIR, *TASK, *path, "--batch-size", "2"],
        "validate without --task": ["fairseq-validate", str(data), *USER_DIR, *path, "--batch-size", "2"],
        "from_pretrained": ["python", str(folder / "python.py"), str(checkpoint), str(data)],
        "distill": [*script("distill"), str(data), "--teacher", str(checkpoint), "--output", out, "--cpu"],
        "tune": [*script("tune_search"), str(data), *path, "--cpu"],
        "picture": [*script("picture_refinement"), str(data), *path, "--sentence", "the", "--html", f"{out}.html"],
        "average": [*script("average_checkpoints"), "--checkpoints", str(checkpoint), f"{out}.pt"],
        "convert": [*script("convert_checkpoint"), "fairseq-to-hf", str(checkpoint), out, "--data", str(data)],
        "restore": [*train, "--restore-file", str(checkpoint)],
        "finetune": [*train, "--finetune-from-model", str(checkpoint)],
        "pretrained": [*train, "--pretrained-checkpoint", str(checkpoint)],
    }


COMMANDS = tuple(commands(Path(), Path(), Path()))
CHOSEN = ("fconv", "fconv by its older entry", "task", "fconv_self_att", "transformer's softmax", "arguments")


def try_all(good: Path, folder: Path, kinds: Sequence[str], chosen: Sequence[str]) -> None:  # noqa: F811
    """Give each kind of checkpoint to each command."""
    (folder / "input").write_text("the cell\n")
    (folder / "python.py").write_text(PYTHON)
    marker = folder / "marker"
    for kind in kinds:
        evil = write_hostile(kind, good, folder / "evil.pt", marker)
        for name in chosen:
            words = commands(evil, good.parent, folder)[name]
            printed = forked.run(words, folder, folder / "log", [str(ROOT)], fails=True)
            assert not marker.exists(), (kind, name)
            assert "evil.pt: must be a checkpoint" in printed, (kind, name, printed[-2000:])
            assert not (folder / "save").is_dir() or not list((folder / "save").iterdir()), (kind, name)


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_nothing_runs(number: int, good: Path, tmp_path: Path) -> None:  # noqa: F811
    try_all(good, tmp_path, [CHOSEN[number % len(CHOSEN)]], [COMMANDS[number]])


def test_a_training_writes_a_digest_and_goes_on_from_it(good: Path, tmp_path: Path) -> None:  # noqa: F811
    words = commands(good, good.parent, tmp_path)["restore"]
    words = [*words[: words.index("--restore-file")], "--seed", "1"]
    forked.run(words, tmp_path, tmp_path / "log", [str(ROOT)])
    written = tmp_path / "save" / "checkpoint_last.pt"
    state = read_checkpoint(written)
    assert state["task_state"][DIGEST] == tensor_digest(state["model"])
    printed = forked.run([*words, "--max-update", "2"], tmp_path, tmp_path / "log", [str(ROOT)])
    assert "Loaded checkpoint" in printed
    for place in ("model", "last_optimizer_state"):  # a digest for the one, checksums for both
        content = bytearray(written.read_bytes())
        tensor = state["model"] if place == "model" else state[place]["state"][0]
        matrices = (each for each in tensor.values() if isinstance(each, torch.Tensor) and each.dim() > 1)
        value = next(matrices).contiguous().numpy().tobytes()
        middle = value[len(value) // 2 :][:16]
        assert content.count(middle) >= 1
        content[content.index(middle)] ^= 1
        (tmp_path / "bad.pt").write_bytes(content)
        bad = forked.run([*words, "--restore-file", str(tmp_path / "bad.pt")], tmp_path, tmp_path / "log", fails=True)
        assert "--restore-file must be a whole checkpoint" in bad
        assert "bad.pt is damaged (the checksum of " in bad


def test_a_part_of_a_model_beside_a_good_checkpoint(good: Path, tmp_path: Path) -> None:  # noqa: F811
    """fairseq reads it in place of the checkpoint that was named."""
    marker = tmp_path / "marker"
    (tmp_path / "x.pt").write_bytes(good.read_bytes())
    write_hostile("fconv", good, tmp_path / "x-shard0.pt", marker)
    for name in ("generate", "validate"):
        words = commands(tmp_path / "x.pt", good.parent, tmp_path)[name]
        printed = forked.run(words, tmp_path, tmp_path / "log", [str(ROOT)], fails=True)
        assert "x-shard0.pt: must be a checkpoint" in printed
    assert not marker.exists()


def test_what_no_command_reads_does_not_run(good: Path, tmp_path: Path) -> None:  # noqa: F811
    """A checkpoint's --user-dir is where its training had this package; nothing imports it."""
    marker, plugin = tmp_path / "marker", tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    state = torch.load(good)
    state["cfg"]["common"]["user_dir"] = str(plugin)
    torch.save(state, tmp_path / "x.pt")
    for name in ("generate", "validate"):
        words = commands(tmp_path / "x.pt", good.parent, tmp_path)[name]
        forked.run(words, tmp_path, tmp_path / "log", [str(ROOT)])
    assert not marker.exists()
