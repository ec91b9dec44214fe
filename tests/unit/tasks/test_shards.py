"""--num-shards and --shard-id: batches fall into exactly one shard, and the options count where they have an effect."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnb_fairseq.data.pair_dataset import SentencePairDataset
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

MakeTask = Callable[..., TranslationBnbTask]
SENTENCES = 7


def with_part(task: TranslationBnbTask, sentences: int = SENTENCES) -> SentencePairDataset:
    items = [torch.tensor([4] * (i % 3) + [2]) for i in range(sentences)]
    dataset = SentencePairDataset(items, task.src_dict, None, task.tgt_dict, shuffle=False)
    task.datasets["test"] = dataset
    return dataset


def ids(task: TranslationBnbTask, dataset: SentencePairDataset, **options: Any) -> list[list[int]]:
    iterator = task.get_batch_iterator(
        dataset, max_sentences=2, required_batch_size_multiple=1, disable_iterator_cache=True, **options
    )
    return [batch["id"].tolist() for batch in iterator.next_epoch_itr(shuffle=False)]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_shards_hold_every_batch_once(count: int, make_task: MakeTask) -> None:
    task = make_task()
    whole = ids(task, with_part(task))
    assert len(whole) == 4  # of 2, 2, 2 and 1
    shards = []
    for number in range(count):
        task = make_task("--num-shards", str(count), "--shard-id", str(number))
        shards.append(ids(task, with_part(task)))
    assert sorted(batch for shard in shards for batch in shard) == sorted(whole)
    assert [batch for batch in whole if batch in shards[-1]] == shards[-1], "in order"
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_processes_divide_a_shard_further(make_task: MakeTask) -> None:
    """fairseq's own shards, one for each process, are of what --num-shards left."""
    task = make_task("--num-shards", "2", "--shard-id", "1")
    dataset = with_part(task)
    shard = ids(task, dataset)
    parts = [ids(task, dataset, num_shards=2, shard_id=rank) for rank in (0, 1)]
    assert [*parts[0], *parts[1]] == shard
    assert all(len(part) == 1 for part in parts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--num-shards", "0"), "--num-shards must be at least 1, but is 0"),
        (("--num-shards", "3", "--shard-id", "3"), "--shard-id must lie between 0 and 2 .*--num-shards 3, but is 3"),
        (("--num-shards", "3", "--shard-id", "-1"), "--shard-id must lie between 0 and 2 .*but is -1"),
        (("--shard-id", "1"), "--shard-id must lie between 0 and 0 .*--num-shards 1, but is 1"),
    ],
)
def test_shards_that_do_not_exist(options: tuple[str, ...], message: str, make_task: MakeTask) -> None:
    task = make_task(*options)
    with pytest.raises(ValueError, match=message):
        ids(task, with_part(task))


def test_no_effect_on_typed_lines_and_in_training(make_task: MakeTask) -> None:
    task = make_task("--num-shards", "2", "--shard-id", "1")
    typed = task.build_dataset_for_inference([torch.tensor([4, 2])], [2])
    with pytest.raises(ValueError, match="--num-shards 2 and --shard-id 1 are for fairseq-generate"):
        ids(task, typed)
    with pytest.raises(ValueError, match=r"--num-shards 2 and --shard-id 1 .*--distributed-world-size"):
        task.start_training()
    task = make_task()
    assert ids(task, task.build_dataset_for_inference([torch.tensor([4, 2])], [2])) == [[0]]


@pytest.mark.parametrize(
    ("sentences", "options", "message"),
    [
        (0, (), "test is empty"),
        (SENTENCES, ("--num-shards", "9", "--shard-id", "8"), "test: .*no batch .*--shard-id 8 of --num-shards 9"),
    ],
)
def test_nothing_left(
    sentences: int, options: tuple[str, ...], message: str, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Translating nothing succeeds; training on nothing and validating with nothing do not."""
    task = make_task(*options)
    dataset = with_part(task, sentences)
    monkeypatch.setattr(sys, "argv", ["/bin/fairseq-generate"])
    with pytest.raises(SystemExit) as end:
        ids(task, dataset)
    assert end.value.code == 0
    monkeypatch.setattr(sys, "argv", ["/bin/fairseq-validate"])
    with pytest.raises(ValueError, match=message):
        ids(task, dataset)


def test_everything_left_out(make_task: MakeTask) -> None:
    task = make_task()
    dataset = with_part(task)
    with pytest.raises(ValueError, match="test: all 7 sentences"):
        ids(task, dataset, max_positions=(1, 1), ignore_invalid_inputs=True)
