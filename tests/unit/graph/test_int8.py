"""Matrices in int8, multiplied as processors with AVX2 do: two neighbouring products are added in 16 bits."""

import numpy as np
import pytest

from bnb_fairseq.graph.int8 import Array, quantised


def multiply_with_avx2(rows: Array, matrix: Array) -> Array:
    """The product of uint8 rows and an int8 matrix; sums of two neighbours saturate."""
    if len(matrix) % 2:
        rows, matrix = np.pad(rows, ((0, 0), (0, 1))), np.pad(matrix, ((0, 1), (0, 0)))
    products = rows.astype(np.int64)[:, :, None] * matrix.astype(np.int64)
    pairs = products.reshape(len(rows), -1, 2, matrix.shape[1]).sum(axis=2)
    found: Array = pairs.clip(-(2**15), 2**15 - 1).sum(axis=1)
    return found


@pytest.mark.parametrize("inputs", [1, 64, 65])
def test_every_processor_computes_the_same_integers(inputs: int) -> None:
    """For the inputs that make the largest and the smallest sums, too."""
    matrix = np.random.default_rng(inputs).standard_t(2, (inputs, 40)).astype(np.float32)
    matrix[:2, 0] = matrix.max()  # neighbours that are the largest
    values, scales = quantised(matrix, axis=0)
    for rows in (np.where(values.T > 0, 255, 1), np.where(values.T > 0, 1, 255)):
        rows = rows.astype(np.uint8)
        assert (multiply_with_avx2(rows, values) == rows.astype(np.int64) @ values).all()
    assert (np.abs(values * scales - matrix) <= scales * 0.501).all()
    assert (np.abs(values.astype(np.int64)).max(axis=0) >= 63).all()  # in the worst case as with 7 bits


def test_rows_of_a_table_as_columns_of_a_matrix() -> None:
    table = np.random.default_rng(0).standard_normal((30, 17)).astype(np.float32)
    values, scales = quantised(table, axis=1)
    turned, of_columns = quantised(table.T, axis=0)
    assert (values == turned.T).all()
    assert (scales == of_columns.T).all()


def test_zeros() -> None:
    values, scales = quantised(np.zeros((4, 3), dtype=np.float32), axis=0)
    assert not values.any()
    assert np.isfinite(scales).all()
