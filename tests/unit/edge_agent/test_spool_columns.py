"""The octets of a batch in the spool: exact, checked, and never a wrong value."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.spool.batch_columns import NO_READINGS, READINGS_MAX, BatchColumns, decode_columns, encode_columns
from simulators.spool_ledger import decode_body

NAMES = {number: (f"node-{number}", "level") for number in range(70_000)}
rows = st.lists(
    st.tuples(
        st.integers(0, 69_999),
        st.integers(-(2**60), 2**60),
        st.none() | st.floats(allow_nan=False),
        st.integers(0, 255),
    ),
    max_size=50,
)


def columns_of(readings) -> BatchColumns:
    return BatchColumns(*([*column] for column in zip(*readings, strict=True))) if readings else NO_READINGS


def readings_of(columns) -> list:
    return list(zip(*columns, strict=True))


@given(rows, st.integers(0, 2**62), st.integers(0, 2**62))
@settings(max_examples=200)
def test_every_batch_comes_back_bit_for_bit_and_a_foreign_decoder_reads_the_same(readings, epoch, batch):
    octets = encode_columns(epoch, batch, columns_of(readings))
    assert readings_of(decode_columns(epoch, batch, octets)) == readings
    foreign = list(decode_body(epoch, batch, octets, NAMES))
    assert foreign == [(*NAMES[channel_id], *rest) for channel_id, *rest in readings]


@given(rows.filter(bool), st.data())
@settings(max_examples=100)
def test_a_batch_with_one_changed_bit_is_refused(readings, data):
    octets = bytearray(encode_columns(5, 9, columns_of(readings)))
    at = data.draw(st.integers(0, 8 * len(octets) - 1))
    octets[at // 8] ^= 1 << (at % 8)
    with pytest.raises(ValueError, match="5/9"):
        decode_columns(5, 9, bytes(octets))


@pytest.mark.parametrize("length", [0, 3, 4, 15, 20, 60])
def test_a_batch_that_is_cut_off_is_refused(length):
    octets = encode_columns(5, 9, columns_of([(1, 10, 1.0, 0)] * 20))
    with pytest.raises(ValueError, match="5/9"):
        decode_columns(5, 9, octets[:length])


def test_a_batch_under_another_ones_number_is_refused():
    octets = encode_columns(5, 9, columns_of([(1, 10, 1.0, 0)]))
    for identity in ((5, 10), (6, 9)):
        with pytest.raises(ValueError, match="wrong checksum"):
            decode_columns(*identity, octets)


def test_nan_is_no_value_and_infinity_is_one():
    readings = [(1, 10, math.nan, 0), (1, 11, math.inf, 0)]
    assert [
        value for _, _, value, _ in readings_of(decode_columns(1, 1, encode_columns(1, 1, columns_of(readings))))
    ] == [
        None,
        math.inf,
    ]


def test_a_batch_of_too_many_readings_is_refused_with_its_number():
    with pytest.raises(ValueError, match="7/8: 65536 readings"):
        encode_columns(7, 8, columns_of([(1, 10, 1.0, 0)] * (READINGS_MAX + 1)))


def test_readings_of_one_poll_share_their_time():
    one_poll = columns_of([(number, 10, 1.0, 0) for number in range(100)])
    each_its_own = columns_of([(number, 10 + number, 1.0, 0) for number in range(100)])
    assert len(encode_columns(1, 1, one_poll)) == 16 + 6 + 100 * 10 + 4
    assert len(encode_columns(1, 1, each_its_own)) == 16 + 100 * 16 + 4
