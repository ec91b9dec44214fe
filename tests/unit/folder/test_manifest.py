"""A folder's files are those that config.json lists, and lie in the folder."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnb_fairseq.folder.manifest import CARD, CONFIG, LARGEST_CONFIG, SEARCH, WEIGHTS, Manifest, sha256
from bnb_fairseq.translator import Translator

Reseal = Callable[..., Path]


def refused(folder: Path) -> str:
    """Return the error, one line."""
    with pytest.raises(ValueError) as refusal:
        Manifest.read(folder)
    said = str(refusal.value)
    assert "\n" not in said
    assert said.startswith(str(folder))
    return said.removeprefix(str(folder)).removeprefix("/")


def test_what_it_says(folder: Path) -> None:
    manifest = Manifest.read(folder)
    assert (manifest.architecture, manifest.task) == ("bnb_transformer", "translation_bnb")
    assert (manifest.source_lang, manifest.target_lang, manifest.name) == ("en", "de", "ctc")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert manifest.files.keys() == files - {CONFIG, CARD}
    assert manifest.files[WEIGHTS] == sha256(folder / WEIGHTS)


def test_missing_changed_and_added_files(folder: Path) -> None:
    (folder / CARD).write_text("people may change it")
    (folder / "LICENSE").write_text("and add what nothing reads")
    (folder / "source" / ".hidden").touch()
    Manifest.read(folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"\0")
    (folder / SEARCH).unlink()
    (folder / "source" / "tokenizer.json").write_text("{}")
    (folder / "lm.arpa.gz").mkdir()
    assert refused(folder) == (
        f": {WEIGHTS}: it has changed, its sha256 is not the one in {CONFIG}; {SEARCH}: there is no such file; "
        f"lm.arpa.gz: it is not in {CONFIG}; source/tokenizer.json: it is not in {CONFIG}"
    )


def test_files_that_are_not_listed(folder: Path, reseal: Reseal) -> None:
    """Are not read, whatever is in them."""
    reseal(folder, files={})
    assert f"{WEIGHTS}: it is not in {CONFIG}; {SEARCH}: it is not in {CONFIG}; source/dict.txt: " in refused(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../secret", "source/../../secret", "./search.json", "source//dict.txt", "", ".", ".."),
        *("C:/secret", "..\\secret", "a\0b", "\ud800", "x" * 5000, "source"),
    ],
)
def test_paths(name: str, folder: Path, reseal: Reseal) -> None:
    (folder.parent / "secret").write_text("x")
    files = json.loads((folder / CONFIG).read_text())["files"]
    reseal(folder, files={**files, name: "0"})
    said = refused(folder)
    assert "must be a path inside" in said or "no such file" in said or "it is a folder" in said
    assert "sha256" not in said


def test_links(folder: Path, reseal: Reseal) -> None:
    """Within the folder they are files; those that lead out of it are refused, by whatever folder on the way."""
    outside = folder.parent / "outside"
    (folder / "source").rename(outside)
    (folder / "source").symlink_to(outside)
    assert refused(folder).startswith(": source/dict.txt: it is a link that leads out of the folder")
    (folder / "source").unlink()
    outside.rename(folder / "elsewhere")
    (folder / "source").symlink_to("elsewhere")
    Manifest.read(folder)
    (folder / SEARCH).rename(folder.parent / SEARCH)
    (folder / SEARCH).symlink_to(folder.parent / SEARCH)
    assert refused(folder) == f": {SEARCH}: it is a link that leads out of the folder"
    (folder / CONFIG).rename(folder.parent / CONFIG)
    (folder / CONFIG).symlink_to(folder.parent / CONFIG)
    assert refused(folder).startswith(f"{CONFIG}: must be a file of a model folder, but it is a link that leads out")


def test_pipes_and_loops(folder: Path) -> None:
    """End at once."""
    for name in (WEIGHTS, CONFIG):
        (folder / name).unlink()
    os.mkfifo(folder / CONFIG)
    assert "but it is a pipe" in refused(folder)
    (folder / CONFIG).unlink()
    (folder / CONFIG).symlink_to(folder / CONFIG)
    assert "but there is no such file" in refused(folder)


def test_the_hubs_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps files beside ``snapshots`` and links to them."""
    cache = tmp_path / "models--me--mine"
    snapshot = cache / "snapshots" / "0123"
    (cache / "blobs").mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        path.rename(cache / "blobs" / str(number))
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(cache / "blobs" / str(number), link.parent))
    asked: list[Any] = []

    def fetch(name: str, **options: Any) -> str:
        asked.append((name, options["allow_patterns"]))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert Translator.load("me/mine").translate(["the cell"])[0].error is None
    ((name, patterns),) = asked
    assert name == "me/mine"
    assert {CONFIG, WEIGHTS, SEARCH, "source/*", "target/*"} <= set(patterns)
    secret = tmp_path / SEARCH
    secret.write_bytes((snapshot / SEARCH).read_bytes())
    (snapshot / SEARCH).unlink()
    (snapshot / SEARCH).symlink_to(secret)
    assert refused(snapshot) == f": {SEARCH}: it is a link that leads out of the folder"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "must be JSON, but cannot be read"),
        (b"\x00\xff\x80", "must be JSON, but cannot be read"),
        (b"[" * 100_000, "must be JSON, but cannot be read"),
        (b'{"format": 1' + b"1" * 10_000 + b"}", "must be JSON, but cannot be read"),
        (b"[1]", "must hold a JSON object, but holds a list"),
        (b"{}", "must be a model folder's, but has no format; bnb-export makes such folders"),
        (b'{"model_type": "bert"}', "must be a model folder's, but has no format; bnb-export makes such folders"),
        (b'{"format": 2}', "format must be 1, but is 2; update bnb_fairseq"),
        (b'{"format": true}', "format must be 1, but is True; update bnb_fairseq"),
        (b'{"format": "1"}', "format must be 1, but is '1'; update bnb_fairseq"),
        (b" " * (LARGEST_CONFIG + 1), "must have at most 1,048,576 bytes, but has 1,048,577"),
    ],
)
def test_damaged_config(content: bytes, said: str, folder: Path) -> None:
    (folder / CONFIG).write_bytes(content)
    assert refused(folder).startswith(f"{CONFIG}: {said}")


@pytest.mark.parametrize("value", [None, 5, [], "x", {"a": 1}, True])
@pytest.mark.parametrize("name", ["architecture", "task", "source_lang", "target_lang", "network", "name", "files"])
def test_wrong_types(name: str, value: Any, folder: Path, reseal: Reseal) -> None:
    """End in one line that names the entry."""
    right = {"network": dict, "files": dict}.get(name, str)
    reseal(folder, **{name: value})
    if not isinstance(value, right):
        assert refused(folder).endswith(f"but is wrong in {name}")
    elif name in ("architecture", "task"):
        assert refused(folder).startswith(f"{CONFIG}: {name} must be ")


def test_unknown_entries(folder: Path, reseal: Reseal) -> None:
    reseal(folder, auto_map={"AutoModel": "evil.py"})
    assert refused(folder).endswith("but is wrong in auto_map")


def test_no_folder(tmp_path: Path) -> None:
    assert refused(tmp_path).startswith(f"{CONFIG}: must be a file of a model folder, but there is no such file; ")
