"""What becomes of a folder of checkpoints when a save is interrupted at any moment."""

import logging
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bnb_fairseq.resuming.interrupted import SAVING, begin_save, end_save, mend
from bnb_fairseq.resuming.restored import find_damage, read_progress

LAST, BEST, AT_10, AT_20 = "checkpoint_last.pt", "checkpoint_best.pt", "checkpoint_1_10.pt", "checkpoint_1_20.pt"
VALUES = {10: (3.0, 3.0), 20: (2.0, 2.0), 30: (2.5, 2.0)}  # updates: value of the validation, best so far


def write(path: Path, updates: int, optimizer: bool = True) -> None:
    value, best = VALUES[updates]
    place = {"epoch": 1, "iterations_in_epoch": updates}
    state: dict[str, Any] = {
        "model": {"weight": torch.full((100,), float(updates))},
        "optimizer_history": [{"num_updates": updates}],
        "extra_state": {"train_iterator": place, "val_loss": value, "best": best, "previous_training_time": 7200},
    }
    if optimizer:
        state["last_optimizer_state"] = {}
    torch.save(state, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Change one bit of the tensor."""
    content = bytearray(path.read_bytes())
    at = content.index(torch.full((100,), 20.0).numpy().tobytes())
    content[at + 100] ^= 1
    path.write_bytes(content)


def updates(path: Path) -> int | None:
    progress = read_progress(path) if path.exists() else None
    return None if progress is None else progress.updates


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder with checkpoints of so many updates; those in ``cut`` end too early."""

    def make(damaged: str = "", saving: bool = False, **files: int) -> Path:
        names = {"last": LAST, "best": BEST, "at_10": AT_10, "at_20": AT_20, "at_30": "checkpoint_1_30.pt"}
        for name, number in files.items():
            write(tmp_path / names[name], number)
        for name in damaged.split():
            cut(tmp_path / names[name])
        if saving:
            (tmp_path / SAVING).touch()
        return tmp_path

    return make


def options(folder: Path, **others: Any) -> Any:
    values = {
        "save_dir": str(folder),
        "restore_file": LAST,
        "finetune_from_model": None,
        "checkpoint_suffix": "",
        "keep_best_checkpoints": -1,
        "no_last_checkpoints": False,
    }
    return SimpleNamespace(**(values | others))


@pytest.mark.parametrize(
    ("moment", "files", "last", "best", "aside"),
    [
        ("copying to last", {"at_10": 10, "at_20": 20, "best": 20, "last": 10, "damaged": "last"}, 20, 20, LAST),
        ("copying to last, value worse", {"at_30": 30, "best": 20, "last": 20, "damaged": "last"}, 30, 20, LAST),
        ("copying to best", {"at_10": 10, "at_20": 20, "best": 10, "last": 10, "damaged": "best"}, 20, 20, BEST),
        ("before best", {"at_10": 10, "at_20": 20, "best": 10, "last": 10, "saving": True}, 20, 20, None),
        ("before last", {"at_10": 10, "at_20": 20, "best": 20, "last": 10, "saving": True}, 20, 20, None),
        ("before last, value worse", {"at_30": 30, "best": 20, "last": 20, "saving": True}, 30, 20, None),
        ("before the first file", {"at_10": 10, "best": 10, "last": 10, "saving": True}, 10, 10, None),
        ("of the first save", {"at_10": 10, "saving": True}, 10, 10, None),
        ("of the first save, to best", {"at_10": 10, "best": 10, "saving": True, "damaged": "best"}, 10, 10, BEST),
        ("of the first save, nothing whole", {"saving": True}, None, None, None),
        (
            "mending a best one, after it was set aside",
            {"at_20": 20, "at_30": 30, "last": 30, "saving": True},
            30,
            20,
            None,
        ),
        ("both damaged", {"at_10": 10, "best": 20, "last": 20, "damaged": "last best"}, 10, 10, LAST),
    ],
)
def test_an_interrupted_save_is_completed(
    moment: str,
    files: dict[str, Any],
    last: int | None,
    best: int | None,
    aside: str | None,
    folder: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    place = folder(**files)
    contents = {path.name: path.read_bytes() for path in place.glob("*.pt")}
    mend(options(place))
    assert (updates(place / LAST), updates(place / BEST)) == (last, best)
    assert [find_damage(path) for path in place.glob("*.pt")] == [None] * len(list(place.glob("*.pt")))
    assert not (place / SAVING).exists()
    (line,) = caplog.messages
    assert ("starts anew" if last is None else f"(epoch 1, {last} updates)") in line
    assert {path.name for path in place.glob("*.damaged")} >= ({f"{aside}.damaged"} if aside else set())
    for path in place.glob("*.damaged"):
        assert path.read_bytes() == contents[path.name.removesuffix(".damaged")]
        assert path.name in line
    mend(options(place))
    assert len(caplog.messages) == 1, "a folder in order is left alone"


def test_a_changed_checkpoint_is_not_gone_on_from(folder: Callable[..., Path]) -> None:
    place = folder(at_10=10, at_20=20, last=20, best=20)
    flip(place / LAST)
    flip(place / AT_20)
    flip(place / BEST)
    assert re.fullmatch(r"is damaged \(the checksum of .* differs\)", str(find_damage(place / LAST)))
    mend(options(place))
    assert updates(place / LAST) == 10
    assert sorted(path.name for path in place.iterdir() if "damaged" in path.name) == [f"{LAST}.damaged"]


def test_a_folder_in_order_is_left_alone(folder: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    """As where the user has put an older checkpoint in the place of the last."""
    caplog.set_level(logging.INFO)
    place = folder(at_10=10, at_20=20, best=20, last=10)
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in place.iterdir()}
    mend(options(place))
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in place.iterdir()} == before
    assert not caplog.messages


def test_a_second_damaged_file_gets_another_name(folder: Callable[..., Path]) -> None:
    place = folder(at_10=10, last=10, damaged="last")
    (place / f"{LAST}.damaged").write_text("of another time")
    mend(options(place))
    assert (place / f"{LAST}.damaged").read_text() == "of another time"
    assert (place / f"{LAST}.damaged1").stat().st_size < (place / LAST).stat().st_size


def test_nothing_whole_is_an_error_that_names_the_file(folder: Callable[..., Path]) -> None:
    place = folder(at_10=10, last=10, damaged="last at_10")
    with pytest.raises(ValueError, match=rf"--save-dir {place}: {LAST} ends too early"):
        mend(options(place))
    assert (place / LAST).exists(), "nothing was moved"


def test_files_that_cannot_be_read_are_not_written_over(folder: Callable[..., Path]) -> None:
    """What fairseq writes first is written in one step: such a file is no half of a save."""
    place = folder(saving=True)
    (place / "checkpoint_1_10.pt").write_bytes(pickle.dumps({"model": Path}))
    with pytest.raises(ValueError, match=r"--save-dir .* no checkpoint is whole.*checkpoint_1_10\.pt"):
        mend(options(place))
    assert [path.name for path in place.glob("*.pt")] == ["checkpoint_1_10.pt"]


@pytest.mark.parametrize("option", ["restore_file", "finetune_from_model"])
def test_a_damaged_file_that_an_option_names(option: str, folder: Callable[..., Path]) -> None:
    place = folder(at_10=10, damaged="at_10")
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(ValueError, match=rf"{flag} must be a whole checkpoint, but .*{AT_10} ends too early"):
        mend(options(place, **{option: str(place / AT_10)}))
    write(place / LAST, 10)
    if option == "finetune_from_model":  # which is not read then
        mend(options(place, finetune_from_model=str(place / AT_10)))


def test_several_best_checkpoints_let_fairseq_make_the_save_again(folder: Callable[..., Path]) -> None:
    """Of those only fairseq knows the names."""
    place = folder(at_10=10, at_20=20, best=20, last=10, saving=True)
    mend(options(place, keep_best_checkpoints=2))
    assert updates(place / LAST) == 10
    cut(place / LAST)
    mend(options(place, keep_best_checkpoints=2))
    assert updates(place / LAST) == 20, "the last copy is made when all others are"


def test_no_last_checkpoint_is_made_where_none_is_wanted(folder: Callable[..., Path]) -> None:
    place = folder(at_10=10, best=10, saving=True, damaged="best")
    mend(options(place, no_last_checkpoints=True))
    assert not (place / LAST).exists()
    assert (place / f"{BEST}.damaged").exists()


def test_suffixes_stay_apart(folder: Callable[..., Path]) -> None:
    place = folder(at_20=20)
    write(place / "checkpoint_1_10-small.pt", 10)
    write(place / "checkpoint_last-small.pt", 10)
    cut(place / "checkpoint_last-small.pt")
    mend(options(place, checkpoint_suffix="-small"))
    assert updates(place / "checkpoint_last-small.pt") == 10
    assert not (place / LAST).exists()


def test_a_full_disk_leaves_everything_to_the_next_time(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(at_10=10, last=10, damaged="last")

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfileobj", fail)
        with pytest.raises(OSError, match=rf"--save-dir {place}: {AT_10} cannot be copied to {LAST}: No space left"):
            mend(options(place))
    assert not list(place.glob("*.tmp"))
    mend(options(place))
    assert updates(place / LAST) == 10


def test_begin_and_end_of_a_save(tmp_path: Path) -> None:
    begin_save(options(tmp_path))
    assert (tmp_path / SAVING).exists()
    end_save(options(tmp_path))
    end_save(options(tmp_path))
    assert not (tmp_path / SAVING).exists()


def test_old_formats_and_refused_classes_are_not_damage(tmp_path: Path) -> None:
    path = tmp_path / LAST
    torch.save({"model": {}}, path, _use_new_zipfile_serialization=False)
    assert find_damage(path) is None
    cut(path)
    assert find_damage(path) is not None
    torch.save({"model": tmp_path}, path)
    assert find_damage(path) is None, "torch refuses it with a message of its own"
    path.write_bytes(b"")
    assert find_damage(path) is not None


def test_progress(tmp_path: Path) -> None:
    write(tmp_path / "a.pt", 30, optimizer=False)
    progress = read_progress(tmp_path / "a.pt")
    assert progress is not None
    assert not progress.is_best
    assert progress == (30, 1, 30, 2.0, 2.5, 2.0, False)
    torch.save({"model": {}}, tmp_path / "b.pt")
    assert read_progress(tmp_path / "b.pt") is None
