"""fairseq-preprocess, killed at every moment: no part is ever read with another dictionary than that of its ids."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fairseq.tasks import FairseqTask

from bnb_fairseq.classification.sentence_prediction_bnb import SentencePredictionBnbTask
from bnb_fairseq.classification.sentence_prediction_config import SentencePredictionBnbConfig
from bnb_fairseq.tasks.config import TranslationBnbConfig
from bnb_fairseq.tasks.pretraining_bnb import PretrainingBnbTask
from bnb_fairseq.tasks.pretraining_config import PretrainingBnbConfig
from bnb_fairseq.tasks.question_generation_bnb import QuestionGenerationBnbTask
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ..conftest import ROOT
from . import forked
from .killed_preprocessing import preprocess

WORDS = [f"w{number}" for number in range(40)]
PARTS = {"train": 30, "valid": 5, "test": 5}
SPECIALS = 5  # ids of [PAD] and so on come first


def translation(kind: type[TranslationBnbTask]) -> Callable[[Path], FairseqTask]:
    def make(folder: Path) -> FairseqTask:
        return kind.setup_task(TranslationBnbConfig(data=str(folder), source_lang="en", target_lang="de"))

    return make


def pretraining(folder: Path) -> FairseqTask:
    return PretrainingBnbTask.setup_task(
        PretrainingBnbConfig(data=str(folder), tokens_per_sample=16, strategy="ae", sample_break_mode="eos", seed=1)
    )


def classification(folder: Path) -> FairseqTask:
    glue = folder.with_name(f"{folder.name}-glue")  # where it is the first text of two
    if not glue.exists():
        glue.mkdir()
        (glue / "input0").symlink_to(folder)
    cfg = SentencePredictionBnbConfig(data=str(glue), regression_target=True, num_classes=1)
    return SentencePredictionBnbTask.setup_task(cfg)


KINDS: dict[str, tuple[Callable[[Path], FairseqTask], tuple[str, ...]]] = {
    "translation_bnb": (translation(TranslationBnbTask), ("-s", "en", "-t", "de")),
    "question_generation_bnb": (translation(QuestionGenerationBnbTask), ("-s", "en", "-t", "de")),
    "pretraining_bnb": (pretraining, ("--only-source",)),
    "sentence_prediction_bnb": (classification, ("--only-source",)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, and two vocabularies of the same words in another order."""
    folder = tmp_path_factory.mktemp("killed")
    draw = random.Random(1)
    for part, lines in PARTS.items():
        text = [" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(lines)]
        answers = [line.replace(" ", "\t", 1) for line in text]  # and their contexts
        for language, written in (("", text), (".en", answers), (".de", text)):
            (folder / f"{part}{language}").write_text("".join(f"{line}\n" for line in written))
    for number in range(2):
        (folder / f"bert{number}").mkdir()
        draw.shuffle(WORDS)
        symbols = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
        (folder / f"bert{number}" / "vocab.txt").write_text("".join(f"{symbol}\n" for symbol in symbols))
    return folder


def command(folder: Path, task: str, vocabulary: int, *more: str) -> list[str]:
    words = ["fairseq-preprocess", "--user-dir", str(ROOT / "bnb_fairseq"), "--task", task, *KINDS[task][1]]
    bert = str(folder / f"bert{vocabulary}")
    words += ["--srcdict", bert] + ([] if "--only-source" in words else ["--tgtdict", bert])
    return [*words, *more]


def prefixes(folder: Path, *parts: str) -> Iterator[str]:
    for part in parts:
        yield from (f"--{part}pref", str(folder / part))


def read(task: str, folder: Path, texts: Path, part: str) -> str | None:
    """Return why a part cannot be read; None if it can, and is the text."""
    try:
        made = KINDS[task][0](folder)
        made.load_dataset(part)
        dataset = made.datasets[part]
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    sides = made.dictionaries()
    for side in ("source", "target") if "-s" in KINDS[task][1] else ("source",):
        items = [dataset[i][side] for i in range(len(dataset))]
        lines = [sides[side].string(ids[ids >= SPECIALS]) for ids in items]
        assert lines == (texts / part).read_text().splitlines(), (folder, part, side)
    return None


@pytest.mark.parametrize(
    ("task", "noted", "workers", "step"),
    [
        ("translation_bnb", True, 1, 1),
        ("question_generation_bnb", False, 3, 7),
        ("pretraining_bnb", False, 1, 2),
        ("sentence_prediction_bnb", True, 2, 3),
    ],
)
def test_other_vocabulary_of_the_same_size(
    task: str, noted: bool, workers: int, step: int, folder: Path, tmp_path: Path
) -> None:
    """``noted`` False: the older folder was made before parts had their dictionary's digest."""
    older = tmp_path / "older"
    line = command(folder, task, 0, *prefixes(folder, *PARTS), "--destdir", str(older))
    forked.run(line, tmp_path, tmp_path / "log", [str(ROOT)])
    if not noted:
        for path in older.glob("*.dict.json"):
            path.unlink()
    assert [read(task, older, folder, part) for part in PARTS] == [None] * 3
    words = command(folder, task, 1, *prefixes(folder, "train", "valid"), "--workers", str(workers))
    copies = preprocess(words, older, tmp_path / "copies", step)
    found = [[read(task, copy, folder, part) for part in PARTS] for copy in copies]
    assert found[0] == [None] * 3
    assert found[-1][:2] == [None, None]
    assert any(each == [None, None, None] for each in found[:-1]) and any(None not in each for each in found)
    other = "its ids are of the dictionary .*, but its folder now has .*: their symbols differ"
    assert re.search(other, found[-1][2] or "")
    forked.run([*words, "--destdir", str(copies[len(copies) // 2])], tmp_path, tmp_path / "log", [str(ROOT)])
    assert [read(task, copies[len(copies) // 2], folder, part) for part in ("train", "valid")] == [None, None]
