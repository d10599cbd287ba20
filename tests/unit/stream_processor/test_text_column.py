"""Columns of text as numbers and back, and ranks, against what Arrow and numpy say of the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processor.text_column import build_texts, rank, split_texts

TEXTS = st.lists(st.one_of(st.none(), st.sampled_from(["gas", "", "bridge", "ä"])), max_size=30)


@given(TEXTS)
def test_a_column_that_was_split_is_built_again(rows):
    code, texts = split_texts(pa.array(rows, pa.string()))
    assert len(texts) == len(set(rows) - {None})
    built = build_texts(texts, code)
    assert built.to_pylist() == rows
    assert built.type == pa.dictionary(pa.int32(), pa.string())


@given(TEXTS)
def test_a_column_of_several_chunks_is_split_as_one_of_one(rows):
    chunks = pa.chunked_array([pa.array(rows[:3], pa.string()), pa.array(rows[3:], pa.string())])
    code, texts = split_texts(chunks)
    assert [None if each < 0 else texts[each] for each in code] == rows


def test_equal_texts_become_one_and_those_of_no_row_are_left_out():
    built = build_texts(["bad", "good", "good", "uncertain"], np.array([2, 1, 0, -1, 2], np.int8))
    assert built.to_pylist() == ["good", "good", "bad", None, "good"]
    assert sorted(built.dictionary.to_pylist()) == ["bad", "good"]


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50))
@pytest.mark.parametrize("dtype", [np.uint32, np.int64])
def test_ranks_are_those_of_numpy(dtype, numbers):
    column = np.array(numbers, dtype)
    distinct, place = rank(column)
    expected, inverse = np.unique(column, return_inverse=True)
    assert distinct.tolist() == expected.tolist()
    assert place.tolist() == inverse.tolist()
