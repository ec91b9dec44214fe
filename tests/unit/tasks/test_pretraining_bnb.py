"""The pretraining task's data in numbered parts; the rest is in integration/test_pretraining.py."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fairseq.data import indexed_dataset

from bnb_fairseq.tasks.pretraining_bnb import PretrainingBnbTask
from bnb_fairseq.tasks.pretraining_config import PretrainingBnbConfig

from ...facts import names

# <s> 0, <pad> 1, </s> 2, <unk> 3, words 4, 5, 6, <mask> 7; an empty line ends a document.
PARTS = {"train": [[4, 5], [], [4]], "train1": [[6], [5, 4, 5, 4, 5]], "train2": [[5, 5]], "train4": [[6]]}


def write_part(folder: Path, name: str, lines: Sequence[list[int]]) -> None:
    builder = indexed_dataset.make_builder(str(folder / f"{name}.bin"), "mmap", vocab_size=100)
    for line in lines:
        builder.add_item(torch.tensor([*line, 2]))
    builder.finalize(str(folder / f"{name}.idx"))


def make_task(folder: Path, strategy: str = "ae") -> PretrainingBnbTask:
    (folder / "dict.txt").write_text("the 3\ncell 2\nopens 1\n")
    for name, lines in PARTS.items():
        write_part(folder, name, lines)
    options = {"strategy": strategy, "tokens_per_sample": 6, "seed": 1, "train_subset": "train", "dataset_impl": None}
    config = PretrainingBnbConfig(data=str(folder))
    for name, value in options.items():
        setattr(config, name, value)
    return PretrainingBnbTask.setup_task(config)


def test_numbered_parts(tmp_path: Path) -> None:
    """No block holds the end of one part and the beginning of the next."""
    task = make_task(tmp_path)
    blocks = [[4, 5, 2], [4, 2], [6, 5, 4, 2], [5, 4, 5, 2], [5, 5, 2]]
    for combine, count in ((False, 2), (True, 5)):
        task.load_dataset("train", combine=combine)
        dataset = task.dataset("train")
        assert [dataset[i]["source"].tolist() for i in range(len(dataset))] == [[0, *b] for b in blocks[:count]]
        assert dataset.source_sizes.tolist() == [len(block) + 1 for block in blocks[:count]]
        assert not dataset.supports_prefetch
    assert dataset.ordered_indices().shape == (5,)


def test_a_numbered_part_that_is_wrong(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    write_part(tmp_path, "train2", [[4], [], [], [4]])
    with pytest.raises(ValueError, match=names(f"{tmp_path}/train2", "3")):
        task.load_dataset("train", combine=True)
    with pytest.raises(FileNotFoundError, match=names("dev.bin", "dev.idx", tmp_path)):
        task.load_dataset("dev", combine=True)
