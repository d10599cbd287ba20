"""What the bridge gathers for each partition: when it is due, what a message holds, how large it may grow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.kafka_topic import OBSERVATIONS, partition_of
from contracts.notice import BatchesLost, ChannelsLost, Quarantined
from contracts.quality import Reason
from contracts.record import Record
from contracts.record_message import decode_observations, encode_observations
from contracts.sparkplug.datatype import DataType
from contracts.uplink import BatchIdentity
from stream_processor.distributed.partition_buffer import (
    QUARANTINED_PAYLOAD_BYTES,
    GatherBounds,
    PartitionBuffer,
)
from stream_processor.effects import BatchReceived
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import HostSession

MS = 1_000_000
SECOND = 1_000 * MS
NOW = 1_761_955_200 * SECOND
ONE, TWO = "gw-1", "gw-2"
PARTITIONS = 4


@pytest.fixture
def buffer():
    """Four partitions that have just said that they are idle."""
    fresh = PartitionBuffer(PARTITIONS, GatherBounds(rows=500, interval_ns=50 * MS))
    assert len(fresh.pop_due(NOW)) == PARTITIONS
    return fresh


def batch(number: int, rows: int = 1, gateway: str = ONE, refused: tuple[Quarantined, ...] = ()) -> BatchReceived:
    identity = BatchIdentity(gateway, 7, number)
    record = Record(
        channel_id=np.full(rows, 11, dtype=np.uint32),
        phenomenon_ns=np.full(rows, NOW, dtype=np.int64),
        received_ns=np.full(rows, NOW, dtype=np.int64),
        value=np.full(rows, float(number)),
        reason=np.zeros(rows, dtype=np.uint8),
        is_historical=np.zeros(rows, dtype=np.bool_),
        batch_index=np.zeros(rows, dtype=np.int32),
        batches=(identity,),
    )
    return BatchReceived(gateway, identity, record, refused)


def bad(topic: str = "spBv1.0/harbour/DDATA/gw-1/b", payload: bytes = b"\x01", detail: str = "why") -> Quarantined:
    return Quarantined(NOW, topic, "unknown_channel", detail, payload)


def test_a_partition_waits_for_its_interval_and_not_longer(buffer):
    buffer.add(batch(1), NOW)
    buffer.add(batch(2), NOW + 30 * MS)
    assert buffer.pop_due(NOW + 49 * MS) == []
    ((partition, message),) = buffer.pop_due(NOW + 50 * MS)
    assert partition == partition_of(ONE, PARTITIONS)
    assert [each.batch for each in message.record.batches] == [1, 2]
    assert message.made_ns == NOW + 50 * MS
    assert buffer.is_empty


def test_enough_readings_are_due_at_once_and_leave_other_partitions_alone(buffer):
    other = next(f"gw-{n}" for n in range(9) if partition_of(f"gw-{n}", PARTITIONS) != partition_of(ONE, PARTITIONS))
    buffer.add(batch(1, gateway=other), NOW)
    buffer.add(batch(1, rows=499), NOW)
    assert buffer.pop_due(NOW) == []
    buffer.add(batch(2), NOW)
    ((partition, message),) = buffer.pop_due(NOW)
    assert partition == partition_of(ONE, PARTITIONS)
    assert len(message.record) == 500
    assert not buffer.is_empty


def test_a_clock_that_is_set_back_makes_nothing_wait(buffer):
    buffer.add(batch(1), NOW)
    messages = buffer.pop_due(NOW - SECOND)
    assert sum(len(message.record) for _, message in messages) == 1


def test_each_partition_without_readings_says_so_once_a_second(buffer):
    assert buffer.pop_due(NOW + SECOND - 1) == []
    idle = buffer.pop_due(NOW + SECOND)
    assert [partition for partition, _ in idle] == list(range(PARTITIONS))
    assert all(len(message.record) == 0 and message.made_ns == NOW + SECOND for _, message in idle)
    for _, message in idle:
        assert decode_observations(encode_observations(message)).made_ns == NOW + SECOND


def test_a_partition_that_is_heard_needs_no_empty_message(buffer):
    buffer.add(batch(1), NOW + 900 * MS)
    written = buffer.pop_due(NOW + 950 * MS)
    assert [len(message.record) for _, message in written] == [1]
    later = [partition for partition, _ in buffer.pop_due(NOW + SECOND)]
    assert partition_of(ONE, PARTITIONS) not in later


def test_bad_readings_stand_beside_the_batch_that_they_came_in(buffer):
    buffer.add(batch(1), NOW)
    buffer.add(batch(2, refused=(bad(detail="a"), bad(detail="b"))), NOW)
    buffer.add(bad(topic="spBv1.0/harbour/NDATA/gw-1", detail="c"), NOW)
    ((_, message),) = buffer.pop_due(NOW + 50 * MS)
    assert [(at, each.detail) for at, each in message.quarantined] == [(1, "a"), (1, "b"), (None, "c")]


@pytest.mark.parametrize(
    ("topic", "sender"),
    [
        ("spBv1.0/harbour/DDATA/gw-9/b", "gw-9"),
        ("spBv1.0/harbour/NBIRTH/gw-9", "gw-9"),
        ("spBv1.0/harbour/gw-9", "spBv1.0/harbour/gw-9"),
        ("weather/harbour/x/gw-9", "weather/harbour/x/gw-9"),
    ],
)
def test_bad_input_goes_to_the_partition_of_whoever_sent_it(buffer, topic, sender):
    buffer.add(bad(topic=topic), NOW)
    ((partition, message),) = buffer.pop_due(NOW + 50 * MS)
    assert partition == partition_of(sender, PARTITIONS)
    assert [each.topic for _, each in message.quarantined] == [topic]


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("gas-009/methane_lel", {}, "unknown_node"),
        ("gas-001/wind_speed", {}, "unknown_channel"),
        ("gas-003/methane_lel", {}, "node_of_another_gateway"),
        ("old-001/methane_lel", {}, "retired_node"),
        ("gas-001/methane_lel", {"datatype": DataType.STRING, "value": "high"}, "wrong_type"),
        ("gas-001/methane_lel", {"timestamp_ms": (NOW + 3_600 * SECOND) // MS}, "timestamp_from_future"),
    ],
)
def test_each_reason_of_the_session_reaches_kafka_beside_its_batch(buffer, fleet, voice, reading, name, change, reason):
    session = HostSession(FleetIndex(fleet))
    for topic, payload in (voice.nbirth(), voice.dbirth((name, "gas-001/methane_lel"))):
        session.step(topic, payload, NOW)
    odd = replace(reading(1.0), **change)
    for effect in session.step(*voice.ddata(5, odd, reading(2.0, alias=101)), NOW):
        buffer.add(effect, NOW)
    ((_, message),) = buffer.pop_due(NOW + 50 * MS)
    decoded = decode_observations(encode_observations(message))
    assert [(at, each.reason) for at, each in decoded.quarantined] == [(0, reason)]
    assert decoded.record.batches == (BatchIdentity(ONE, 7, 5),)
    assert decoded.record.value.tolist() == ([1.0, 2.0] if reason == "timestamp_from_future" else [2.0])


def test_readings_after_a_loss_of_their_gateway_begin_a_message_of_their_own(buffer):
    lost = ChannelsLost(ONE, (11,), Reason.GATEWAY_LOST, NOW)
    buffer.add(batch(1), NOW)
    buffer.add(lost, NOW)
    buffer.add(batch(2), NOW)
    first, second = (message for _, message in buffer.pop_due(NOW + 50 * MS))
    assert ([each.batch for each in first.record.batches], first.channels_lost) == ([1], (lost,))
    assert ([each.batch for each in second.record.batches], second.channels_lost) == ([2], ())


def test_no_message_is_larger_than_its_topic_allows_and_nothing_is_left_out(buffer):
    worst = "\U0001f525" * 2_000
    refused = tuple(bad(payload=bytes(1_000_000), detail=f"{number:05d}{worst}") for number in range(300))
    buffer.add(batch(1, rows=99_700, refused=refused), NOW)
    buffer.add(batch(2, rows=99_999), NOW)
    buffer.add(batch(3, rows=1), NOW)
    buffer.add(BatchesLost(ONE, 2**63 - 1, tuple((2**63 - 1, 2**63 - 1) for _ in range(300_000))), NOW)
    buffer.add(ChannelsLost(ONE, tuple(range(2**32 - 200_000, 2**32)), Reason.GATEWAY_LOST, NOW), NOW)
    messages = [message for _, message in buffer.pop_due(NOW + 50 * MS)]
    sizes = [len(encode_observations(message)) for message in messages]
    assert max(sizes) + 1_024 <= OBSERVATIONS.message_bytes_max
    assert [each.batch for message in messages for each in message.record.batches] == [1, 2, 3]
    quarantined = [(at, each) for message in messages for at, each in message.quarantined]
    assert [each.detail[:5] for _, each in quarantined] == [f"{number:05d}" for number in range(300)]
    assert {at for at, _ in quarantined} == {0, None}
    assert all(len(each.payload) == QUARANTINED_PAYLOAD_BYTES for _, each in quarantined)
    assert sum(len(lost.ranges) for message in messages for lost in message.batches_lost) == 300_000
    assert sum(len(lost.channel_ids) for message in messages for lost in message.channels_lost) == 200_000


def test_at_a_stop_everything_is_due(buffer):
    buffer.add(batch(1), NOW)
    assert [len(message.record) for _, message in buffer.pop_all(NOW)] == [1]
    assert buffer.is_empty
