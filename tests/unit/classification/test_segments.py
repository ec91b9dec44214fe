"""Texts and pairs of texts: exact ids, shortening, batches."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from bnb_fairseq.classification.segments import Segments, SegmentsDataset, shortened_lengths

CLS, SEP, PAD = 101, 102, 0


def texts(*items: Sequence[int]) -> list[Tensor]:
    return [torch.tensor([*item, SEP], dtype=torch.int32) for item in items]


def slowly(first: int, second: int, room: int) -> tuple[int, int]:
    """Take one token after the other from the longer segment, from the second of equals."""
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


@pytest.mark.parametrize(
    ("first", "second", "room", "kept"),
    [
        (3, 4, 7, (3, 4)),
        (3, 4, 6, (3, 3)),  # the longer one loses
        (3, 4, 5, (3, 2)),  # then the second of equals
        (9, 2, 6, (4, 2)),
        (2, 9, 6, (2, 4)),
        (9, 9, 7, (4, 3)),
        (0, 9, 4, (0, 4)),
    ],
)
def test_the_longer_segment_loses_first(first: int, second: int, room: int, kept: tuple[int, int]) -> None:
    a, b = shortened_lengths(np.array([first]), np.array([second]), room)
    assert (int(a[0]), int(b[0])) == kept


def test_shortening_is_that_of_taking_one_token_after_the_other() -> None:
    pairs = [(a, b) for a in range(12) for b in range(12)]
    first, second = np.array(pairs).T
    for room in range(2, 24):
        a, b = shortened_lengths(first, second, room)
        assert list(zip(a.tolist(), b.tolist(), strict=True)) == [slowly(*pair, room) for pair in pairs]


def test_one_text_an_item() -> None:
    segments = Segments(texts([5, 6], []), None, CLS)
    assert [item.tolist() for item in segments] == [[CLS, 5, 6, SEP], [CLS, SEP]]
    assert segments.sizes.tolist() == [4, 2]
    assert segments[0].dtype == torch.int64


def test_two_texts_an_item() -> None:
    segments = Segments(texts([5, 6], []), texts([7], [8]), CLS)
    assert [item.tolist() for item in segments] == [[CLS, 5, 6, SEP, 7, SEP], [CLS, SEP, 8, SEP]]
    assert segments.sizes.tolist() == [6, 4]
    assert segments.shortened == 0


def test_shortened_items_keep_every_special_symbol() -> None:
    one = Segments(texts([5, 6, 7, 8], [5]), None, CLS, longest=4)
    assert [item.tolist() for item in one] == [[CLS, 5, 6, SEP], [CLS, 5, SEP]]
    assert (one.sizes.tolist(), one.shortened) == ([4, 3], 1)
    two = Segments(texts([5, 6, 7, 8], [5]), texts([9, 10], [11]), CLS, longest=7)
    assert [item.tolist() for item in two] == [[CLS, 5, 6, SEP, 9, 10, SEP], [CLS, 5, SEP, 11, SEP]]
    assert (two.sizes.tolist(), two.shortened) == ([7, 5], 1)
    assert all(len(item) == size for items in (one, two) for item, size in zip(items, items.sizes, strict=True))


def test_a_text_and_a_token_of_each_must_fit() -> None:
    assert [item.tolist() for item in Segments(texts([5, 6]), texts([7, 8]), CLS, longest=5)] == [[CLS, 5, SEP, 7, SEP]]
    with pytest.raises(ValueError, match=r"3 special symbols .* 4 tokens"):
        Segments(texts([5, 6]), texts([7, 8]), CLS, longest=4)
    with pytest.raises(ValueError, match=r"2 special symbols .* 2 tokens"):
        Segments(texts([5, 6]), None, CLS, longest=2)


def test_both_sides_need_the_same_number() -> None:
    with pytest.raises(ValueError, match=r"input0 .*input1 .* 2 and 1"):
        Segments(texts([5], [6]), texts([7]), CLS)


def dataset(
    shuffle: bool = False, targets: Tensor | None = None, lengths: Sequence[int] = (3, 1, 2)
) -> SegmentsDataset:
    return SegmentsDataset(Segments(texts(*([9] * length for length in lengths)), None, CLS), PAD, targets, shuffle)


def test_batch() -> None:
    data = dataset(targets=torch.tensor([1, 0, 2]))
    batch = data.collater([data[0], data[1]])
    assert batch["net_input"]["src_tokens"].tolist() == [[CLS, 9, 9, 9, SEP], [CLS, 9, SEP, PAD, PAD]]
    assert batch["net_input"]["src_lengths"].tolist() == [5, 3]
    assert batch["target"].tolist() == [1, 0]
    assert batch["target"].dtype == torch.int64
    assert (batch["id"].tolist(), batch["nsentences"], batch["ntokens"]) == ([0, 1], 2, 8)
    assert data.collater([]) == {}
    unlabelled = dataset()
    assert "target" not in unlabelled.collater([unlabelled[0]])


def test_numbers_stay_numbers() -> None:
    data = dataset(targets=torch.tensor([[0.5], [1.5], [2.5]]))
    assert data.collater([data[2], data[0]])["target"].tolist() == [[2.5], [0.5]]


def test_sizes() -> None:
    data = dataset()
    assert [data.num_tokens(i) for i in range(3)] == [data.size(i) for i in range(3)] == [5, 3, 4]
    assert data.num_tokens_vec(np.array([2, 0])).tolist() == [4, 5]
    assert data.filter_indices_by_size(np.arange(3), 4)[1] == [0]


def test_order() -> None:
    ordered = dataset()
    assert ordered.ordered_indices().tolist() == [1, 2, 0]
    assert ordered.can_reuse_epoch_itr_across_epochs
    shuffled = dataset(shuffle=True, lengths=range(1, 30))
    orders = [shuffled.ordered_indices().tolist() for _ in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(29))
    assert orders[0] != orders[1]
    assert not shuffled.can_reuse_epoch_itr_across_epochs


@pytest.mark.parametrize("multiple", [1, 8])
def test_every_item_is_in_a_batch(multiple: int) -> None:
    data = dataset(lengths=[2] * 21)
    batches = data.batch_by_size(data.ordered_indices(), max_sentences=8, required_batch_size_multiple=multiple)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(21))
