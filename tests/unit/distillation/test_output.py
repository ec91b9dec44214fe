"""Shards, resuming, and a distilled data-bin folder that is either complete or not there."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from fairseq.data import data_utils, indexed_dataset

from bnb_fairseq.distillation import output as output_module
from bnb_fairseq.distillation.output import DataBin, Shard, Translations, open_output, shards_of
from bnb_fairseq.distillation.output import digest as folder_digest

from ...facts import says

OPTIONS: dict[str, str | int | float | None] = {"--beam": 5, "--lenpen": 1.0, "--teacher": "12ab", "--batch-size": None}
TARGETS = [[7, 8, 4], [4], [9, 9, 9, 4], [5, 4], [6, 7, 8, 9, 4]]
TEXTS = ["g h", "", "i i\u2028i", "Größe", "f g h i"]


@pytest.fixture(autouse=True)
def quick_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sync", lambda: None)


def write_sentences(prefix: Path, sentences: Sequence[Sequence[int]], impl: str = "mmap") -> None:
    builder = indexed_dataset.make_builder(f"{prefix}.bin", impl, 70000)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence))
    builder.finalize(f"{prefix}.idx")


@pytest.fixture
def data(tmp_path: Path) -> Any:
    """A data-bin folder with five training pairs, and with a folder in it that belongs to nothing."""
    folder = tmp_path / "original"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("train.en-de.en", "train.en-de.de", "valid.en-de.de"):
        write_sentences(folder / name, [[len(name), 5, 4]] * 5)
    (folder / "dict.de.txt").write_text("a 1\n")
    (folder / "dict.de.sentencepiece.model").write_bytes(b"\0\1")
    return DataBin(folder, "train", "en-de", "de", "mmap", 70000)


def translations(shard: Any) -> Any:
    """The first sentence of each shard was too long, and the third of all has an unknown symbol."""
    tokens = [torch.tensor(target) for target in TARGETS[shard.first : shard.end]]
    return Translations(tokens, TEXTS[shard.first : shard.end], 1, int(shard.first <= 2 < shard.end))


def process(folder: Path, data: Any, size: int = 2) -> tuple[int, int] | None:
    """What the command does, the translating left out."""
    with open_output(folder, OPTIONS) as output:
        if output.data_bin.is_dir():
            return None
        shards = shards_of(5, size)
        for shard in shards:
            if not output.has(shard):
                output.write_shard(shard, translations(shard))
        kept, unknown = output.assemble(shards, data)
        return kept, unknown


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("sentences", "size"), [(0, 3), (1, 1), (5, 2), (6, 2), (6, 7), (3000, 1), (3000, 256)])
def test_shards_hold_every_sentence_once_and_in_order(sentences: int, size: int) -> None:
    shards = shards_of(sentences, size)
    assert [i for shard in shards for i in range(*shard)] == list(range(sentences))
    assert all(shard.end - shard.first == size for shard in shards[:-1])
    assert len(shards) == -(-sentences // size)


def test_shards_by_hand() -> None:
    assert shards_of(5, 2) == [(0, 2), (2, 4), (4, 5)]


def test_digest_covers_names_and_contents_but_not_order_or_place(tmp_path: Path) -> None:
    def digest(**files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        return str(folder_digest(folder / name for name in files))

    first = digest(a="1", b="2")
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert digest(b="2", a="1") == first
    others = [digest(a="2", b="1"), digest(a="1"), digest(a="1", c="2"), digest(a="12"), digest(a="1", b="2", c="")]
    assert len({first, *others}) == 6


def test_result(data: Any, tmp_path: Path) -> None:
    assert process(tmp_path / "new" / "out", data) == (3, 1)
    found, original = contents(tmp_path / "new" / "out"), contents(data.folder)
    assert found["train.de"] == "g h\n\ni i\u2028i\nGröße\nf g h i\n".encode()
    assert json.loads(found["run.json"]) == OPTIONS
    distilled = {name.removeprefix("data-bin/"): x for name, x in found.items() if name.startswith("data-bin/")}
    assert distilled.keys() == original.keys()
    changed = {name for name in original if distilled[name] != original[name]}
    assert changed == {"train.en-de.de.bin", "train.en-de.de.idx"}
    write_sentences(tmp_path / "straight", TARGETS)
    for ending in ("bin", "idx"):
        assert distilled[f"train.en-de.de.{ending}"] == (tmp_path / f"straight.{ending}").read_bytes()
    assert not [name for name in found if ".partial" in name]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("impl", ["mmap", "cached"])
def test_both_formats_are_read_back(impl: str, size: int, data: Any, tmp_path: Path) -> None:
    process(tmp_path / "out", data._replace(dataset_impl=impl), size)
    prefix = str(tmp_path / "out" / "data-bin" / "train.en-de.de")
    assert indexed_dataset.infer_dataset_impl(prefix) == impl
    sentences = data_utils.load_indexed_dataset(prefix, dataset_impl={"cached": "lazy"}.get(impl, impl))
    assert [sentence.tolist() for sentence in sentences] == TARGETS


def test_complete_result_is_left_alone(data: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process(out, data)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert process(out, data) is None
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


def at_line(number: int, act: Callable[[], None], run: Callable[[], object]) -> int:
    """Run, and act before a line of the module is executed, counted from 0; return how many lines there were."""
    executed = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal executed
        if frame.f_code.co_filename != output_module.__file__:
            return None
        if event == "line":
            if executed == number:
                act()
            executed += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return executed


def killed_at_line(number: int, run: Callable[[], object]) -> bool:
    """Run in a process that is killed before a line of the module; tell whether it came to that."""
    child = os.fork()
    if child == 0:
        try:
            at_line(number, lambda: os.kill(os.getpid(), signal.SIGKILL), run)
        except BaseException:
            os._exit(1)
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.slow
def test_killed_at_any_line(data: Any, tmp_path: Path) -> None:
    """What stands under its own name is complete after every kill, and the rest is made up for.

    Each kill takes a process, so that before the last 30 lines, where all is put together, every third line is tried.
    """
    total = at_line(-1, lambda: None, lambda: process(tmp_path / "straight", data, 3))
    expected = contents(tmp_path / "straight")
    reached = set()
    for number in [*range(0, total - 30, 3), *range(total - 30, total + 1)]:
        out = tmp_path / str(number)
        killed = killed_at_line(number, lambda out=out: process(out, data, 3))  # type: ignore[misc]
        assert killed == (number < total)
        found = contents(out)
        whole = {name: x for name, x in found.items() if ".partial" not in name}
        assert whole.items() <= expected.items(), number
        in_data_bin = [{name for name in files if name.startswith("data-bin/")} for files in (whole, expected)]
        assert in_data_bin[0] in (set(), in_data_bin[1]), number
        assert not in_data_bin[0] or whole.keys() == expected.keys(), number
        reached.add(len(whole))
        process(out, data, 3)
        assert contents(out) == expected, number
    # nothing, run.json, one and two shards, the text, and the data-bin folder of eight files
    assert reached == {0, 1, 2, 3, 4, 12}


def test_finished_shards_are_not_written_again(data: Any, tmp_path: Path) -> None:
    shards = shards_of(5, 2)
    with open_output(tmp_path / "out", OPTIONS) as output:
        assert not any(output.has(shard) for shard in shards)
        output.write_shard(shards[1], translations(shards[1]))
        assert [output.has(shard) for shard in shards] == [False, True, False]
        assert not output.has(shards[1]._replace(end=5)), "another size of shards"
    with open_output(tmp_path / "out", OPTIONS) as output:
        assert [output.has(shard) for shard in shards] == [False, True, False]


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_damaged_shard_is_made_again(damage: str, data: Any, tmp_path: Path) -> None:
    """As after a crash of the machine, when a file's name reached the disk and its contents did not."""
    shard = Shard(0, 2)
    with open_output(tmp_path / "out", OPTIONS) as output:
        output.write_shard(shard, translations(shard))
        intact = contents(tmp_path / "out")
        path = tmp_path / "out" / "shards" / "000000000"
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1] if damage == "cut" else b"")
        assert not output.has(shard)
        output.write_shard(shard, translations(shard))
        assert output.has(shard)
    assert contents(tmp_path / "out") == intact


def test_shards_of_another_run_do_not_count(data: Any, tmp_path: Path) -> None:
    shard = Shard(0, 2)
    for name, options in (("a", OPTIONS), ("b", {**OPTIONS, "--beam": 4})):
        with open_output(tmp_path / name, options) as output:
            output.write_shard(shard, translations(shard))
    (tmp_path / "b" / "shards").rename(tmp_path / "strange")
    (tmp_path / "a" / "shards").rename(tmp_path / "b" / "shards")
    with open_output(tmp_path / "b", {**OPTIONS, "--beam": 4}) as output:
        assert not output.has(shard)


def refused(folder: Path, options: dict[str, str | int | float | None]) -> str:
    with pytest.raises(ValueError) as caught, open_output(folder, options):
        pass
    return str(caught.value)


def test_other_options_are_refused(tmp_path: Path) -> None:
    with open_output(tmp_path / "out", OPTIONS) as output:
        output.write_shard(Shard(0, 2), translations(Shard(0, 2)))
    before = contents(tmp_path / "out")
    begin = f"--output ... another folder for a run with other options; {tmp_path / 'out'}: "
    changed = {**OPTIONS, "--beam": 4}
    assert says(refused(tmp_path / "out", changed), f"{begin}--beam is 4 here, 5 there")
    changed |= {"--teacher": "34cd", "--batch-size": 8}
    expected = "--beam is 4 here, 5 there, --teacher is 34cd here, 12ab there, --batch-size is 8 here, None there"
    assert says(refused(tmp_path / "out", changed), begin + expected)
    assert says(refused(tmp_path / "out", {**OPTIONS, "--new": 1}), f"{begin}--new is 1 here, None there")
    assert refused(tmp_path / "out", {"--beam": 5, "--lenpen": 1.0, "--batch-size": None}).endswith("12ab there")
    assert contents(tmp_path / "out") == before
    with open_output(tmp_path / "out", OPTIONS):
        pass


def test_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("do not touch")
    (tmp_path / ".partial-killed").mkdir()
    (tmp_path / ".partial-killed" / "run.json").write_text("{")
    expected = (
        f"--output ... a new or empty folder, or one of an earlier run ... {tmp_path} holds thesis.tex and no run.json"
    )
    assert says(refused(tmp_path, OPTIONS), expected)
    (tmp_path / "thesis.tex").unlink()
    with open_output(tmp_path, OPTIONS):  # what a killed process left is nothing to keep
        assert contents(tmp_path).keys() == {"run.json"}


def test_two_processes_are_refused(tmp_path: Path) -> None:
    with open_output(tmp_path, OPTIONS):
        message = f"--output ... filled by one process ... another one is at {tmp_path}"
        assert says(refused(tmp_path, OPTIONS), message)
    with open_output(tmp_path, OPTIONS):
        pass


def test_no_room_for_a_shard(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other shards stay."""
    shards = shards_of(len(TARGETS), 2)
    with open_output(tmp_path / "out", OPTIONS) as output:
        output.write_shard(shards[0], translations(shards[0]))

        def fill_disk(path: Path, *_: object, **__: object) -> None:
            path.touch()
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", fill_disk)
        message = rf"^{tmp_path}/out/shards cannot be written: \[Errno 28\] No space left on device$"
        with pytest.raises(OSError, match=message):
            output.write_shard(shards[1], translations(shards[1]))
        assert [path.name for path in (tmp_path / "out" / "shards").iterdir()] == ["000000000"]
        assert output.has(shards[0])
