"""Labels of a data-bin folder, and what can be wrong with them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from fairseq.data import indexed_dataset

from bnb_fairseq.classification.labels import label_names, load_classes, load_label_dictionary, load_numbers
from bnb_fairseq.data.dictionary import load_dictionary

Write = Callable[[Path, Sequence[str]], Path]
EOS, UNKNOWN, NO, YES = 2, 3, 4, 5


def write_classes(prefix: Path, items: Sequence[Sequence[int]]) -> str:
    builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", vocab_size=100)
    for item in items:
        builder.add_item(torch.tensor(item))
    builder.finalize(f"{prefix}.idx")
    return str(prefix)


def test_what_fairseq_fills_up_with_is_no_label(tmp_path: Path, write: Write) -> None:
    lines = ["no 7", "maybe so 5", "yes 3", *(f"madeupword{i:04} 0" for i in range(5))]
    dictionary = load_label_dictionary(write(tmp_path / "dict.txt", lines))
    assert label_names(dictionary) == ["no", "maybe so", "yes"]


def test_classes_follow_the_dictionary(tmp_path: Path, write: Write) -> None:
    dictionary = load_label_dictionary(write(tmp_path / "dict.txt", ["no 7", "yes 3"]))
    classes = load_classes(write_classes(tmp_path / "train", [[YES, EOS], [NO, EOS], [YES]]), dictionary)
    assert classes is not None
    assert classes.tolist() == [1, 0, 1]
    assert classes.dtype == torch.int64
    assert load_classes(str(tmp_path / "test"), dictionary) is None


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ([UNKNOWN, EOS], "the label of item 1 must be one of the 2 in"),
        ([YES + 1, EOS], "the label of item 1 must be one of the 2 in"),  # the mask symbol
        ([NO, YES, EOS], "the label of item 1 must be one symbol, but is 2"),
        ([EOS], "the label of item 1 must be one symbol, but is 0"),
    ],
)
def test_labels_that_are_not_in_the_dictionary(item: list[int], message: str, tmp_path: Path, write: Write) -> None:
    dictionary = load_label_dictionary(write(tmp_path / "dict.txt", ["no 7", "yes 3"]))
    prefix = write_classes(tmp_path / "train", [[NO, EOS], item])
    with pytest.raises(ValueError, match=f"{tmp_path}/train: {message}"):
        load_classes(prefix, dictionary)


def test_dictionaries_that_are_none_of_labels(tmp_path: Path, write: Write) -> None:
    with pytest.raises(ValueError, match=f"there is no file {tmp_path}/dict.txt"):
        load_label_dictionary(tmp_path / "dict.txt")
    write(tmp_path / "vocab.txt", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    load_dictionary(str(tmp_path / "vocab.txt")).save(str(tmp_path / "dict.txt"))
    with pytest.raises(ValueError, match=r"dict.txt must list labels, but has a subword tokenizer"):
        load_label_dictionary(tmp_path / "dict.txt")


def test_numbers(tmp_path: Path, write: Write) -> None:
    numbers = load_numbers(write(tmp_path / "train.label", ["0.25", " 5 ", "-1e-1"]), 1)
    assert numbers is not None
    assert numbers.tolist() == [[0.25], [5.0], [pytest.approx(-0.1)]]
    assert numbers.dtype == torch.float32
    assert load_numbers(tmp_path / "test.label", 1) is None


@pytest.mark.parametrize("line", ["", "five", "1 2", "nan", "inf"])
def test_lines_that_hold_no_number(line: str, tmp_path: Path, write: Write) -> None:
    write(tmp_path / "train.label", ["1.5", line])
    with pytest.raises(ValueError, match=rf"train.label, line 2: must hold 1 number\(s\) .* but is {line!r}"):
        load_numbers(tmp_path / "train.label", 1)
