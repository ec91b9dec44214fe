"""Collapsing a canvas: closed-form cases, and every small canvas against itertools."""

import itertools

import numpy as np
import pytest

from bnb_fairseq.generation.collapse import compact, text_of

B = 9  # the blank


@pytest.mark.parametrize(
    ("tokens", "length", "kept"),
    [
        ([5, 5, 6, 6], 4, [0, 2]),
        ([5, B, 5, 6], 4, [0, 2, 3]),  # a true double word
        ([5, 5, B, B, 5, 5], 6, [0, 4]),
        ([5, B, B, 5, B, 5], 6, [0, 3, 5]),
        ([B, B, B], 3, []),
        ([B, 5, 5, B], 4, [1]),
        ([5, 6, 5, 6], 4, [0, 1, 2, 3]),
        ([5, 6, 7, 8], 2, [0, 1]),  # what lies beyond the canvas is nobody's
        ([5, 5, 5, 6], 3, [0]),
        ([B, 5, 6, 7], 1, []),
        ([5], 1, [0]),
        ([5, 6], 0, []),
    ],
)
def test_kept_by_hand(tokens: list[int], length: int, kept: list[int]) -> None:
    mask = text_of(B, merges=True)(np.array([tokens]), np.array([length]))
    assert mask.dtype == np.bool_
    assert np.flatnonzero(mask[0]).tolist() == kept


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_every_canvas_of_four_positions(blank: int) -> None:
    """All of them in one batch, cut at every length."""
    canvases = list(itertools.product(range(3), repeat=4))
    for length in range(5):
        tokens = np.array(canvases)
        kept = text_of(blank, merges=True)(tokens, np.full(len(canvases), length))
        assert np.array_equal(tokens, np.array(canvases))
        for canvas, row in zip(canvases, kept, strict=True):
            merged = [symbol for symbol, _ in itertools.groupby(canvas[:length]) if symbol != blank]
            assert [canvas[a] for a in np.flatnonzero(row)] == merged


def test_compact_by_hand() -> None:
    values = np.array([[5, 6, 7, 8], [1, 2, 3, 4], [9, 9, 9, 9]])
    kept = np.array([[False, True, False, True], [True, False, True, True], [False] * 4])
    assert compact(values, kept, 0).tolist() == [[6, 8, 0], [1, 3, 4], [0, 0, 0]]
    assert compact(values, kept, 7).tolist() == [[6, 8, 7], [1, 3, 4], [7, 7, 7]]
    assert values.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4], [9, 9, 9, 9]]


def test_compact_keeps_the_type() -> None:
    values = np.array([[-0.5, -1.5], [-2.5, -3.5]], np.float32)
    scores = compact(values, np.array([[False, True], [False, False]]), 0.0)
    assert scores.dtype == np.float32
    assert scores.tolist() == [[-1.5], [0.0]]


@pytest.mark.parametrize("sentences", [0, 2])
def test_compact_of_nothing(sentences: int) -> None:
    empty = np.zeros((sentences, 3), np.int64)
    assert compact(empty, empty.astype(np.bool_), 1).shape == (sentences, 0)


def test_kept_on_a_canvas_by_hand() -> None:
    tokens = np.array([[5, B, 5, 5], [B, 5, 6, 7], [B, B, B, B], [5, 6, 7, 8]])
    kept = text_of(B, merges=False)(tokens, np.array([4, 2, 3, 4]))
    assert kept.astype(int).tolist() == [[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
