"""Rows gathered and scattered whole are what numpy's own indexing gives."""

import numpy as np
import pytest

from stream_processor.packed_rows import gather, scatter


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_rows_are_those_of_numpys_indexing(dtype, count):
    random = np.random.default_rng(1)
    table = random.normal(0.0, 100.0, (20, 5)).astype(dtype)
    rows = random.integers(0, 20, count)
    np.testing.assert_array_equal(gather(table, rows), table[rows], strict=True)
    values = random.normal(0.0, 100.0, (count, 5)).astype(dtype)
    expected = table.copy()
    expected[rows] = values
    scatter(table, rows, values)
    np.testing.assert_array_equal(table, expected, strict=True)


def test_what_was_gathered_is_a_copy_and_any_layout_can_be_scattered():
    table = np.arange(12.0).reshape(4, 3)
    share = gather(table, np.array([1]))
    share[0, 0] = -1.0
    assert table[1, 0] == 3.0
    scatter(table, np.array([0, 3]), np.asfortranarray([[7.0, 8.0, 9.0], [np.nan, -0.0, 1.0]]))
    assert table[0].tolist() == [7.0, 8.0, 9.0]
    assert np.isnan(table[3, 0])
    assert np.signbit(table[3, 1])


def test_a_row_that_there_is_not_is_an_error():
    with pytest.raises(IndexError):
        gather(np.zeros((3, 2)), np.array([3]))
    with pytest.raises(IndexError):
        scatter(np.zeros((3, 2)), np.array([3]), np.zeros((1, 2)))
