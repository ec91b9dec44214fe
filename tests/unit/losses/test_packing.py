"""From a batch to a list of positions and back, by hand."""

import pytest
import torch

from bnb_fairseq.losses.packing import Packing

POSITIONS = torch.tensor([[True, False, True, True], [False, False, False, False], [False, True, False, False]])


def test_sizes() -> None:
    packing = Packing(POSITIONS)
    assert packing.counts.tolist() == [3, 0, 1]
    assert packing.longest == 3


def test_chosen_are_in_the_order_of_a_mask() -> None:
    values = torch.arange(12).view(3, 4)
    assert Packing(POSITIONS).chosen(values).tolist() == values[POSITIONS].tolist() == [0, 2, 3, 9]


def test_repeated_by_hand() -> None:
    targets = torch.tensor([[1, 2], [3, 4], [5, 0]])
    assert Packing(POSITIONS).repeated(targets).tolist() == [[1, 2], [1, 2], [1, 2], [5, 0]]


def test_packed_by_hand() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64, requires_grad=True)
    packed = Packing(POSITIONS).packed(values)
    assert packed.dtype == torch.float64
    assert packed.tolist() == [[1, 2, 4], [0, 0, 0], [8, 0, 0]]
    factors = torch.tensor([[1.0, 10.0, 100.0], [7.0, 7.0, 7.0], [5.0, 7.0, 7.0]])
    (gradient,) = torch.autograd.grad((packed * factors).sum(), values)
    assert gradient.tolist() == [1, 10, 100, 5]


def test_packed_ids_and_rows() -> None:
    packing = Packing(POSITIONS)
    assert packing.packed(torch.tensor([7, 8, 9, 6])).tolist() == [[7, 8, 9], [0, 0, 0], [6, 0, 0]]
    rows = packing.packed(torch.arange(8.0).view(4, 2))
    assert rows[0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert rows[2].tolist() == [[6, 7], [0, 0], [0, 0]]


def test_totals_by_hand() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64, requires_grad=True)
    totals = Packing(POSITIONS).totals(values)
    assert totals.dtype == torch.float64
    assert totals.tolist() == [7.0, 0.0, 8.0]
    (gradient,) = torch.autograd.grad((totals * torch.tensor([1.0, 10.0, 100.0])).sum(), values)
    assert gradient.tolist() == [1.0, 1.0, 1.0, 100.0]


def test_means_by_hand() -> None:
    assert Packing(POSITIONS).means(torch.tensor([1.0, 2.0, 6.0, 8.0])).tolist() == [3.0, 0.0, 8.0]


def test_placed_by_hand() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0], requires_grad=True)
    placed = Packing(POSITIONS).placed(values, torch.full((3, 4), -1.0))
    assert placed.tolist() == [[1, -1, 2, 4], [-1] * 4, [-1, 8, -1, -1]]
    (gradient,) = torch.autograd.grad((placed * torch.arange(12.0).view(3, 4)).sum(), values)
    assert gradient.tolist() == [0, 2, 3, 9]


@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (0, 3)])
def test_no_position_keeps_the_graph_alive(shape: tuple[int, int]) -> None:
    packing, values = Packing(torch.zeros(shape, dtype=torch.bool)), torch.zeros(0, requires_grad=True)
    packed, totals = packing.packed(values), packing.totals(values)
    assert packed.shape == (shape[0], 0)
    assert totals.tolist() == [0.0] * shape[0]
    torch.autograd.backward(packed.sum() + totals.sum())
