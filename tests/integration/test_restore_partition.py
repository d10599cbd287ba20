"""The state of a partition from a real Kafka: newest whole snapshot, replay, and what is not there any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from contracts.kafka_topic import OBSERVATIONS, STATE_SNAPSHOTS
from contracts.record_message import encode_observations
from stream_processor.distributed.kafka_message import KafkaMessage
from stream_processor.distributed.kafka_producer import KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.partition_state import PartitionState
from stream_processor.distributed.restore_partition import PartitionRestorer
from stream_processor.distributed.state_snapshot import SnapshotMessage, split_snapshot
from tests.observed_city import ObservedCity
from tests.running_kafka import RunningKafka, running_kafka

pytestmark = pytest.mark.needs_kafka

PARTITIONS = 7
"""Each test has one of its own."""
MESSAGES = 60
CITY = ObservedCity(gateways=3, partitions=1)
VALUES = [encode_observations(message) for _, message in CITY.seconds(MESSAGES)]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory) -> Iterator[RunningKafka]:
    with running_kafka(tmp_path_factory.mktemp("kafka"), PARTITIONS) as server:
        yield server


def settings_of(kafka):
    return KafkaSettings(servers=(kafka.address,), partitions=PARTITIONS)


def write_all(kafka, partition, *snapshots):
    """The log, and messages of snapshots."""

    async def write():
        async with KafkaProducer(settings_of(kafka), "test") as producer:
            await producer.send([KafkaMessage(OBSERVATIONS, partition, None, value) for value in VALUES])
            for messages in snapshots:
                await producer.send([KafkaMessage(STATE_SNAPSHOTS, partition, *each) for each in messages])

    asyncio.run(write())


def restore(kafka, partition, before_offset=MESSAGES, known=None):
    return asyncio.run(PartitionRestorer(settings_of(kafka)).restore(partition, before_offset, CITY.fleet, known))


def state_after(count, partition):
    state = PartitionState(partition, CITY.fleet)
    for offset in range(count):
        state.take(offset, state.parse(VALUES[offset]), 0)
    return state


def messages_of_snapshot(state, turn):
    return split_snapshot(state.partition, turn, state.next_offset, state.snapshot())


def test_without_a_snapshot_the_whole_log_is_replayed(kafka):
    write_all(kafka, 0)
    assert restore(kafka, 0).snapshot() == state_after(MESSAGES, 0).snapshot()
    assert restore(kafka, 0, 17).snapshot() == state_after(17, 0).snapshot()


def test_of_two_snapshots_the_newer_whole_one_is_taken_and_the_rest_replayed(kafka, caplog):
    newer, torn = messages_of_snapshot(state_after(30, 1), 2), messages_of_snapshot(state_after(50, 1), 3)
    write_all(kafka, 1, messages_of_snapshot(state_after(10, 1), 1), newer, torn[:-1])
    with caplog.at_level(logging.INFO):
        restored = restore(kafka, 1)
    assert "from_offset=30 replayed=30 next_offset=60" in caplog.text
    assert restored.totals == state_after(MESSAGES, 1).totals
    assert restored.pipeline.snapshot() == state_after(MESSAGES, 1).pipeline.snapshot()


def test_a_snapshot_is_found_behind_many_messages_that_are_none(kafka, caplog):
    strays = [SnapshotMessage(b"2/A/%d" % number, b"of a torn one") for number in range(10, 700)]
    write_all(kafka, 2, messages_of_snapshot(state_after(40, 2), 1), strays)
    with caplog.at_level(logging.INFO):
        restored = restore(kafka, 2)
    assert "from_offset=40 replayed=20" in caplog.text
    assert restored.pipeline.snapshot() == state_after(MESSAGES, 2).pipeline.snapshot()


def test_a_newest_snapshot_that_this_version_cannot_read_leaves_the_one_before(kafka, caplog):
    """As after going back to an older version; the older snapshot may stand far behind."""
    partition = 6
    unreadable = split_snapshot(partition, 2, 50, b"of another version")
    between = [SnapshotMessage(b"6/A/%d" % number, b"of a torn one") for number in range(10, 700)]
    write_all(kafka, partition, messages_of_snapshot(state_after(30, partition), 1), between, unreadable)
    with caplog.at_level(logging.INFO):
        restored = restore(kafka, partition)
    assert "snapshot_unreadable partition=6 offset=50" in caplog.text
    assert "from_offset=30 replayed=30 next_offset=60" in caplog.text
    assert restored.pipeline.snapshot() == state_after(MESSAGES, partition).pipeline.snapshot()


def test_a_worker_that_had_the_partition_before_goes_on_from_what_it_knows(kafka, caplog):
    write_all(kafka, 3, messages_of_snapshot(state_after(10, 3), 1))
    known = state_after(45, 3)
    with caplog.at_level(logging.INFO):
        restored = restore(kafka, 3, known=known)
    assert restored is known
    assert "from_offset=45 replayed=15" in caplog.text
    assert restored.pipeline.snapshot() == state_after(MESSAGES, 3).pipeline.snapshot()


def test_what_retention_has_deleted_is_said_and_passed_over(kafka, caplog):
    write_all(kafka, 4, messages_of_snapshot(state_after(10, 4), 1))

    async def delete():
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(OBSERVATIONS.name, 4): RecordsToDelete(before_offset=20)})
        finally:
            await admin.close()

    asyncio.run(delete())
    with caplog.at_level(logging.INFO):
        restored = restore(kafka, 4)
    assert "replay_partly_gone partition=4 wanted_offset=10 oldest_offset=20" in caplog.text
    assert restored.next_offset == MESSAGES
    expected = state_after(MESSAGES, 4).totals.observations
    assert 0 < restored.totals.observations < expected


def test_a_snapshot_of_a_log_that_is_not_there_any_more_does_not_make_messages_look_taken(kafka, caplog):
    beyond = state_after(MESSAGES, 5)
    beyond.next_offset = 10_000
    write_all(kafka, 5, messages_of_snapshot(beyond, 1))
    restored = restore(kafka, 5, 20)
    assert "snapshot_of_another_log" in caplog.text
    assert restored.snapshot() == state_after(20, 5).snapshot()
