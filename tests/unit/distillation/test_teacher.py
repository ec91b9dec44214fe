"""What the teacher translates, in which batches, and what is kept of its hypotheses."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.data import indexed_dataset

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.pair_dataset import SentencePairDataset
from bnb_fairseq.distillation import teacher as teacher_module
from bnb_fairseq.distillation.output import Shard
from bnb_fairseq.distillation.teacher import (
    Corpus,
    Teacher,
    load_teacher,
    open_corpus,
    target_ids,
    text_line,
    translate,
)
from bnb_fairseq.engines.interface import Hypothesis
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

BOS, PAD, EOS, UNK, FIRST = 0, 1, 2, 3, 4  # of a plain dictionary
MakeDictionary = Callable[[int], BnbDictionary]


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        ([5, 6, EOS], [5, 6, EOS]),  # autoregressive
        ([BOS, 5, 6, EOS], [5, 6, EOS]),  # parallel, with a length classifier
        ([5, 6], [5, 6, EOS]),  # parallel, CTC
        ([EOS], [EOS]),
        ([], [EOS]),
        ([5, EOS, 6, BOS, PAD, 7, 14, PAD], [5, 6, 7, EOS]),  # 14: the mask symbol
        ([5, UNK, 5, EOS], [5, UNK, 5, EOS]),
    ],
)
def test_target_ids(hypothesis: list[int], expected: list[int], make_dictionary: MakeDictionary) -> None:
    dictionary = make_dictionary(10)
    assert dictionary.mask() == 14
    ids = target_ids(hypothesis, dictionary)
    assert ids.tolist() == expected
    assert ids.dtype == torch.int64


def test_text_line(make_dictionary: MakeDictionary, monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary = make_dictionary(10)
    assert text_line(torch.tensor([5, UNK, 7, EOS]), dictionary) == "w1 <unk> w3"
    assert text_line(torch.tensor([EOS]), dictionary) == ""
    monkeypatch.setattr(dictionary, "decode", lambda text: f"{text}\n\r\u2028x")
    assert text_line(torch.tensor([5, EOS]), dictionary) == "w1  \u2028x"


class ReversingEngine:
    """Translates by writing the source backwards, [CLS] first; keeps a record of its batches."""

    options: Mapping[str, Any] = {}
    batch_tokens = 100
    longest = 7

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []

    def side_by_side(self, search: Mapping[str, Any]) -> tuple[Any, int]:
        return self, 1

    def hypotheses(
        self, sources: Sequence[Sequence[int]], nbest: int, search: Mapping[str, Any], terms: None
    ) -> list[list[Hypothesis]]:
        assert (nbest, search) == (1, {"beam": 3})
        self.batches.append([list(source) for source in sources])
        texts = ([BOS, *reversed(source[1:-1]), EOS] for source in sources)
        return [[Hypothesis(text, [0.0] * len(text), 0.0)] for text in texts]


SOURCES = [[4, 5, 6, EOS], [7, EOS], [EOS], [5, 6, 7, 8, 9, 10, EOS], [8, 3, EOS], [9, 9, EOS], [4, 4, EOS]]
OWN = [[11, i + FIRST, EOS] for i in range(7)]


@pytest.fixture
def task(make_dictionary: MakeDictionary) -> Any:
    cfg = SimpleNamespace(source_lang="en", target_lang="de")
    return SimpleNamespace(src_dict=make_dictionary(10), tgt_dict=make_dictionary(12), cfg=cfg)


@pytest.fixture
def engine() -> ReversingEngine:
    return ReversingEngine()


@pytest.fixture
def teacher(task: Any, engine: Any) -> Teacher:
    return Teacher(engine, task, {"beam": 3}, 7)


def make_corpus(task: Any, max_tokens: int | None, batch_size: int | None) -> Corpus:
    sources, own = ([torch.tensor(sentence) for sentence in side] for side in (SOURCES, OWN))
    dataset = SentencePairDataset(sources, task.src_dict, None, task.tgt_dict, shuffle=False)
    nowhere: Any = None
    return Corpus(nowhere, dataset, own, max_tokens, batch_size)


@pytest.mark.parametrize(
    ("max_tokens", "batch_size"), [(None, 1), (None, 2), (None, 100), (8, None), (10, 2), (999, 3)]
)
@pytest.mark.parametrize("shard", [(0, 7), (2, 6), (3, 4), (6, 7)])
def test_every_sentence_is_translated_once_and_stays_in_its_place(
    shard: tuple[int, int],
    max_tokens: int | None,
    batch_size: int | None,
    task: Any,
    engine: ReversingEngine,
    teacher: Teacher,
) -> None:
    done: list[int] = []
    corpus = make_corpus(task, max_tokens, batch_size)
    found = translate(teacher, corpus, Shard(*shard), done.extend)
    # sentence 3 is longer than 7 tokens
    expected = [OWN[i] if i == 3 else [*reversed(SOURCES[i][:-1]), EOS] for i in range(*shard)]
    assert [ids.tolist() for ids in found.tokens] == expected
    words = [["<unk>" if i == UNK else f"w{i - FIRST}" for i in ids[:-1]] for ids in expected]
    assert found.texts == [" ".join(line) for line in words]
    assert (found.kept, found.unknown) == (int(3 in range(*shard)), int(4 in range(*shard)))
    assert sorted(done) == list(range(*shard))
    translated = sorted(source for batch in engine.batches for source in batch)
    # sentence 2 is empty
    assert translated == sorted([BOS, *SOURCES[i]] for i in range(*shard) if i not in (2, 3))
    assert all(len(batch) <= (batch_size or 99) for batch in engine.batches)
    assert all(len(batch) * max(map(len, batch)) <= (max_tokens or 999) for batch in engine.batches)


def test_batches_are_sorted_by_length_and_the_longest_come_first(
    task: Any, engine: ReversingEngine, teacher: Teacher
) -> None:
    translate(teacher, make_corpus(task, None, 3), Shard(0, 7), lambda _: None)
    numbers = [[SOURCES.index(source[1:]) for source in batch] for batch in engine.batches]
    assert numbers == [[6, 0], [1, 4, 5]]


def write_part(folder: Path, name: str, sentences: Sequence[Sequence[int]], impl: str = "mmap") -> None:
    builder = indexed_dataset.make_builder(str(folder / f"{name}.bin"), impl, 16)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence))
    builder.finalize(str(folder / f"{name}.idx"))


def open_part(teacher: Teacher, folder: Path, max_tokens: int | None = 99) -> Corpus:
    return open_corpus(teacher, folder, "train", max_tokens, 5)


@pytest.mark.parametrize("impl", ["mmap", "cached"])
@pytest.mark.parametrize("pair", ["en-de", "de-en"])
def test_open_corpus(pair: str, impl: str, task: Any, teacher: Teacher, tmp_path: Path) -> None:
    write_part(tmp_path, f"train.{pair}.en", SOURCES, impl)
    write_part(tmp_path, f"train.{pair}.de", OWN, impl)
    corpus = open_part(teacher, tmp_path)
    assert corpus.data == (tmp_path, "train", pair, "de", impl, len(task.tgt_dict))
    assert (corpus.max_tokens, corpus.batch_size) == (99, 5)
    assert [corpus.sources[i]["source"].tolist() for i in range(7)] == [[BOS, *sentence] for sentence in SOURCES]
    assert corpus.targets is not None
    assert [corpus.targets[i].tolist() for i in range(7)] == OWN
    done: list[int] = []
    found = translate(teacher, corpus, Shard(0, 7), done.extend)
    assert found.tokens[3].tolist() == OWN[3]
    assert found.tokens[0].tolist() == [6, 5, 4, EOS]


def test_source_that_fits_no_batch(teacher: Teacher, tmp_path: Path) -> None:
    write_part(tmp_path, "train.en-de.en", SOURCES)
    write_part(tmp_path, "train.en-de.de", OWN)
    open_part(teacher, tmp_path, max_tokens=5)  # the longest that is translated
    with pytest.raises(ValueError, match=r"^--max-tokens.*at least 5, the longest source.*4$"):
        open_part(teacher, tmp_path, max_tokens=4)
    with pytest.raises(ValueError, match=r"^--max-tokens.*at least 8, the longest source.*7$"):
        open_part(teacher._replace(longest=8), tmp_path, max_tokens=7)
    open_part(teacher._replace(longest=8), tmp_path, max_tokens=None)


def test_sources_without_targets(teacher: Teacher, tmp_path: Path) -> None:
    write_part(tmp_path, "train.en-de.en", SOURCES)
    expected = (
        "--max-source-positions and the teacher's positions must allow every source where train has no target to keep, "
        "but allow 7 tokens, which 1 sources exceed"
    )
    with pytest.raises(ValueError, match=f"^{expected}$"):
        open_part(teacher, tmp_path)
    corpus = open_part(teacher._replace(longest=8), tmp_path)
    assert corpus.targets is None
    found = translate(teacher._replace(longest=8), corpus, Shard(3, 4), lambda _: None)
    assert (found.tokens[0].tolist(), found.kept) == ([10, 9, 8, 7, 6, 5, EOS], 0)


def test_data_of_other_languages(teacher: Teacher, tmp_path: Path) -> None:
    write_part(tmp_path, "train.en-fr.en", SOURCES)
    with pytest.raises(FileNotFoundError, match=r"no train\.en-de\.en in"):
        open_part(teacher, tmp_path)


class Loaded(TranslationBnbTask):
    """A task without data."""

    def __init__(self) -> None:
        pass

    def max_positions(self) -> tuple[int, int]:
        return (300, 300)


class LoadedEngine:
    """Keeps what it was asked to check."""

    options: Mapping[str, Any] = {"beam": 5, "lenpen": 1.0}

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.checked: list[Any] = []

    def check(self, nbest: int, search: Mapping[str, Any]) -> None:
        self.checked.append((nbest, search))


GENERATION = {"beam": 4, "max_len_a": 1.5}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Load a teacher whose checkpoints give this engine and this task."""

    def loaded(engine: LoadedEngine, task: object, longest: int | None = None) -> tuple[Any, list[object]]:
        seen: list[object] = []

        def from_checkpoints(*places: object, precision: str) -> tuple[LoadedEngine, object]:
            seen.extend([*places, precision])
            return engine, task

        monkeypatch.setattr(teacher_module, "open_checkpoints", from_checkpoints)
        paths = [Path("a.pt"), Path("b.pt")]
        return load_teacher(paths, Path("bin"), GENERATION, "high", longest, cuda=False), seen

    return loaded


def test_load_teacher(load: Callable[..., Any]) -> None:
    engine, task = LoadedEngine(150), Loaded()
    teacher, seen = load(engine, task)
    assert seen == [[Path("a.pt"), Path("b.pt")], Path("bin"), "cpu", "high"]
    search = {"beam": 4, "lenpen": 1.0, "max_len_a": 1.5}
    assert engine.checked == [(1, search)]
    assert teacher == (engine, task, search, 150)


@pytest.mark.parametrize(
    ("own", "given", "longest"), [(200, None, 200), (200, 199, 199), (200, 201, 200), (200, 2, 2), (400, None, 300)]
)
def test_longest_source(own: int, given: int | None, longest: int, load: Callable[..., Any]) -> None:
    assert load(LoadedEngine(own), Loaded(), longest=given)[0].longest == longest


def test_teacher_of_another_task(load: Callable[..., Any]) -> None:
    expected = "^--teacher .* translation_bnb.* SimpleNamespace$"
    with pytest.raises(ValueError, match=expected):
        load(LoadedEngine(200), SimpleNamespace())
