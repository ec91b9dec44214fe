"""bnb-distill, run as a user runs it, killed, resumed, and a student trained on what it makes."""

import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from fairseq.data import data_utils
from torch import Tensor

from bnb_fairseq.data.dictionary import load_data_bin

from ..alike import check_alike
from ..facts import named
from . import forked
from .conftest import TRAIN, Setting

Command = Callable[..., str]
Translations = Callable[[str], dict[int, str]]
Write = Callable[[Path, Sequence[str]], Path]
Line = Callable[..., list[str]]

PAIRS = {"train": 240, "valid": 24}
OPTIONS = ("--beam", 3, "--max-len-b", 16, "--lenpen", 0.8, "--batch-size", 4)
END = 3  # [SEP] in a SentencePiece dictionary
LONGEST = 24  # tokens of a source that is translated, in the tests that leave some out
SECONDS = 600  # after which a process that makes no progress is given up


class Data(NamedTuple):
    """A small data-bin folder and a teacher for it."""

    folder: Path
    teacher: Path


def add_noise(checkpoint: Path, noisy: Path, seed: int) -> Path:
    """Copy a checkpoint with noise in embeddings and cross-attention, and ends more likely: outputs then differ."""
    state = torch.load(checkpoint)
    noise = torch.Generator().manual_seed(seed)
    for name, parameter in state["model"].items():
        if "embeddings" in name or "encoder_attn" in name:
            parameter += 0.3 * torch.randn(parameter.shape, generator=noise)
    state["model"]["decoder.head.bias"][END] += 5
    state["task_state"].pop("tensors", None)  # their digest; they are others now
    torch.save(state, noisy)
    return noisy


@pytest.fixture(scope="module")
def data(
    setting: Setting,
    small_data: Callable[[str, int], list[tuple[str, str]]],
    write: Write,
    fairseq: Command,
    tmp_path_factory: pytest.TempPathFactory,
) -> Data:
    """The first pairs of the setting, and bert2bert after five updates."""
    folder = tmp_path_factory.mktemp("distillation")
    for part, pairs in PAIRS.items():
        for side, language in enumerate(("en", "de")):
            write(folder / f"{part}.{language}", [row[side] for row in small_data(part, pairs)])
    dictionaries = [
        x for s, t in (("src", "en"), ("tgt", "de")) for x in (f"--{s}dict", setting.data_bin / f"dict.{t}.txt")
    ]
    prefixes = [x for part in PAIRS for x in (f"--{part}pref", folder / part)]
    fairseq("preprocess", "-s", "en", "-t", "de", *prefixes, *dictionaries, "--destdir", folder / "bin")
    options = ["--arch", "bert2bert", "--bert-encoder", setting.bert, "--encoder-layers", 1, "--decoder-layers", 1]
    options += ["--criterion", "label_smoothed_cross_entropy", "--max-update", 5, "--save-dir", folder]
    fairseq("train", folder / "bin", *TRAIN, *options)
    return Data(folder / "bin", add_noise(folder / "checkpoint_last.pt", folder / "teacher.pt", seed=1))


@pytest.fixture(scope="module")
def line(device: str) -> Line:
    """Words of the command."""

    def words(data_bin: Path, teacher: object, output: Path, *options: object) -> list[str]:
        cpu = ["--cpu"] if device == "cpu" else []
        return ["bnb-distill", *map(str, [data_bin, "--teacher", teacher, "--output", output, *options]), *cpu]

    return words


@pytest.fixture(scope="module")
def distill(line: Line) -> Command:
    """Run the command to its end."""

    def run(*arguments: Any, fails: bool = False) -> str:
        done = forked.capture(*line(*arguments))
        assert (done.returncode != 0) == fails, f"{arguments} ended:\n{done.stdout}{done.stderr[-6000:]}"
        return done.stderr if fails else done.stdout

    return run


@pytest.fixture(scope="module")
def distilled(data: Data, distill: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The result of a run that nothing disturbs, and what it printed."""
    output = tmp_path_factory.mktemp("distilled") / "new"
    arguments = ("--shard-size", 40, "--max-source-positions", LONGEST)
    return output, distill(data.folder, data.teacher, output, *OPTIONS, *arguments)


def sentences(data_bin: Path, name: str) -> list[list[int]]:
    items: Sequence[Tensor] = data_utils.load_indexed_dataset(str(data_bin / name), dataset_impl="mmap")
    return [item.tolist() for item in items]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def test_each_target_is_what_fairseq_generate_prints(
    data: Data, distilled: tuple[Path, str], fairseq: Command, translations: Translations
) -> None:
    output, printed = distilled
    arguments = ["--path", data.teacher, "--gen-subset", "train", *OPTIONS]
    generated = translations(fairseq("generate", data.folder, *arguments))
    dictionary = load_data_bin(data.folder, ["de"])[0]
    original = sentences(data.folder, "train.en-de.de")
    long = {i for i, source in enumerate(sentences(data.folder, "train.en-de.en")) if len(source) + 1 > LONGEST}
    targets, texts = sentences(output / "data-bin", "train.en-de.de"), lines(output / "train.de")
    assert len(targets) == len(texts) == len(generated) == PAIRS["train"]
    assert 3 < len(long) < 200
    translated = generated.keys() - long
    assert len({texts[i] for i in translated}) > 30, "the teacher's outputs are too much alike"
    assert len({len(targets[i]) for i in translated}) > 5
    for i, (target, text) in enumerate(zip(targets, texts, strict=True)):
        assert text == dictionary.text(torch.tensor(target), dictionary.unk_word)
        assert target[-1] == dictionary.eos()
        assert not {dictionary.bos(), dictionary.eos(), dictionary.pad(), dictionary.mask()} & set(target[:-1])
        if i in long:
            assert target == original[i]
    check_alike({i: texts[i] for i in translated}, {i: generated[i] for i in translated})
    unknown = sum(dictionary.unk() in target for i, target in enumerate(targets) if i not in long)
    assert printed.splitlines()[-1] == (
        f"{output / 'data-bin'}: 240 sentences; {len(long)} sources of more than {LONGEST} tokens kept their own "
        f"target; {unknown} translations have [UNK]"
    )
    assert re.search(r"(?m)^240 of 240 sentences, [\d.]+ sentences/s, 0:00:00 left$", printed)


def test_nothing_else_is_changed(data: Data, distilled: tuple[Path, str]) -> None:
    original, result = files(data.folder), files(distilled[0] / "data-bin")
    assert result.keys() == original.keys()
    assert {"dict.en.wordpiece.json", "dict.de.sentencepiece.model", "valid.en-de.de.bin"} <= result.keys()
    changed = {name for name in original if original[name] != result[name]}
    assert changed == {"train.en-de.de.bin", "train.en-de.de.idx"}


def kill_when(words: Sequence[str], log: Path, reached: Callable[[], bool]) -> None:
    """Start the command, and kill it once something is reached."""
    process = forked.start(words, log.parent, log)
    give_up = time.monotonic() + SECONDS
    while not reached():
        assert process.is_alive(), f"ended too early:\n{log.read_text(encoding='utf-8')}"
        assert time.monotonic() < give_up
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_same_files(
    data: Data,
    distilled: tuple[Path, str],
    line: Line,
    distill: Command,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    options = [*OPTIONS, "--shard-size", 40, "--max-source-positions", LONGEST]
    arguments = [data.folder, data.teacher, tmp_path, *options]
    shards = tmp_path / "shards"
    for number in ("000000000", "000000120"):  # within the second shard, and within the fifth
        log = tmp_path_factory.mktemp("killed") / "log"
        kill_when(line(*arguments), log, (shards / number).is_file)
        assert not (tmp_path / "data-bin").exists()
        assert not (tmp_path / "train.de").exists()
    written = {path: path.stat().st_mtime_ns for path in shards.glob("0*")}
    assert len(written) >= 4
    printed = distill(*arguments)
    assert f"{len(written)} of 6 shards were done before" in printed
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert files(tmp_path) == files(distilled[0])
    assert distill(*arguments) == f"{tmp_path / 'data-bin'} is complete, nothing is left to do\n"
    error = distill(*arguments, "--beam", 2, fails=True)
    assert named(error, tmp_path, "--beam", "2", "3")
    assert files(tmp_path) == files(distilled[0])


def test_a_student_trains_on_it(
    setting: Setting, distilled: tuple[Path, str], fairseq: Command, tmp_path: Path
) -> None:
    options = ["--bert-encoder", setting.bert, "--encoder-layers", 2, "--decoder-layers", 1, "--max-update", 2]
    output = fairseq("train", distilled[0] / "data-bin", *TRAIN, *options, "--save-dir", tmp_path)
    assert "num_updates 2" in output
    assert (tmp_path / "checkpoint_last.pt").is_file()


@pytest.mark.slow
def test_several_teachers_and_the_other_subset(
    data: Data, distill: Command, fairseq: Command, translations: Translations, tmp_path: Path
) -> None:
    second = add_noise(data.teacher.with_name("checkpoint_last.pt"), tmp_path / "second.pt", seed=2)
    teachers = f"{data.teacher}:{second}"
    distill(data.folder, teachers, tmp_path / "out", *OPTIONS, "--subset", "valid")
    arguments = ["--path", teachers, "--gen-subset", "valid", *OPTIONS]
    generated = translations(fairseq("generate", data.folder, *arguments))
    assert len(generated) == PAIRS["valid"]
    check_alike(dict(enumerate(lines(tmp_path / "out" / "valid.de"))), generated)
    original, result = files(data.folder), files(tmp_path / "out" / "data-bin")
    changed = {name for name in original if original[name] != result.get(name)}
    assert changed - {"valid.en-de.de.bin", "valid.en-de.de.idx"} == {"valid.en-de.de.txt"} - set(result)
    assert "valid.en-de.de.txt" not in result, "raw text of what was replaced"


@pytest.mark.slow
def test_teacher_that_is_not_autoregressive(
    setting: Setting, checkpoint: Path, distill: Command, fairseq: Command, translations: Translations, tmp_path: Path
) -> None:
    distill(setting.data_bin, checkpoint, tmp_path / "out", "--subset", "test", "--shard-size", 128)
    generated = translations(fairseq("generate", setting.data_bin, "--path", checkpoint, "--batch-size", 50))
    assert len(generated) == 300
    check_alike(dict(enumerate(lines(tmp_path / "out" / "test.de"))), generated)
    dictionary = load_data_bin(setting.data_bin, ["de"])[0]
    for target in sentences(tmp_path / "out" / "data-bin", "test.en-de.de"):
        assert target[-1] == dictionary.eos()
        assert not {dictionary.bos(), dictionary.eos(), dictionary.pad()} & set(target[:-1])
    error = distill(setting.data_bin, checkpoint, tmp_path / "other", "--lenpen", 0.5, fails=True)
    assert named(error, "bnb-distill", "--lenpen", "0.5")
