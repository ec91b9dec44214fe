"""The data-bin folder that is made of examples, read back by the task."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bnb_fairseq.classification.labels import label_names, load_classes, load_label_dictionary, load_numbers
from bnb_fairseq.classification.sentence_prediction_bnb import SentencePredictionBnbTask
from bnb_fairseq.classification.sentence_prediction_config import SentencePredictionBnbConfig
from bnb_fairseq.data.dictionary import load_dictionary

from .conftest import Part, Write

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "it", "is", "was", "not", ".", "matched"]


@pytest.fixture
def make(part: Part, glue: Path, write: Write) -> Callable[..., Path]:
    """Write the data-bin folder of one of GLUE's tasks."""

    def write_one(name: str) -> Path:
        tasks, task = part("tasks"), part("tasks").GLUE[name]
        dictionary = load_dictionary(str(write(glue / "vocab.txt", WORDS)))
        data = tasks.read_task(task, glue / name, with_test=True)
        said = part("databin").write_data_bin(glue / "bin", task, data, dictionary, 1)
        assert "tokens" in said
        return glue / "bin"

    return write_one


def ids(task: SentencePredictionBnbTask, split: str) -> list[list[int]]:
    dataset = task.load_dataset(split)
    return [dataset[i]["source"].tolist() for i in range(len(dataset))]


def test_classes_and_several_parts(make: Callable[..., Path]) -> None:
    folder = make("MNLI")
    dictionary = load_label_dictionary(folder / "label" / "dict.txt")
    assert label_names(dictionary) == ["contradiction", "entailment", "neutral"]
    parts = {split: load_classes(str(folder / "label" / split), dictionary) for split in ("train", "valid", "valid1")}
    assert {split: None if c is None else c.tolist() for split, c in parts.items()} == {
        "train": [2, 0],
        "valid": [1],
        "valid1": [1],
    }
    cfg = SentencePredictionBnbConfig(data=str(folder), regression_target=False, classification_head_name="head")
    task = SentencePredictionBnbTask.setup_task(cfg)
    assert ids(task, "train") == [[2, 5, 6, 9, 3, 5, 7, 9, 3], [2, 5, 6, 9, 3, 5, 6, 8, 9, 3]]
    assert ids(task, "valid") == [[2, 10, 9, 3, 5, 6, 9, 3]]
    assert ids(task, "valid1") == [[2, 1, 9, 3, 5, 6, 9, 3]]
    assert ids(task, "test1") == [[2, 6, 1, 9, 3, 6, 9, 3]]


def test_numbers(make: Callable[..., Path]) -> None:
    folder = make("STS-B")
    numbers = load_numbers(folder / "label" / "train.label", 1)
    assert numbers is not None
    assert numbers.tolist() == [[1.25], [5.0]]
    assert not (folder / "label" / "dict.txt").exists()


@pytest.mark.parametrize("label", ["<pad>", "", "madeupword0000"])
def test_labels_with_another_meaning(label: str, part: Part, tmp_path: Path, write: Write) -> None:
    tasks, tsv = part("tasks"), part("tsv")
    file = write(tmp_path / "x.tsv", [f"it\t{label}", "was\tx"])
    task = tasks.custom_task(file, file, None, tsv.Columns((1,), 2, header=False), regression=False)
    data = tasks.read_task(task, tmp_path, with_test=False)
    dictionary = load_dictionary(str(write(tmp_path / "vocab.txt", WORDS)))
    with pytest.raises(ValueError, match=f"the label {label!r} .*fairseq's dictionaries"):
        part("databin").write_data_bin(tmp_path / "bin", task, data, dictionary, 1)


def test_labels_may_have_spaces(part: Part, tmp_path: Path, write: Write) -> None:
    tasks, tsv = part("tasks"), part("tsv")
    file = write(tmp_path / "x.tsv", ["it\tweb pages", "was\t3 7"])
    task = tasks.custom_task(file, file, None, tsv.Columns((1,), 2, header=False), regression=False)
    data = tasks.read_task(task, tmp_path, with_test=False)
    dictionary = load_dictionary(str(write(tmp_path / "vocab.txt", WORDS)))
    part("databin").write_data_bin(tmp_path / "bin", task, data, dictionary, 1)
    assert label_names(load_label_dictionary(tmp_path / "bin" / "label" / "dict.txt")) == ["3 7", "web pages"]
