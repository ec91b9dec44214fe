"""Batches of the pretraining strategies: exact for a seed, the same whoever reads them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bnb_fairseq.data.blocks import DocumentBlocks
from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.noise import Masking, Noise, autoencoded, continued, masked, permuted
from bnb_fairseq.data.pretraining_dataset import PretrainingDataset


class Lines(list[Tensor]):
    """Lines of words from 4, ended by [SEP] (2)."""

    def __init__(self, lengths: Sequence[int]) -> None:
        for length in lengths:
            self.append(torch.tensor([*range(4, 4 + length), 2], dtype=torch.int32))
        self.sizes = np.array([length + 1 for length in lengths], dtype=np.int32)


def dictionary() -> BnbDictionary:
    """<s> 0, <pad> 1, </s> 2, <unk> 3, words 4 to 23, <mask> 24."""
    words = BnbDictionary()
    for i in range(20):
        words.add_symbol(f"w{i}")
    words.add_mask()
    return words


MASKING = Masking.of(dictionary(), 0.3, 0.1, 0.1)
STRATEGIES: dict[str, Noise] = {
    "ae": autoencoded,
    "mlm": partial(masked, masking=MASKING),
    "plm": partial(permuted, share=0.5),
    "clm": partial(continued, least=0.2, most=0.3),
}


def dataset(strategy: str, lengths: Sequence[int] = (10, 6), seed: int = 1, **options: Any) -> PretrainingDataset:
    blocks = DocumentBlocks(Lines(lengths), 12, by_line=True)
    return PretrainingDataset(blocks, dictionary(), STRATEGIES[strategy], seed, **options)


def batch(data: PretrainingDataset) -> dict[str, Any]:
    return data.collater([data[i] for i in range(len(data))])


@pytest.mark.parametrize(
    ("strategy", "sources", "targets"),
    [
        (
            "ae",
            [[0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 2], [0, 4, 5, 6, 7, 8, 9, 2, 1, 1, 1, 1]],
            [[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 2], [4, 5, 6, 7, 8, 9, 2, 1, 1, 1, 1]],
        ),
        (
            "mlm",  # 7, 9 and, in the second block, 6 and 9 became [MASK], 11 another word
            [[0, 4, 5, 6, 24, 8, 24, 10, 19, 12, 13, 2], [0, 4, 5, 24, 7, 8, 24, 2, 1, 1, 1, 1]],
            [[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 2], [4, 5, 6, 7, 8, 9, 2, 1, 1, 1, 1]],
        ),
        (
            "plm",  # 4, 7, 8, 9 and 11 changed places, and 5 and 9 in the second block
            [[0, 7, 5, 6, 11, 4, 8, 10, 9, 12, 13, 2], [0, 4, 9, 6, 7, 8, 5, 2, 1, 1, 1, 1]],
            [[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 2], [4, 5, 6, 7, 8, 9, 2, 1, 1, 1, 1]],
        ),
        (
            "clm",
            [[0, 4, 5, 6, 7, 8, 9, 10, 2], [0, 4, 5, 6, 7, 2, 1, 1, 1]],
            [[11, 12, 13, 2], [8, 9, 2, 1]],
        ),
    ],
)
def test_a_batch_by_hand(strategy: str, sources: list[list[int]], targets: list[list[int]]) -> None:
    made = batch(dataset(strategy))
    assert made["net_input"]["src_tokens"].tolist() == sources
    assert made["net_input"]["src_lengths"].tolist() == [len(row) - row.count(1) for row in sources]
    assert made["target"].tolist() == targets
    assert made["ntokens"] == sum(len(row) - row.count(1) for row in targets)


def test_an_autoregressive_target() -> None:
    made = batch(dataset("clm", target_bos=False))
    assert made["target"].tolist() == [[11, 12, 13, 2], [8, 9, 2, 1]]
    assert made["net_input"]["prev_output_tokens"].tolist() == [[0, 11, 12, 13], [0, 8, 9, 1]]


@pytest.mark.parametrize("strategy", ["mlm", "plm", "clm"])
def test_noise_changes_with_seed_epoch_and_block(strategy: str) -> None:
    lengths = [12] * 40

    def noised(seed: int, epoch: int) -> list[str]:
        data = dataset(strategy, lengths, seed)
        data.set_epoch(epoch)
        return [str((data[i]["source"].tolist(), data[i]["target"].tolist())) for i in range(40)]

    first = noised(1, 1)
    assert noised(1, 1) == first
    assert len(set(first)) > 1, "blocks have noise of their own"
    assert noised(1, 2) != first
    assert noised(2, 1) != first


def test_without_set_epoch_the_noise_stays() -> None:
    data = dataset("mlm")
    assert data[0]["source"].tolist() == dataset("mlm")[0]["source"].tolist() == data[0]["source"].tolist()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_workers_do_not_matter(strategy: str) -> None:
    lengths = [int(n) for n in np.random.default_rng(5).integers(4, 13, size=60)]
    data = dataset(strategy, lengths)
    data.set_epoch(3)
    batches = [list(range(start, start + 6)) for start in range(0, 60, 6)]
    read = [
        [
            (made["id"].tolist(), made["net_input"]["src_tokens"].tolist(), made["target"].tolist())
            for made in DataLoader(data, batch_sampler=batches, collate_fn=data.collater, num_workers=workers)
        ]
        for workers in (0, 1, 4)
    ]
    assert len(read[0]) == 10
    assert read[0] == read[1] == read[2]


def test_sizes_bound_what_the_noise_makes() -> None:
    for strategy in STRATEGIES:
        data = dataset(strategy, (12, 5, 9))
        for i, length in enumerate((14, 7, 11)):
            assert data.num_tokens(i) == length
            assert len(data[i]["source"]) <= length
            assert 1 + len(data[i]["target"]) <= length
