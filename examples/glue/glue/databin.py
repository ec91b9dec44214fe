"""Examples as a data-bin folder in fairseq's layout for GLUE, written by fairseq-preprocess's own functions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from fairseq.binarizer import FileBinarizer, VocabularyDatasetBinarizer
from fairseq.data import Dictionary, indexed_dataset

from bnb_fairseq.classification.labels import FILLER
from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.raw_texts import Preprocessing

from .tasks import TaskData, TextTask
from .tsv import Example

TRAIN, VALID, TEST = "train", "valid", "test"


def split_names(kind: str, count: int) -> list[str]:
    """Fairseq's names of several parts of a kind: valid, valid1, ..."""
    return [f"{kind}{i or ''}" for i in range(count)]


def write_data_bin(folder: Path, task: TextTask, data: TaskData, dictionary: BnbDictionary, workers: int) -> str:
    """Write a task's parts as train, valid, valid1, ..., test, test1, ..., texts split by the dictionary.

    Returns a text with the number of tokens and the share of unknown ones. Raises ValueError if a label cannot stand in
    a dictionary.
    """
    labelled = {TRAIN: data.train.examples}
    labelled |= dict(zip(split_names(VALID, len(data.dev)), (table.examples for table in data.dev), strict=True))
    tests = dict(zip(split_names(TEST, len(data.test)), (table.examples for table in data.test), strict=True))
    everything = {**labelled, **tests}
    (folder / "label").mkdir(parents=True, exist_ok=True)
    if task.bounds is None:
        _write_classes(folder / "label", labelled, data.labels)
    else:
        _write_numbers(folder / "label", labelled)
    tokens = unknown = 0
    for i in range(len(task.train.columns.texts)):
        counted = _write_texts(folder / f"input{i}", everything, i, dictionary, workers)
        tokens, unknown = tokens + counted[0], unknown + counted[1]
    return f"{tokens:,} tokens, {unknown / max(tokens, 1):.2%} of them unknown"


def _write_texts(
    folder: Path, parts: Mapping[str, Sequence[Example]], column: int, dictionary: BnbDictionary, workers: int
) -> tuple[int, int]:
    folder.mkdir(exist_ok=True)
    dictionary.preprocessing = Preprocessing({"dict.txt": [folder / split for split in parts]}, {}, {})
    dictionary.save(str(folder / "dict.txt"))
    tokens = unknown = 0
    for split, examples in parts.items():
        raw = folder / f"{split}.txt"
        raw.write_text("".join(f"{example.texts[column]}\n" for example in examples), encoding="utf-8")
        binarizer = VocabularyDatasetBinarizer(dictionary, append_eos=True)
        counted = FileBinarizer.multiprocess_dataset(
            str(raw), "mmap", binarizer, str(folder / split), vocab_size=len(dictionary), num_workers=workers
        )
        tokens, unknown = tokens + counted.num_tok, unknown + counted.num_replaced
    return tokens, unknown


def _write_classes(folder: Path, parts: Mapping[str, Sequence[Example]], labels: Sequence[str]) -> None:
    dictionary = Dictionary()
    counts = Counter(example.label for example in parts[TRAIN])
    for label in labels:
        if label in dictionary or not label or FILLER.fullmatch(label):
            raise ValueError(f"the label {label!r} is reserved in fairseq's dictionaries; rename it")
        dictionary.add_symbol(label, n=counts[label])
    dictionary.save(str(folder / "dict.txt"))
    for split, examples in parts.items():
        builder = indexed_dataset.make_builder(str(folder / f"{split}.bin"), "mmap", vocab_size=len(dictionary))
        for example in examples:
            builder.add_item(torch.tensor([dictionary.index(example.label), dictionary.eos()]))
        builder.finalize(str(folder / f"{split}.idx"))


def _write_numbers(folder: Path, parts: Mapping[str, Sequence[Example]]) -> None:
    for split, examples in parts.items():
        lines = "".join(f"{float(example.label)}\n" for example in examples)
        (folder / f"{split}.label").write_text(lines, encoding="utf-8")
