"""The command line of the distillation: options, refusals, progress, going on."""

import json
import pickle
import re
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.data import indexed_dataset

from bnb_fairseq.cli import command, distill
from bnb_fairseq.distillation import run as run_module
from bnb_fairseq.distillation.output import DataBin, Shard, Translations
from bnb_fairseq.distillation.run import Progress

from ...facts import named, says

CLUSTER = ("--engine-cluster", "ray")
SENTENCES = [[5, 2], [6, 6, 2], [2], [7, 2], [8, 8, 2]]


@pytest.fixture
def data_bin(tmp_path: Path) -> Path:
    folder = tmp_path / "data-bin"
    folder.mkdir()
    for language in ("en", "de"):
        (folder / f"dict.{language}.txt").write_text("a 1\n")
        for part in ("train", "valid"):
            builder = indexed_dataset.make_builder(str(folder / f"{part}.en-de.{language}.bin"), "mmap", 12)
            for sentence in SENTENCES:
                builder.add_item(torch.tensor(sentence))
            builder.finalize(str(folder / f"{part}.en-de.{language}.idx"))
    return folder


@pytest.fixture
def parse(data_bin: Path) -> Callable[..., Namespace]:
    """Parse a command line with the data, a teacher and an output folder, unless others are given."""

    def parsed(*options: object) -> Namespace:
        teacher = data_bin.parent / "teacher.pt"
        teacher.write_text("weights")
        given = [data_bin, "--teacher", teacher, "--output", data_bin.parent / "out", *options]
        arguments: Namespace = distill.COMMAND.parse(list(map(str, given)))
        return arguments

    return parsed


def test_defaults_are_those_of_fairseq_generate(parse: Callable[..., Namespace]) -> None:
    found = vars(parse())
    for name in ("data_bin", "teacher", "output"):
        del found[name]
    assert found == {
        "subset": "train",
        "shard_size": 10000,
        "beam": 5,
        "max_len_a": 0.0,
        "max_len_b": 200,
        "lenpen": 1.0,
        "iter_decode_max_iter": 0,
        "max_tokens": None,
        "batch_size": None,
        "max_source_positions": None,
        "float32_matmul_precision": "highest",
        "cpu": False,
        "threads": None,
        "engine_cluster": None,
        "address": None,
        "actors": None,
    }


def test_good_arguments_pass(parse: Callable[..., Namespace], data_bin: Path) -> None:
    least = parse("--subset", "valid", "--shard-size", 1, "--max-len-b", 1, "--max-source-positions", 2)
    two = parse("--teacher", f"{data_bin.parent / 'teacher.pt'}:{data_bin.parent / 'teacher.pt'}")
    assert [distill.find_faults(arguments) for arguments in (parse(), least, two)] == [[], [], []]
    (data_bin.parent / "out").mkdir()
    assert distill.find_faults(parse()) == []


def message(arguments: Namespace) -> str:
    return "; ".join(distill.find_faults(arguments))


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [
        ("shard-size", "0", 1),
        ("shard-size", "-5", 1),
        ("beam", "0", 1),
        ("max-len-a", "-0.5", 0),
        ("max-len-a", "nan", 0),
        ("max-len-b", "0", 1),
        ("iter-decode-max-iter", "-1", 0),
        ("max-tokens", "0", 1),
        ("batch-size", "0", 1),
        ("max-source-positions", "1", 2),
    ],
)
def test_numbers_out_of_range(option: str, value: str, least: int, parse: Callable[..., Namespace]) -> None:
    assert says(message(parse(f"--{option}", value)), f"--{option} ... at least {least} ... {value}")


def test_every_number_has_a_range(parse: Callable[..., Namespace]) -> None:
    arguments = parse("--batch-size", 1, "--max-source-positions", 9, "--max-tokens", 8)
    numbers = {name for name, value in vars(arguments).items() if type(value) in (int, float)}
    assert numbers - distill.AT_LEAST.keys() == {"lenpen"}
    assert distill.AT_LEAST.keys() <= numbers


def test_files_that_are_not_there(parse: Callable[..., Namespace], data_bin: Path) -> None:
    found = message(parse("--teacher", f"{data_bin.parent / 'teacher.pt'}:gone.pt"))
    assert says(found, "--teacher ... checkpoints ... file 'gone.pt'")
    assert says(message(parse("--teacher", "")), "--teacher ... checkpoints ... file ''")
    found = message(parse("--subset", "test"))
    assert says(found, f"--subset ... a part of {data_bin} (train, valid) ... test")
    found = message(parse("--output", data_bin / "dict.en.txt"))
    assert says(found, f"--output ... a folder ... {data_bin / 'dict.en.txt'}")
    shutil.rmtree(data_bin)
    expected = f"DATA_BIN ... a folder made by fairseq-preprocess ... {data_bin}"
    assert says(message(parse()), expected)
    data_bin.mkdir()
    assert says(message(parse()), expected)


def test_all_problems_at_once(parse: Callable[..., Namespace]) -> None:
    found = message(parse("--subset", "x", "--teacher", "y", "--beam", 0, "--shard-size", 0))
    assert re.findall(r"(?:^|; )(--[\w-]+)", found) == ["--subset", "--teacher", "--shard-size", "--beam"]


def test_refusals_of_a_cluster(parse: Callable[..., Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(message(parse("--address", "auto")), "--address", "--engine-cluster ray", "auto")
    assert named(message(parse("--actors", 2)), "--actors", "--engine-cluster ray", 2)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert named(message(parse("--engine-cluster", "ray")), "--engine-cluster", "bnb_fairseq[ray]")


def test_what_identifies_a_run(parse: Callable[..., Namespace], data_bin: Path) -> None:
    options = distill.run_options(parse("--cpu"), cuda=False)
    assert options == json.loads(json.dumps(options))
    for given in (
        ["--subset", "valid"],
        ["--shard-size", 7],
        ["--beam", 4],
        ["--max-len-a", 1.2],
        ["--max-len-b", 99],
        ["--lenpen", 0.6],
        ["--iter-decode-max-iter", 3],
        ["--max-tokens", 500],
        ["--batch-size", 8],
        ["--max-source-positions", 40],
        ["--float32-matmul-precision", "medium"],
    ):
        changed = distill.run_options(parse("--cpu", *given), cuda=False)
        differing = {name for name in options if options[name] != changed[name]}
        assert given[0] in differing <= {given[0], "--max-tokens"}
        assert changed.keys() == options.keys()
    assert distill.run_options(parse(), cuda=False) == options, "without a GPU --cpu makes no difference"
    assert distill.run_options(parse(), cuda=True) == {**options, "--cpu": False}
    elsewhere = ("--output", "elsewhere", "--threads", 2, "--engine-cluster", "ray", "--address", "auto", "--actors", 2)
    assert distill.run_options(parse(*elsewhere), cuda=False) == options


def test_data_and_teacher_are_known_by_their_contents(
    parse: Callable[..., Namespace], data_bin: Path, tmp_path: Path
) -> None:
    options = distill.run_options(parse(), cuda=False)
    copy, other = tmp_path / "copied" / "best.pt", tmp_path / "other.pt"
    shutil.copytree(data_bin, copy.parent)
    arguments = parse()
    arguments.data_bin = tmp_path / "copied"
    (copy.parent / "checkpoints").mkdir()
    assert distill.run_options(arguments, cuda=False) == options
    copy.write_text("weights")
    other.write_text("other weights")
    assert distill.run_options(parse("--teacher", copy), cuda=False) == options
    changed = distill.run_options(arguments, cuda=False)
    assert {name for name in options if options[name] != changed[name]} == {"DATA_BIN"}
    changed = distill.run_options(parse("--teacher", f"{copy}:{other}"), cuda=False)
    first, second = str(changed["--teacher"]).split(":")
    assert first == options["--teacher"] != second
    assert distill.run_options(parse("--teacher", f"{other}:{copy}"), cuda=False) != changed


def test_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten sentences of 1 to 10 tokens, the first three done before."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(np.arange(1, 11), [Shard(3, 6), Shard(6, 10)])
    now[0] += 19
    progress.add([5, 4])  # 6 + 5 tokens
    assert capsys.readouterr().out == ""
    now[0] += 3
    progress.add([3])  # 4 tokens: 15 of 49 in 22 s
    assert capsys.readouterr().out == "6 of 10 sentences, 0.1 sentences/s, 0:00:50 left\n"
    progress.add([9, 8])
    assert capsys.readouterr().out == ""
    assert progress.line(3600) == "8 of 10 sentences, 0.0 sentences/s, 0:26:28 left"  # 34 of 49
    progress.add([6, 7])
    assert capsys.readouterr().out == "10 of 10 sentences, 0.3 sentences/s, 0:00:00 left\n"


def test_progress_of_sentences_that_are_not_translated() -> None:
    progress = Progress(np.arange(1, 4), [Shard(0, 3)])
    progress.add([])
    assert progress.line(0) == "0 of 3 sentences, 0.0 sentences/s, 0:00:00 left"
    assert Progress(np.arange(0), []).line(1) == "0 of 0 sentences, 0.0 sentences/s, 0:00:00 left"


@pytest.fixture
def run(data_bin: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[int, int]]]:
    """Run the command with a teacher that adds 10 to every id; returns the shards that it translated."""

    def load(*arguments: object) -> SimpleNamespace:
        assert arguments[-1] is False, "on the CPU"
        return SimpleNamespace(longest=3, task=SimpleNamespace(tgt_dict=SimpleNamespace(unk_word="<unk>")))

    def open_corpus(_: object, folder: Path, subset: str, *limits: int | None) -> SimpleNamespace:
        assert limits == (12000, None)
        data = DataBin(folder, subset, "en-de", "de", "mmap", 99)
        return SimpleNamespace(data=data, sources=Sources())

    def command(*options: object, killed_after: int = 99) -> list[tuple[int, int]]:
        translated: list[tuple[int, int]] = []

        def translate(_: object, __: object, shard: Any, report: Callable[[Sequence[int]], None]) -> Any:
            if len(translated) == killed_after:
                raise KeyboardInterrupt
            translated.append(tuple(shard))
            report(range(*shard))
            tokens = [torch.tensor([i + 10 for i in SENTENCES[n]]) for n in range(*shard)]
            return Translations(tokens, [f"line {n}" for n in range(*shard)], 1, 2)

        monkeypatch.setattr(run_module, "translate", translate)
        given = [data_bin, "--teacher", data_bin.parent / "teacher.pt", "--output", data_bin.parent / "out", *options]
        monkeypatch.setattr(sys, "argv", ["bnb-distill", "--shard-size", "2", *map(str, given)])
        assert distill.main() == (130 if killed_after < 99 else 0)
        return translated

    (data_bin.parent / "teacher.pt").write_text("weights")
    monkeypatch.setattr(run_module, "load_teacher", load)
    monkeypatch.setattr(run_module, "open_corpus", open_corpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return command


class Sources(list[None]):
    """As many sources as there are sentences, with their lengths."""

    def __init__(self) -> None:
        super().__init__([None] * len(SENTENCES))
        self.source_sizes = np.array([len(sentence) + 1 for sentence in SENTENCES])


def test_main_goes_on_where_it_was(
    run: Callable[..., list[tuple[int, int]]], data_bin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = data_bin.parent / "out"
    assert run(killed_after=1) == [(0, 2)]
    assert not (out / "data-bin").exists()
    assert not (out / "train.de").exists()
    assert capsys.readouterr().out == ""
    assert run() == [(2, 4), (4, 5)]
    first, last, result = capsys.readouterr().out.splitlines()
    assert first == "1 of 3 shards were done before"
    assert re.fullmatch(r"5 of 5 sentences, [\d.,]+ sentences/s, 0:00:00 left", last)
    assert result == (
        f"{out / 'data-bin'}: 5 sentences; 3 sources of more than 3 tokens kept their own target; 6 translations have "
        f"<unk>"
    )
    assert (out / "train.de").read_text() == "".join(f"line {i}\n" for i in range(5))
    ids = indexed_dataset.make_dataset(str(out / "data-bin" / "train.en-de.de"), "mmap")
    assert [sentence.tolist() for sentence in ids] == [[i + 10 for i in sentence] for sentence in SENTENCES]
    assert run() == []
    assert capsys.readouterr().out == f"{out / 'data-bin'} is complete, nothing is left to do\n"


class Machines:
    """Two processes that take turns; shards travel, and each arrives twice.

    Attributes:
        gpus: whether there are some.
        asked: GPUs and threads that each process is to have.
        threads: that each process sets.
    """

    def __init__(self) -> None:
        self.gpus = False
        self.asked: list[tuple[bool, int]] = []
        self.threads: list[int] = []

    def has_gpus(self) -> bool:
        return self.gpus

    def work(
        self, inputs: Sequence[Any], split: Callable[..., Any], load: Callable[..., Any], cuda: bool, threads: int
    ) -> Iterator[Any]:
        self.asked.append((cuda, threads))
        actors = [load(), load()]
        shards = [pickle.loads(pickle.dumps(shard)) for each in inputs for shard in split(each)]
        for i, shard in reversed(list(enumerate(shards))):
            for actor in (actors[i % 2], actors[(i + 1) % 2]):
                found = actor(shard)
            yield found


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    """What ``--engine-cluster ray`` connects to."""
    made = Machines()
    monkeypatch.setattr(
        distill, "machines_of", lambda arguments: nullcontext(made if arguments.engine_cluster else None)
    )
    monkeypatch.setattr(torch, "set_num_threads", made.threads.append)
    return made


def test_machines_go_on_where_a_process_was(
    run: Callable[..., list[tuple[int, int]]],
    data_bin: Path,
    machines: Machines,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(killed_after=1) == [(0, 2)]
    monkeypatch.chdir(data_bin.parent)
    assert run("--output", "out", "--teacher", "teacher.pt", *CLUSTER) == [(4, 5), (2, 4)]
    assert machines.asked == [(False, 1)]
    assert machines.threads == [1, 1]
    first, last, result = capsys.readouterr().out.splitlines()
    assert first == "1 of 3 shards were done before"
    assert re.fullmatch(r"5 of 5 sentences, [\d.,]+ sentences/s, 0:00:00 left", last)
    assert result.startswith("out/data-bin: 5 sentences; 3 sources of more than 3 tokens")
    assert Path("out/train.de").read_text() == "".join(f"line {i}\n" for i in range(5))
    assert run() == []


def test_machines_have_nothing_to_do_where_all_shards_are_kept(
    run: Callable[..., list[tuple[int, int]]], data_bin: Path, machines: Machines
) -> None:
    run()
    shutil.rmtree(data_bin.parent / "out" / "data-bin")
    assert run(*CLUSTER) == []
    assert machines.asked == []
    assert (data_bin.parent / "out" / "data-bin").is_dir()


def test_the_machines_decide_whether_a_gpu_translates(
    run: Callable[..., object], data_bin: Path, machines: Machines
) -> None:
    def is_on_cpu(output: str) -> object:
        return json.loads((data_bin.parent / output / "run.json").read_text())["--cpu"]

    machines.gpus = True
    with pytest.raises(SystemExit, match=r"^bnb-distill: --cpu .* no GPU"):
        run("--threads", 3, *CLUSTER)
    assert machines.asked == [(True, 3)]
    assert is_on_cpu("out") is False
    run("--cpu", "--output", data_bin.parent / "other", *CLUSTER)
    assert machines.asked == [(True, 3), (False, 1)]
    assert is_on_cpu("other") is True


def test_main_refuses_before_it_loads(run: Callable[..., list[tuple[int, int]]], data_bin: Path) -> None:
    out = data_bin.parent / "out"
    with pytest.raises(SystemExit, match=r"^bnb-distill: --shard-size.*at least 1.*0$"):
        run("--shard-size", 0)
    assert not out.exists()
    run(killed_after=1)
    with pytest.raises(SystemExit, match=f"^bnb-distill: --output.*another .*{out}: --beam is 4 here, 5 there$"):
        run("--beam", 4)
    (data_bin.parent / "teacher.pt").write_text("other weights")
    with pytest.raises(SystemExit, match=r"--teacher is [0-9a-f]{32} here, [0-9a-f]{32} there$"):
        run()


def test_main_shows_what_the_teacher_refuses(
    run: Callable[..., list[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("--iter-decode-max-iter must be 0")

    monkeypatch.setattr(run_module, "load_teacher", refuse)
    with pytest.raises(SystemExit, match=r"^bnb-distill: --iter-decode-max-iter.*0$"):
        run()


def test_options_reach_the_teacher(run: Callable[..., object], data_bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def refuse(*arguments: object) -> None:
        seen.extend(arguments)
        raise ValueError("seen")

    monkeypatch.setattr(run_module, "load_teacher", refuse)
    generation = {"beam": 3, "max_len_a": 1.5, "max_len_b": 16, "lenpen": 0.8, "iter_decode_max_iter": 2}
    options = [word for name, value in generation.items() for word in (f"--{name.replace('_', '-')}", value)]
    checkpoints = [data_bin / "dict.en.txt", data_bin / "dict.de.txt"]
    options += ["--teacher", ":".join(map(str, checkpoints)), "--max-source-positions", 9]
    with pytest.raises(SystemExit, match=r"^bnb-distill: seen$"):
        run(*options, "--float32-matmul-precision", "medium")
    assert seen.pop(2) == generation
    assert seen == [checkpoints, data_bin, "medium", 9, False]
