"""A training that is started again has the batches of one in one go, and knows when it is finished."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fairseq_cli.train
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from bnb_fairseq import compat
from bnb_fairseq.classification.segments import SegmentsDataset
from bnb_fairseq.data.blocks import DocumentBlocks
from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.noise import permuted
from bnb_fairseq.data.pair_dataset import SentencePairDataset
from bnb_fairseq.data.pretraining_dataset import PretrainingDataset
from bnb_fairseq.resuming.interrupted import SAVING
from bnb_fairseq.resuming.restored import Progress
from bnb_fairseq.tasks.resuming import end_reached
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from .conftest import NON_AUTOREGRESSIVE

Config = Callable[..., DictConfig]


class Items(list[Tensor]):
    """60 items of two lengths."""

    def __init__(self) -> None:
        super().__init__(torch.tensor([4, 5, 6, 2][i % 2 :]) for i in range(60))
        self.sizes = np.array(list(map(len, self)))


def blocks() -> PretrainingDataset:
    return PretrainingDataset(DocumentBlocks(Items(), 12, True), BnbDictionary(), partial(permuted, share=0.5), seed=1)


DATA: dict[str, Callable[[], Any]] = {
    "pairs": lambda: SentencePairDataset(Items(), BnbDictionary(), Items(), BnbDictionary()),
    "blocks": blocks,
    "segments": lambda: SegmentsDataset(Items(), 1, None, shuffle=True),
    "ordered segments": lambda: SegmentsDataset(Items(), 1, None, shuffle=False),
}


@pytest.fixture
def task_of(config: Config) -> Callable[..., TranslationBnbTask]:
    return lambda *options: TranslationBnbTask.setup_task(config(*NON_AUTOREGRESSIVE, *options).task)


def epochs(task: TranslationBnbTask, dataset: Any, first: int, last: int) -> list[list[list[int]]]:
    """The batches of each epoch, as fairseq's trainer takes them in a process that starts in the first of these."""
    found = []
    task.datasets["train"] = dataset
    for epoch in range(first, last + 1):
        iterator = task.get_batch_iterator(dataset, max_sentences=6, epoch=epoch, seed=7)
        batches = iterator.next_epoch_itr(shuffle=True)
        assert iterator.epoch == epoch
        found.append([batch["id"].tolist() for batch in batches])
    return found


@pytest.mark.parametrize("kind", DATA)
def test_batches_do_not_depend_on_the_epoch_in_which_a_process_starts(
    kind: str, task_of: Callable[..., TranslationBnbTask]
) -> None:
    whole = epochs(task_of(), DATA[kind](), 1, 3)
    assert epochs(task_of(), DATA[kind](), 2, 3) == whole[1:]
    assert epochs(task_of(), DATA[kind](), 3, 3) == whole[2:]
    assert whole[0] != whole[1] != whole[2]
    assert all(sorted(i for batch in epoch for i in batch) == list(range(60)) for epoch in whole)


def test_the_first_epoch_is_as_it_was_before(task_of: Callable[..., TranslationBnbTask]) -> None:
    """Trainings that an older version has begun go on with the same batches."""
    dataset = DATA["pairs"]()
    with fairseq_cli.train.data_utils.numpy_seed(7 + 1):
        expected = [batch.tolist() for batch in dataset.batch_by_size(dataset.ordered_indices(), max_sentences=6)]
    for epoch in (1, 4):
        task = task_of()
        task.datasets["train"] = DATA["pairs"]()
        iterator = task.get_batch_iterator(task.datasets["train"], max_sentences=6, epoch=epoch, seed=7)
        assert [list(batch) for batch in iterator.frozen_batches] == expected


@pytest.mark.parametrize("option", ["update_epoch_batch_itr", "disable_iterator_cache"])
def test_batches_that_are_made_anew_in_every_epoch(option: str, task_of: Callable[..., TranslationBnbTask]) -> None:
    def frozen(task: TranslationBnbTask, epoch: int) -> list[list[int]]:
        more = {"seed": 7, option: True}
        iterator = task.get_batch_iterator(DATA["pairs"](), max_sentences=6, epoch=epoch, **more)
        return [list(batch) for batch in iterator.frozen_batches]

    task = task_of()
    assert frozen(task, 1) != frozen(task, 2) == frozen(task_of(), 2)


def test_a_seed_to_which_the_trainer_has_added_the_epoch(task_of: Callable[..., TranslationBnbTask]) -> None:
    option = "--update-ordered-indices-seed"
    iterators = []
    for epoch in (1, 3):
        task = task_of(option)
        task.datasets["train"] = DATA["pairs"]()
        dataset = task.datasets["train"]
        iterators.append(task.get_batch_iterator(dataset, max_sentences=6, epoch=epoch, seed=7 + epoch))
    first, third = iterators
    assert third.seed == first.seed == 8
    assert list(map(list, third.frozen_batches)) == list(map(list, first.frozen_batches))


def test_batches_of_a_passing_data_set_are_not_kept(task_of: Callable[..., TranslationBnbTask]) -> None:
    """fairseq-interactive makes a data set of every buffer of lines."""
    task = task_of()
    for _ in range(3):
        dataset = task.build_dataset_for_inference([torch.tensor([4, 2])], [2])
        assert len(list(task.get_batch_iterator(dataset, max_sentences=1).next_epoch_itr(shuffle=False))) == 1
    assert not task.dataset_to_epoch_iter
    task.load_dataset("train")
    task.get_batch_iterator(task.dataset("train"), max_sentences=1)
    assert list(task.dataset_to_epoch_iter) == [task.dataset("train")]


LIMITS = {
    "--max-update": ("--max-update=20", "--max-update 20"),
    "--max-epoch": ("--max-epoch=2", "--max-epoch 2"),
    "--stop-time-hours": ("--stop-time-hours=1.5", "--stop-time-hours 1.5 of 2.00"),
    "--patience": ("--patience=3", "--patience 3"),
}
DONE = Progress(updates=20, epoch=3, batches=0, hours=2.0, value=1.0, best=1.0, has_optimizer=True)


@pytest.mark.parametrize("limit", LIMITS)
def test_a_finished_training(limit: str, config: Config) -> None:
    option, reason = LIMITS[limit]
    cfg = config(*NON_AUTOREGRESSIVE, option)
    assert end_reached(cfg, DONE, bad_validations=3) == reason
    assert end_reached(cfg, DONE._replace(updates=19, epoch=2, hours=1.5), bad_validations=2) is None


@pytest.mark.parametrize("limit", ["--max-update", "--max-epoch", "--patience"])
def test_what_is_reset_does_not_count(limit: str, config: Config) -> None:
    reset = "--reset-optimizer" if limit == "--max-update" else "--reset-dataloader"
    assert end_reached(config(*NON_AUTOREGRESSIVE, LIMITS[limit][0], reset), DONE, 3) is None


def test_without_limits_or_optimizer_a_training_goes_on(config: Config) -> None:
    assert end_reached(config(*NON_AUTOREGRESSIVE), DONE, 9) is None
    without = DONE._replace(has_optimizer=False)  # fairseq counts its updates from 0
    assert end_reached(config(*NON_AUTOREGRESSIVE, "--max-update=20"), without, 9) is None


def test_a_finished_training_has_no_epoch_left(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    state = {
        "model": {},
        "optimizer_history": [{"num_updates": 20}],
        "extra_state": {"train_iterator": {"epoch": 1}, "TranslationBnbTask": {"best": 1.0, "bad_validations": 4}},
        "last_optimizer_state": {},
    }
    torch.save(state, tmp_path / "checkpoint_last.pt")
    for option, left in (("--max-update=21", 0), ("--max-update=20", -1), ("--patience=5", 0), ("--patience=4", -1)):
        cfg = config(*NON_AUTOREGRESSIVE, option, f"--save-dir={tmp_path}")
        TranslationBnbTask.setup_task(cfg.task).build_model(cfg.model)
        assert cfg.optimization.max_epoch == left
    said = [message for message in caplog.messages if "of a finished training" in message]
    assert len(said) == 2
    assert "checkpoint_last.pt is of a finished training (epoch 1, 20 updates): --max-update 20;" in said[0]


@pytest.fixture
def memory() -> Iterator[Any]:
    """fairseq's memory of early stopping, in attributes of a function."""
    function = fairseq_cli.train.should_stop_early
    before = dict(vars(function))
    yield function
    vars(function).clear()
    vars(function).update(before)


def test_patience_goes_on_counting(
    memory: Any, task_of: Callable[..., TranslationBnbTask], config: Config, tmp_path: Path
) -> None:
    vars(memory).clear()
    options = config("--arch=bert2bert", "--patience=3")
    task = task_of(f"--save-dir={tmp_path}")
    assert task.get_checkpoint_dict() == {"TranslationBnbTask": {"best": None, "bad_validations": 0}}
    assert [fairseq_cli.train.should_stop_early(options, loss) for loss in (2.0, 3.0, 2.5)] == [False] * 3
    state = task.get_checkpoint_dict()["TranslationBnbTask"]
    assert state == {"best": 2.0, "bad_validations": 2}
    vars(memory).clear()  # another process
    task.set_checkpoint_dict(state)
    assert fairseq_cli.train.should_stop_early(options, 2.5), "the third in a row"
    task.set_checkpoint_dict({})
    assert compat.early_stopping() == (None, 0)


def test_a_note_lies_in_the_folder_while_a_save_lasts(
    task_of: Callable[..., TranslationBnbTask], tmp_path: Path
) -> None:
    task = task_of(f"--save-dir={tmp_path}")
    task.get_checkpoint_dict()
    assert (tmp_path / SAVING).exists()
    task.post_save(str(tmp_path / "checkpoint1.pt"), 10)
    assert not (tmp_path / SAVING).exists()
    task_of(f"--save-dir={tmp_path}", "--no-last-checkpoints").get_checkpoint_dict()
    assert not (tmp_path / SAVING).exists()
