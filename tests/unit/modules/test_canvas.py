"""The canvas against slow loops in exact arithmetic."""

import math
from fractions import Fraction

import pytest
import torch

from bnb_fairseq.modules.canvas import lengths_around, padding_mask, upsample_latent, upsampled_lengths

RATIOS = [0.1, 0.25, 0.3, 0.5, 0.7, 0.95, 1.0, 1.1, 1.5, 2.0, 2.5, 3.0]


def test_padding_mask() -> None:
    mask = padding_mask(torch.tensor([3, 0, 1]), 3)
    assert mask.tolist() == [[False, False, False], [True, True, True], [False, True, True]]
    assert padding_mask(torch.tensor([2]), 4).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize(
    ("upsample", "expected"),
    [
        (1.0, [0, 1, 2, 3, 5, 100]),
        (1.5, [0, 2, 3, 5, 8, 150]),
        (2.0, [0, 2, 4, 6, 10, 200]),
        (2.5, [0, 3, 5, 8, 13, 250]),
        (3.0, [0, 3, 6, 9, 15, 300]),
        (1.01, [0, 2, 3, 4, 6, 101]),
        (0.99, [0, 1, 2, 3, 5, 99]),
        (0.5, [0, 1, 1, 2, 3, 50]),
        (0.25, [0, 1, 1, 1, 2, 25]),
        (0.01, [0, 1, 1, 1, 1, 1]),
        (1e-12, [0, 1, 1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_upsampled_lengths_by_hand(upsample: float, expected: list[int], dtype: torch.dtype) -> None:
    lengths = upsampled_lengths(torch.tensor([0, 1, 2, 3, 5, 100], dtype=dtype), upsample)
    assert lengths.dtype == dtype
    assert lengths.tolist() == expected


def test_extra_positions_by_hand() -> None:
    """An empty source has no canvas; the others have 3 positions more."""
    lengths = upsampled_lengths(torch.tensor([0, 1, 2, 5, 100]), 0.5, 3)
    assert lengths.tolist() == [0, 4, 4, 6, 53]


def test_upsampled_lengths_are_those_of_the_ratio_as_it_was_typed() -> None:
    """1.1 and 2.2 are no binary fractions; 170 x 1.1 is 187 all the same."""
    sources = torch.arange(1, 513)
    for hundredths in range(1, 501):
        expected = [-(-length * hundredths // 100) for length in range(1, 513)]
        assert upsampled_lengths(sources, hundredths / 100).tolist() == expected, hundredths


@pytest.mark.parametrize("mask_added", [True, False])
@pytest.mark.parametrize("upsample", RATIOS)
@pytest.mark.parametrize("lengths", [[5, 2, 1], [4], [1], [7, 7], [40, 39, 21, 11, 10, 3]])
def test_against_a_slow_loop(upsample: float, lengths: list[int], mask_added: bool) -> None:
    longest = max(lengths)
    latent = torch.randn(len(lengths), longest, 3, generator=torch.Generator().manual_seed(1))
    canvas = upsample_latent(latent, torch.tensor(lengths), upsample, mask_added)
    ratio = Fraction(str(upsample))
    size = math.ceil(ratio * longest)
    assert canvas.latent.shape == (len(lengths), size, 3)
    assert canvas.padding.shape == (len(lengths), size)
    assert (canvas.added is not None) == mask_added
    for b, length in enumerate(lengths):
        own = math.ceil(ratio * length)
        assert int(canvas.lengths[b]) == own
        for a in range(size):
            source = math.floor(a / ratio)
            assert torch.equal(canvas.latent[b, a], latent[b, source])
            assert bool(canvas.padding[b, a]) == (a >= own)
            if a < own:
                assert source < length  # no position reads padding
            if canvas.added is not None:
                repeated = a > 0 and math.floor((a - 1) / ratio) == source
                assert bool(canvas.added[b, a]) == repeated


@pytest.mark.parametrize(
    ("upsample", "sources", "added"),
    [
        (0.2, [0], [0]),
        (0.5, [0, 2], [0, 0]),
        (0.6, [0, 1, 3], [0, 0, 0]),  # 0, 5/3 and 10/3, rounded down
        (0.75, [0, 1, 2], [0, 0, 0]),
        (1.0, [0, 1, 2, 3], [0, 0, 0, 0]),
        (1.5, [0, 0, 1, 2, 2, 3], [0, 1, 0, 0, 1, 0]),
        (2.0, [0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 0, 1, 0, 1]),
        (2.5, [0, 0, 0, 1, 1, 2, 2, 2, 3, 3], [0, 1, 1, 0, 1, 0, 1, 1, 0, 1]),
        (3.0, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], [0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1]),
    ],
)
def test_by_hand(upsample: float, sources: list[int], added: list[int]) -> None:
    latent = torch.arange(4.0).view(1, 4, 1)
    canvas = upsample_latent(latent, torch.tensor([4]), upsample, mask_added=True)
    assert canvas.latent.flatten().tolist() == sources
    assert canvas.added is not None
    assert canvas.added.long().tolist() == [added]
    assert not canvas.padding.any()


def test_no_position_of_a_short_sentence_reads_the_padding() -> None:
    """For ratios that are no binary fractions, in company of a longer sentence."""
    lengths = torch.arange(1, 401)
    latent = torch.arange(400.0).view(1, 400, 1).expand(400, 400, 1)
    for upsample in (1.1, 1.35, 2.2, 2.7):
        canvas = upsample_latent(latent, lengths, upsample, mask_added=False)
        largest = canvas.latent.squeeze(2).masked_fill(canvas.padding, -1).amax(dim=1)
        assert torch.equal(largest, lengths.float() - 1)  # and every source position is read


def test_below_one_no_position_repeats_another_or_reads_the_padding() -> None:
    """Every length of a source up to 400, all in one batch, for ratios that are no binary fractions, too."""
    lengths = torch.arange(1, 401)
    latent = torch.arange(400.0).view(1, 400, 1).expand(400, 400, 1)
    for upsample in (0.05, 0.1, 0.3, 0.35, 0.5, 0.7, 0.9, 0.99):
        canvas = upsample_latent(latent, lengths, upsample, mask_added=True)
        assert canvas.added is not None
        assert not (canvas.added & ~canvas.padding).any()
        ratio = Fraction(str(upsample))
        for length, row, padding in zip(lengths.tolist(), canvas.latent.squeeze(2), canvas.padding, strict=True):
            read = [int(place) for place in row[~padding].tolist()]
            assert read == [math.floor(a / ratio) for a in range(math.ceil(ratio * length))]
            assert read == sorted(set(read))
            assert read[-1] < length


def test_gradients_add_up_over_the_copies() -> None:
    latent = torch.zeros(1, 3, 2, requires_grad=True)
    canvas = upsample_latent(latent, torch.tensor([3]), 2.5, mask_added=False)
    torch.autograd.backward(canvas.latent.sum())
    assert latent.grad is not None
    assert latent.grad[0, :, 0].tolist() == [3.0, 2.0, 3.0]  # positions 0-2, 3-4, 5-7


@pytest.mark.parametrize("mask_added", [True, False])
def test_a_ratio_for_each_sentence(mask_added: bool) -> None:
    """Every canvas length up to thrice that of a source of up to 40 tokens, all in one batch, each as if alone."""
    pairs = [(source, canvas) for source in range(1, 41) for canvas in range(1, 3 * source + 1)]
    lengths, wanted = torch.tensor(pairs).unbind(dim=1)
    latent = torch.arange(40.0).view(1, 40, 1).expand(len(pairs), 40, 1)
    canvas = upsample_latent(latent, lengths, wanted / lengths.double(), mask_added)
    assert canvas.lengths.tolist() == wanted.tolist()
    assert canvas.latent.shape == (len(pairs), 120, 1)
    for row, (source, length) in enumerate(pairs):
        places = [a * source // length for a in range(length)]
        assert canvas.latent[row, :length, 0].tolist() == places
        assert (~canvas.padding[row]).sum() == length
        assert len(set(places)) == min(source, length)
        if canvas.added is not None:
            repeated = [a > 0 and places[a] == places[a - 1] for a in range(length)]
            assert canvas.added[row, :length].tolist() == repeated


def test_lengths_around_by_hand() -> None:
    """Steps of 4, 1, 1 and 2 (a tenth of 44, 14, 4 and 20), within bounds."""
    found = lengths_around(torch.tensor([44, 14, 4, 20]), torch.tensor([22, 13, 2, 10]), 50, 6)
    assert found.tolist() == [
        [44, 48, 40, 50, 36, 50],
        [14, 15, 13, 16, 13, 17],
        [4, 5, 3, 6, 2, 7],
        [20, 22, 18, 24, 16, 26],
    ]
    assert lengths_around(torch.tensor([44]), torch.tensor([22]), 50, 1).tolist() == [[44]]
