"""Where the files of a model are looked for, and what is said where they are missing."""

import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import bnb_fairseq.plugin  # noqa: F401  # registers the tasks
from bnb_fairseq.folder.manifest import SEARCH
from bnb_fairseq.hub.checkpoints import find_checkpoints, find_data_bin, load

from ...facts import names

LANGUAGES = {"source_lang": "en", "target_lang": "de", "data": "somewhere/data-bin"}


def write_checkpoints(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        torch.save({"cfg": {"task": {"_name": "sentence_prediction_bnb"}}, "model": {}}, folder / name)
    return folder


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["checkpoint_last.pt", "checkpoint_best.pt", "model.pt"], "model.pt"),
        (["checkpoint_last.pt", "checkpoint_best.pt"], "checkpoint_best.pt"),
        (["checkpoint_last.pt", "checkpoint3.pt"], "checkpoint_last.pt"),
        (["averaged.pt"], "averaged.pt"),
    ],
)
def test_a_folder_alone(names: list[str], chosen: str, tmp_path: Path) -> None:
    write_checkpoints(tmp_path, *names)
    assert find_checkpoints(tmp_path, None) == [tmp_path / chosen]


def test_files_and_folders_with_names(tmp_path: Path) -> None:
    folder = write_checkpoints(tmp_path / "a", "x.pt", "y.pt")
    x, y = folder / "x.pt", folder / "y.pt"
    assert find_checkpoints(str(x), None) == find_checkpoints(folder, "x.pt") == [x]
    assert find_checkpoints(f"{x}:{y}", None) == find_checkpoints(folder, "x.pt:y.pt") == [x, y]


def test_missing_checkpoints(tmp_path: Path) -> None:
    folder = write_checkpoints(tmp_path / "a", "x.pt", "y.pt")
    with pytest.raises(ValueError, match=names(folder, "model.pt", "x.pt", "y.pt")):
        find_checkpoints(folder, None)
    with pytest.raises(ValueError, match=names(tmp_path, "*.pt", "none")):
        find_checkpoints(tmp_path, None)
    (tmp_path / SEARCH).write_text("{}")
    with pytest.raises(ValueError, match=names(tmp_path, "model folder", "Translator.load")):
        find_checkpoints(tmp_path, None)
    for arguments in ((folder, "z.pt"), (folder / "z.pt", None), (f"{folder}/x.pt:{folder}/z.pt", None)):
        with pytest.raises(ValueError, match=names("a/z.pt", "x.pt", "y.pt")):
            find_checkpoints(*arguments)
    with pytest.raises(ValueError, match=names("model_name_or_path", "org/name")):
        find_checkpoints("org/name", None)
    with pytest.raises(ValueError, match=names("model_name_or_path", "https://a/b")):
        find_checkpoints("https://a/b", None)
    with pytest.raises(ValueError, match=names("checkpoint_file", "None", "x.pt", "a/x.pt")):
        find_checkpoints(folder / "x.pt", "x.pt")


def test_archives_are_not_unpacked(tmp_path: Path) -> None:
    folder = write_checkpoints(tmp_path / "a", "x.pt")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(folder / "x.pt", "../../outside.pt")
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as members:
        members.write(folder / "x.pt", "a/x.pt")
    before = sorted(tmp_path.parent.rglob("*"))
    for name in ("model.tar.gz", "model.pt"):
        with pytest.raises(ValueError, match=names("model_name_or_path", name)):
            find_checkpoints(tmp_path / name, None)
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_data_bin(tmp_path: Path) -> None:
    for language in ("en", "de"):
        (tmp_path / f"dict.{language}.txt").write_text("a 1\n")
    inner = tmp_path / "ckpt"
    inner.mkdir()
    assert find_data_bin(str(tmp_path), inner, LANGUAGES) == tmp_path.resolve()
    assert find_data_bin("..", inner, LANGUAGES) == find_data_bin(".", tmp_path, {}) == tmp_path.resolve()
    with pytest.raises(ValueError, match=names("data_name_or_path", "dict.en.txt", "dict.de.txt")):
        find_data_bin(".", inner, LANGUAGES)
    with pytest.raises(ValueError, match=names("data_name_or_path", "missing")):
        find_data_bin("missing", inner, LANGUAGES)
    (tmp_path / "dict.de.txt").unlink()
    with pytest.raises(ValueError, match=names(tmp_path, "dict.de.txt")):
        find_data_bin(tmp_path, inner, LANGUAGES)


def save(folder: Path, state: Any) -> Sequence[Path]:
    torch.save(state, folder / "x.pt")
    return [folder / "x.pt"]


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    wrong = tmp_path / "x.pt"
    wrong.write_text("not a checkpoint")
    with pytest.raises(ValueError, match=names("x.pt", "fairseq")):
        load([wrong], ".", {})
    for state in ({"weight": torch.zeros(2)}, torch.zeros(2)):
        with pytest.raises(ValueError, match=names("x.pt", "fairseq")):
            load(save(tmp_path, state), ".", {})
    whole = write_checkpoints(tmp_path / "a", "y.pt") / "y.pt"
    wrong.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ValueError, match=names("x.pt", "fairseq")):
        load([wrong], ".", {})


def test_a_checkpoint_that_writes_no_text(trained: dict[str, Path], tmp_path: Path) -> None:
    state = torch.load(trained["ctc"])
    state["cfg"]["task"]["_name"] = "sentence_prediction_bnb"
    with pytest.raises(ValueError, match=names("translation_bnb", "sentence_prediction_bnb")):
        load(save(tmp_path, state), trained["ctc"].parent, {})
    state["cfg"] = None
    with pytest.raises(ValueError, match=names("x.pt", "fairseq")):
        load(save(tmp_path, state), trained["ctc"].parent, {})
