"""Files translated shard by shard, with a translator that writes capitals."""

import gzip
import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bnb_fairseq.bulk import files as files_module
from bnb_fairseq.bulk.files import Files, Shard, translate_files
from bnb_fairseq.bulk.kept import Part, read_part, write_part
from bnb_fairseq.bulk.run import COPY, Settings

from .fake_translator import FakeTranslation, FakeTranslator

LONG = "one two three four five six"
TEXTS = {"a.txt": b"a\n\nb\nc \xff\nd", "b.txt": b"", "c.txt": f"x\ny\n{LONG}\n".encode()}
EXPECTED = {"a.txt": "A\n\nB\nC \ufffd\nD\n", "b.txt": "", "c.txt": f"X\nY\n{LONG}\n"}


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    (tmp_path / "in").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "in" / name).write_bytes(text)
    return [tmp_path / "in" / name for name in TEXTS]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.open(tmp_path / "out", Settings(window=2, too_long=COPY), {"FOLDER": "x"})


def results(files: Files) -> dict[str, str]:
    return {path.name: path.read_bytes().decode() for path in files.folder.iterdir() if path.is_file()}


class Killed(FakeTranslator):
    """Translates some windows, then ends the process."""

    def __init__(self, windows: int) -> None:
        super().__init__()
        self._left = windows

    def translate(self, texts: Sequence[str], nbest: int = 1, **options: Any) -> list[FakeTranslation]:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return super().translate(texts, nbest, **options)


def mark(files: Files, shard: Shard) -> None:
    """Change a kept translation in a way that its digests do not show."""
    path, identity = files._place(shard)
    part = read_part(path, identity)
    assert part is not None
    write_part(path, identity, Part(part.about, part.body.replace(b"A", b"marked")))


def test_each_file_has_its_lines(files: Files, sources: list[Path]) -> None:
    done: list[int] = []
    counts = translate_files(files, sources, FakeTranslator(), done.append)
    assert results(files) == EXPECTED
    assert done == [2, 2, 1, 2, 1]
    assert (counts.lines, counts.untranslated, counts.decoder.broken_lines) == (8, 1, 1)
    assert counts.first == "c.txt, line 3: the text has 6 tokens, but the model reads at most 5"
    assert sorted(path.name for path in (files.folder / ".shards").iterdir()) == [
        *("a.txt.whole", "b.txt.whole", "c.txt.whole", "run.json")
    ]


@pytest.mark.parametrize("windows", range(5))
def test_killed_at_any_shard_it_goes_on(files: Files, sources: list[Path], windows: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        translate_files(files, sources, Killed(windows), lambda _: None)
    whole = {name: text for name, text in EXPECTED.items() if windows > 2 and name != "c.txt"}
    assert results(files) == whole
    translator = FakeTranslator()
    counts = translate_files(files, sources, translator, lambda _: None)
    assert results(files) == EXPECTED
    assert len(translator.windows) == 5 - windows
    assert (counts.lines, counts.untranslated) == (8, 1)
    translator = FakeTranslator()
    assert translate_files(files, sources, translator, lambda _: None) == counts
    assert translator.windows == []


def test_a_kept_shard_is_not_translated_again(files: Files, sources: list[Path]) -> None:
    with pytest.raises(KeyboardInterrupt):
        translate_files(files, sources, Killed(1), lambda _: None)
    mark(files, next(files.shards(sources[0])))
    translate_files(files, sources, FakeTranslator(), lambda _: None)
    assert results(files)["a.txt"] == "marked\n\nB\nC \ufffd\nD\n"


@pytest.mark.parametrize("damage", [b"", b"{}\nZ", None])
def test_a_damaged_shard_is_translated_again(files: Files, sources: list[Path], damage: bytes | None) -> None:
    with pytest.raises(KeyboardInterrupt):
        translate_files(files, sources, Killed(2), lambda _: None)
    path = files._place(next(files.shards(sources[0])))[0]
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    translator = FakeTranslator()
    translate_files(files, sources, translator, lambda _: None)
    assert translator.windows[:2] == [["a", ""], ["d"]]
    assert results(files) == EXPECTED


def test_changed_lines_are_translated_again(files: Files, sources: list[Path]) -> None:
    translate_files(files, sources, FakeTranslator(), lambda _: None)
    sources[0].write_bytes(b"a\n\nb\ne\n")
    (files.folder / "c.txt").write_bytes(b"lost")
    translate_files(files, sources, FakeTranslator(), lambda _: None)
    assert results(files) == {**EXPECTED, "a.txt": "A\n\nB\nE\n"}


def test_lines_that_change_meanwhile_are_refused(files: Files, sources: list[Path]) -> None:
    for shard in files.shards(sources[0]):
        files.translate(FakeTranslator(), shard)
    sources[0].write_bytes(TEXTS["a.txt"] + b"d")
    with pytest.raises(ValueError, match=r"a\.txt must not change.* from 5 on"):
        files.join(sources[0])
    assert results(files) == {}


def test_a_command_that_is_killed_as_it_joins_leaves_nothing_behind(
    files: Files, sources: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = os.fork()
    if not child:
        monkeypatch.setattr(files_module, "counts_of", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        try:
            translate_files(files, sources[:1], FakeTranslator(), lambda _: None)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert results(files) == {}
    translator = FakeTranslator()
    files = Files.open(files.folder, files.settings, {"FOLDER": "x"})
    translate_files(files, sources[:1], translator, lambda _: None)
    assert results(files) == {"a.txt": EXPECTED["a.txt"]}
    assert translator.windows == []
    found = {str(path.relative_to(files.folder)) for path in files.folder.rglob("*")}
    assert found == {"a.txt", ".shards", ".shards/a.txt.whole", ".shards/run.json"}


def test_names_of_its_own_records_are_names_like_others(files: Files, tmp_path: Path) -> None:
    sources = [tmp_path / name for name in ("a", "a.whole", "a.lines", "run.json")]
    for source in sources:
        source.write_text(f"{source.name}\n")
    for _ in range(2):
        translate_files(files, sources, FakeTranslator(), lambda _: None)
        assert results(files) == {source.name: f"{source.name.upper()}\n" for source in sources}
        files = Files.open(files.folder, files.settings, {"FOLDER": "x"})


def test_another_folder_or_option_is_refused(files: Files, sources: list[Path], tmp_path: Path) -> None:
    translate_files(files, sources, FakeTranslator(), lambda _: None)
    for settings, model in ((files.settings, "y"), (Settings(window=3, too_long=COPY), "x")):
        with pytest.raises(ValueError, match="other options"):
            Files.open(files.folder, settings, {"FOLDER": model})
    assert Files.open(files.folder, files.settings, {"FOLDER": "x"}) == files
    other = Files.open(tmp_path / "other", files.settings, {"FOLDER": "y"})
    assert other.run != files.run


def test_forms_and_compression(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a\nb\nc\n"))

    def written(form: str, nbest: int) -> Iterator[str]:
        files = Files.open(tmp_path / form, Settings(form, nbest, window=2), {})
        translate_files(files, [tmp_path / "a.gz"], FakeTranslator(), lambda _: None)
        yield from gzip.decompress((tmp_path / form / "a.gz").read_bytes()).decode().splitlines()

    assert [line.split(" ||| ")[:2] for line in written("nbest", 2)] == [
        *(["0", "A"], ["0", "A1"], ["1", "B"], ["1", "B1"], ["2", "C"], ["2", "C1"])
    ]
    assert [json.loads(line)["text"] for line in written("jsonl", 1)] == ["A", "B", "C"]
