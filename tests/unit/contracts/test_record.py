"""Records: columns of one length, put one behind another."""

from __future__ import annotations

import dataclasses

import numpy as np

from contracts.record import Record, concatenate
from contracts.uplink import BatchIdentity

TYPES = {
    "channel_id": np.uint32,
    "phenomenon_ns": np.int64,
    "received_ns": np.int64,
    "value": np.float64,
    "reason": np.uint8,
    "is_historical": np.bool_,
    "batch_index": np.int32,
}


def record_of(channels, batches, batch_index):
    """A record whose columns are all made from the channel numbers."""
    numbers = np.array(channels)
    columns = {name: numbers.astype(kind) for name, kind in TYPES.items()} | {
        "is_historical": numbers % 2 == 0,
        "value": numbers + 0.5,
        "batch_index": np.array(batch_index, np.int32),
    }
    return Record(**columns, batches=tuple(batches))


ONE, TWO = BatchIdentity("gw-1", 1, 1), BatchIdentity("gw-1", 1, 2)


def test_records_are_joined_in_order_and_every_row_keeps_its_batch():
    first = record_of([1, 2, 3], [ONE, None], [0, 1, 0])
    second = record_of([4, 5], [TWO], [0, 0])
    joined = concatenate([first, second, first])
    assert joined.channel_id.tolist() == [1, 2, 3, 4, 5, 1, 2, 3]
    assert joined.value.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5, 1.5, 2.5, 3.5]
    assert [joined.batches[index] for index in joined.batch_index] == [ONE, None, ONE, TWO, TWO, ONE, None, ONE]
    assert len(joined) == 8


def test_the_columns_keep_their_types():
    for records in ([], [record_of([1], [ONE], [0])], [record_of([1], [ONE], [0]), record_of([2], [None], [0])]):
        joined = concatenate(records)
        assert {name: getattr(joined, name).dtype.type for name in TYPES} == TYPES
        assert len(joined) == len(records)


def test_every_column_is_checked_here():
    assert {field.name for field in dataclasses.fields(Record)} == set(TYPES) | {"batches"}
