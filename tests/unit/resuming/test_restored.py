"""The checkpoint that a training goes on from."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bnb_fairseq.resuming.restored import checkpoint_to_restore, read_task_state


@pytest.mark.parametrize(
    ("files", "restore", "finetune", "expected"),
    [
        ([], "checkpoint_last.pt", None, None),
        (["save/checkpoint_last.pt"], "checkpoint_last.pt", None, "save/checkpoint_last.pt"),
        (["old.pt"], "checkpoint_last.pt", "old.pt", "old.pt"),
        (["old.pt", "save/checkpoint_last.pt"], "checkpoint_last.pt", "old.pt", "save/checkpoint_last.pt"),
        (["old.pt", "save/checkpoint_last.pt"], "old.pt", None, "old.pt"),
        (["save/checkpoint_last.pt"], "missing.pt", None, None),
    ],
)
def test_the_choice_is_fairseqs(
    files: list[str],
    restore: str,
    finetune: str | None,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("save").mkdir()
    for file in files:
        Path(file).touch()
    options = SimpleNamespace(save_dir="save", restore_file=restore, finetune_from_model=finetune, checkpoint_suffix="")
    assert checkpoint_to_restore(options) == (None if expected is None else Path(expected))


def test_read_task_state(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": {"weight": torch.zeros(3)}, "task_state": {"dictionaries": {"source": {"size": 3}}}}, path)
    assert read_task_state(path) == {"dictionaries": {"source": {"size": 3}}}
    torch.save({"model": {}}, path)
    assert read_task_state(path) == {}
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"checkpoint\.pt: must be a checkpoint of fairseq, but"):
        read_task_state(path)
