"""Records on Kafka: what is written is read back, and bytes that are none are refused with a reason."""

import numpy as np
import pytest

from contracts.errors import RecordError
from contracts.notice import BatchesLost, ChannelsLost, Quarantined
from contracts.quality import Reason
from contracts.record import Record
from contracts.record_message import (
    HourOfGateway,
    ObservationMessage,
    PartitionTotals,
    ScoredMessage,
    decode_observations,
    decode_scored,
    encode_observations,
    encode_scored,
)
from contracts.uplink import BatchIdentity

BATCHES = (BatchIdentity("gw-1", 3, 17), None)
LOST = (ChannelsLost("gw-1", (1, 2), Reason.BUS_LOST, 5),)
GONE = (BatchesLost("gw-1", 3, ((1, 4), (9, 9))),)


def record(count=3):
    return Record(
        channel_id=np.arange(count, dtype=np.uint32),
        phenomenon_ns=np.full(count, 1_700_000_000_123_000_000, dtype=np.int64),
        received_ns=np.full(count, 1_700_000_000_456_789_012, dtype=np.int64),
        value=np.array([0.1, np.nan, -1e300][:count]),
        reason=np.array([0, 64, 1][:count], dtype=np.uint8),
        is_historical=np.array([False, True, False][:count]),
        batch_index=np.array([0, 1, 0][:count], dtype=np.int32),
        batches=BATCHES,
    )


def assert_same_record(left, right):
    assert left.batches == right.batches
    for name in ("channel_id", "phenomenon_ns", "received_ns", "value", "reason", "is_historical", "batch_index"):
        a, b = getattr(left, name), getattr(right, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def observations():
    bad = Quarantined(7, "spBv1.0/a/DDATA/gw-1/b", "wrong_type", "a µ", b"\x00\xff")
    return ObservationMessage(99, record(), ((0, bad), (None, bad)), GONE, LOST)


def scored():
    return ScoredMessage(
        source_offset=12,
        made_ns=99,
        record=record(),
        event_ns=np.arange(3),
        score_ewma_z=np.array([1.5, np.nan, 0.0]),
        is_late=np.array([False, True, True]),
        duplicates=(BatchIdentity("gw-1", 3, 16),),
        batches_lost=GONE,
        channels_lost=LOST,
        completeness=(HourOfGateway("a", "gw-1", 0, 3, 4),),
        totals=PartitionTotals(1, 2, 3, 4, 5),
    )


def test_an_observation_message_comes_back_as_it_was():
    message = observations()
    back = decode_observations(encode_observations(message))
    assert_same_record(back.record, message.record)
    assert (back.made_ns, back.quarantined) == (message.made_ns, message.quarantined)
    assert (back.batches_lost, back.channels_lost) == (GONE, LOST)


def test_a_scored_message_comes_back_as_it_was():
    message = scored()
    back = decode_scored(encode_scored(message))
    assert_same_record(back.record, message.record)
    for name in ("event_ns", "score_ewma_z", "is_late"):
        np.testing.assert_array_equal(getattr(back, name), getattr(message, name))
    for name in ("source_offset", "made_ns", "duplicates", "batches_lost", "channels_lost", "completeness", "totals"):
        assert getattr(back, name) == getattr(message, name)
    assert back.identities() == [BATCHES[0], BatchIdentity("gw-1", 3, 16)]


def test_a_message_without_rows_is_a_message():
    assert len(decode_observations(encode_observations(ObservationMessage(5, record(0)))).record) == 0


@pytest.mark.parametrize("decode", [decode_observations, decode_scored])
def test_bytes_that_are_no_message_are_refused(decode):
    whole = encode_observations(observations()) if decode is decode_observations else encode_scored(scored())
    other = encode_scored(scored()) if decode is decode_observations else encode_observations(observations())
    for bad in (b"", b"x", whole[: len(whole) // 2], whole[:-40], other, whole.replace(b'"version":1', b'"version":2')):
        with pytest.raises(RecordError):
            decode(bad)


def test_no_flipped_bit_becomes_another_error():
    whole = bytearray(encode_observations(observations()))
    for position in range(len(whole)):
        flipped = whole.copy()
        flipped[position] ^= 0x55
        try:
            decode_observations(bytes(flipped))
        except RecordError:
            continue
