"""What the teacher translates, in which batches, and what is kept of its hypotheses."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.data import indexed_dataset
from fairseq.dataclass.configs import GenerationConfig

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
    for dtype in (torch.int32, torch.int64):
        ids = target_ids(torch.tensor(hypothesis, dtype=dtype), dictionary)
        assert ids.tolist() == expected
        assert ids.dtype == torch.int64


def test_text_line(make_dictionary: MakeDictionary, monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary = make_dictionary(10)
    assert text_line(torch.tensor([5, UNK, 7, EOS]), dictionary) == "w1 <unk> w3"
    assert text_line(torch.tensor([EOS]), dictionary) == ""
    monkeypatch.setattr(dictionary, "decode", lambda text: f"{text}\n\r\u2028x")
    assert text_line(torch.tensor([5, EOS]), dictionary) == "w1  \u2028x"


class ReversingTask:
    """Translates by writing the source backwards, [CLS] first; keeps a record of its batches."""

    def __init__(self, source: BnbDictionary, target: BnbDictionary) -> None:
        self.src_dict, self.tgt_dict = source, target
        self.cfg = SimpleNamespace(source_lang="en", target_lang="de")
        self.batches: list[list[int]] = []
        self.paddings: list[int] = []

    def inference_step(self, generator: str, models: list[str], sample: dict[str, Any]) -> list[list[dict[str, Any]]]:
        assert (generator, models) == ("generator", ["model"])
        self.batches.append(sample["id"].tolist())
        tokens, lengths = sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"]
        self.paddings.append(int((tokens == PAD).sum()))
        best = [[BOS, *reversed(row[1 : n - 1].tolist()), EOS] for row, n in zip(tokens, lengths, strict=True)]
        return [[{"tokens": torch.tensor(ids)}, {"tokens": torch.tensor([FIRST, EOS])}] for ids in best]


SOURCES = [[4, 5, 6, EOS], [7, EOS], [EOS], [5, 6, 7, 8, 9, 10, EOS], [8, 3, EOS], [9, 9, EOS], [4, 4, EOS]]
OWN = [[11, i + FIRST, EOS] for i in range(7)]


@pytest.fixture
def task(make_dictionary: MakeDictionary) -> ReversingTask:
    return ReversingTask(make_dictionary(10), make_dictionary(12))


@pytest.fixture
def teacher(task: Any) -> Teacher:
    return Teacher(task, ["model"], "generator", 7, cuda=False)


def make_corpus(task: ReversingTask, max_tokens: int | None, batch_size: int | None) -> Corpus:
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
    task: ReversingTask,
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
    assert sorted(i for batch in task.batches for i in batch) == [i for i in range(*shard) if i != 3]
    lengths = {i: len(sentence) + 1 for i, sentence in enumerate(SOURCES)}
    assert all(len(batch) <= (batch_size or 99) for batch in task.batches)
    assert all(len(batch) * max(lengths[i] for i in batch) <= (max_tokens or 999) for batch in task.batches)


def test_batches_are_sorted_by_length_and_the_longest_come_first(task: ReversingTask, teacher: Teacher) -> None:
    translate(teacher, make_corpus(task, None, 3), Shard(0, 7), lambda _: None)
    assert task.batches == [[5, 6, 0], [2, 1, 4]]
    assert task.paddings == [2, 3]


def write_part(folder: Path, name: str, sentences: Sequence[Sequence[int]], impl: str = "mmap") -> None:
    builder = indexed_dataset.make_builder(str(folder / f"{name}.bin"), impl, 16)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence))
    builder.finalize(str(folder / f"{name}.idx"))


def open_part(teacher: Teacher, folder: Path, max_tokens: int | None = 99) -> Corpus:
    return open_corpus(teacher, folder, "train", max_tokens, 5)


@pytest.mark.parametrize("impl", ["mmap", "cached"])
@pytest.mark.parametrize("pair", ["en-de", "de-en"])
def test_open_corpus(pair: str, impl: str, task: ReversingTask, teacher: Teacher, tmp_path: Path) -> None:
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


class Model:
    """Records what is done to it."""

    def __init__(self, positions: tuple[int, int]) -> None:
        self.positions = positions
        self.beams: list[int] = []

    def max_positions(self) -> tuple[int, int]:
        return self.positions

    def prepare_for_inference_(self, cfg: Any) -> None:
        self.beams.append(cfg.generation.beam)


class Loaded(TranslationBnbTask):
    """A task without data that keeps the options of its generator."""

    def __init__(self) -> None:
        self.built: list[Any] = []

    def max_positions(self) -> tuple[int, int]:
        return (300, 300)

    def build_generator(self, *arguments: Any) -> str:
        self.built.append(arguments)
        return "generator"


GENERATION = {"beam": 4, "max_len_a": 1.5, "max_len_b": 20, "lenpen": 0.6, "iter_decode_max_iter": 2}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Load a teacher whose checkpoints hold these models and this task."""

    def loaded(models: list[Model], task: object, longest: int | None = None) -> tuple[Any, dict[str, object]]:
        seen: dict[str, object] = {}

        def from_checkpoints(paths: list[Path], overrides: dict[str, object]) -> tuple[list[Model], object]:
            seen.update(overrides, paths=paths)
            return models, task

        monkeypatch.setattr(teacher_module, "load_models", from_checkpoints)
        paths, generation = [Path("a.pt"), Path("b.pt")], GenerationConfig(**GENERATION)
        return load_teacher(paths, Path("bin"), generation, "high", longest, cuda=False), seen

    return loaded


def test_load_teacher(load: Callable[..., Any]) -> None:
    models, task = [Model((200, 100)), Model((150, 400))], Loaded()
    teacher, seen = load(models, task)
    assert seen.pop("paths") == [Path("a.pt"), Path("b.pt")]
    switched_off = {"eval_bleu": False, "eval_rouge": False, "eval_meteor": False, "truncate_source": False}
    assert seen == {"data": "bin", "float32_matmul_precision": "high", **switched_off}
    assert [model.beams for model in models] == [[4], [4]]
    ((built_models, generation),) = task.built
    assert built_models == models
    assert {name: getattr(generation, name) for name in GENERATION} == GENERATION
    assert (teacher.task, teacher.models, teacher.generator) == (task, models, "generator")
    assert (teacher.longest, teacher.cuda) == (150, False)


@pytest.mark.parametrize(("given", "longest"), [(None, 200), (199, 199), (201, 200), (2, 2)])
def test_longest_source(given: int | None, longest: int, load: Callable[..., Any]) -> None:
    assert load([Model((200, 100))], Loaded(), longest=given)[0].longest == longest


def test_teacher_of_another_task(load: Callable[..., Any]) -> None:
    expected = "^--teacher .* translation_bnb.* SimpleNamespace$"
    with pytest.raises(ValueError, match=expected):
        load([Model((200, 100))], SimpleNamespace())
