"""Checkpoints of strangers in every command: none of what they say runs, and the command fails."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from bnb_fairseq.checkpoints.reader import DIGEST, read_checkpoint
from bnb_fairseq.checkpoints.tensors import tensor_digest

from ..conftest import ROOT
from ..hostile import KINDS, write_hostile
from ..unit.checkpoints.conftest import good  # noqa: F401  # a fixture
from ..unit.conftest import random_parameters  # noqa: F401  # which it needs
from . import forked
from .hostile_matrix import COMMANDS, commands, try_all

EVERY_KIND = "average"  # the quickest command
SHARE = 4  # tests of every kind


def assert_all_in_order(kinds: Sequence[str], chosen: Sequence[str], good: Path, folder: Path) -> None:  # noqa: F811
    for name, outcome in try_all(kinds, chosen, good, folder):
        assert outcome.in_order, (name, outcome.ran, outcome.status)
    assert not (folder / "save").is_dir() or not list((folder / "save").iterdir())


@pytest.mark.parametrize("other", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_every_command(number: int, other: bool, good: Path, tmp_path: Path) -> None:  # noqa: F811
    """With two kinds each; ``python -m tests.integration.hostile_matrix`` tries all of them."""
    kind = list(KINDS)[-1 - number if other else number]
    assert_all_in_order([kind], [COMMANDS[number]], good, tmp_path)


@pytest.mark.parametrize("share", range(SHARE))
def test_every_kind(share: int, good: Path, tmp_path: Path) -> None:  # noqa: F811
    assert_all_in_order(list(KINDS)[share::SHARE], [EVERY_KIND], good, tmp_path)


def test_a_training_writes_a_digest_and_goes_on_from_it(good: Path, tmp_path: Path) -> None:  # noqa: F811
    words = commands(good, good.parent, tmp_path)["train: restore"]
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
        assert "bad.pt is damaged (" in bad


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


def test_the_plugin_that_a_checkpoint_names_is_not_imported(good: Path, tmp_path: Path) -> None:  # noqa: F811
    """It is where its training had this package, or one that imports it: no reason to fail."""
    marker, plugin = tmp_path / "marker", tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    state = torch.load(good)
    for named, noted in ((plugin, True), (Path("/elsewhere/bnb_fairseq"), False)):
        state["cfg"]["common"]["user_dir"] = str(named)
        torch.save(state, tmp_path / "x.pt")
        for name in ("generate", "validate", "average"):
            words = commands(tmp_path / "x.pt", good.parent, tmp_path)[name]
            printed = forked.run(words, tmp_path, tmp_path / "log", [str(ROOT)])
            assert (f"x.pt: --user-dir {named} of its training is not imported" in printed) == noted
    assert not marker.exists()
    words = commands(tmp_path / "x.pt", good.parent, tmp_path)["generate"]
    words[words.index("--user-dir") + 1] = str(plugin)  # one that imports this package, and is trusted
    (plugin / "__init__.py").write_text("import bnb_fairseq\n")
    state["cfg"]["common"]["user_dir"] = "/elsewhere/plugin"
    torch.save(state, tmp_path / "x.pt")
    assert "is not imported" not in forked.run(words, tmp_path, tmp_path / "log", [str(ROOT)])
