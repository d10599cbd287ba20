"""What the state of the score job costs: bytes of a snapshot, seconds to write one, to restore a partition, to replay.

Seconds of one core are CPU seconds of this process; seconds with Kafka are of the clock.

300,000 channels over 8 partitions (37,500 in each, five to a gateway); 10,000 readings/s over all, so that a
minute to replay is 75,000 readings of a partition, in messages of 500. A worker with four of the eight partitions is
restored, on a real Kafka on the same machine: one partition after another, and all at once, as a worker does it. All
that with the default set of gas channels, whose detectors have learnt TAUGHT readings of each; first, for comparison,
what a snapshot takes with `ewma_z` alone, and with 50,000 channels of the domain whose set is the largest.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from contracts.alarm import ConditionInput
from contracts.fleet import Domain, FleetSnapshot
from contracts.kafka_topic import OBSERVATIONS, STATE_SNAPSHOTS
from contracts.record import Record, concatenate
from contracts.record_message import ObservationMessage, encode_observations, encode_scored
from contracts.uplink import BatchIdentity
from stream_processor.distributed.kafka_message import KafkaMessage
from stream_processor.distributed.kafka_producer import KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.partition_state import PartitionState
from stream_processor.distributed.restore_partition import PartitionRestorer
from stream_processor.distributed.state_snapshot import split_snapshot
from tests.observed_city import CHANNELS_OF_GATEWAY, SECOND_NS, START_NS, city_fleet
from tests.running_kafka import running_kafka

CHANNELS = 37_500
GATEWAYS = CHANNELS // CHANNELS_OF_GATEWAY
MESSAGE_READINGS = 500
REPLAYED_MESSAGES = 150
"""60 s of 1,250 readings/s."""
PARTITIONS = 4
TAUGHT = 150
"""Readings of each channel."""
LARGE_CHANNELS = 50_000


def measure() -> Iterator[str]:
    """Lines of the report."""
    logging.disable(logging.WARNING)
    for title, fleet in (
        ("ewma_z alone", _with_own_sets(city_fleet(GATEWAYS), ())),
        ("chemical", _in_domain(city_fleet(LARGE_CHANNELS // CHANNELS_OF_GATEWAY), Domain.CHEMICAL)),
    ):
        yield f"{title}, {len(fleet.channels):,} channels: {_measure_snapshot(_taught(fleet))[1]}"
    messages = [_message(number) for number in range(2 * REPLAYED_MESSAGES)]
    fleet = city_fleet(GATEWAYS)
    state = _taught(fleet)
    yield f"one partition: {CHANNELS} channels, {GATEWAYS} gateways; messages of {MESSAGE_READINGS} readings"
    half = REPLAYED_MESSAGES // 2
    _score(state, messages[:half])  # every gateway has been heard once
    spent_s = _score(state, messages[half:REPLAYED_MESSAGES])
    rate = half * MESSAGE_READINGS / spent_s
    yield f"decode, score, encode: {1e6 / rate:.2f} us a reading, {rate:,.0f} readings/s on one core"
    data, line = _measure_snapshot(state)
    yield line
    start_s = time.process_time()
    PartitionState.restore(data, fleet)
    yield f"restored from bytes in {_spent_ms(start_s):.0f} ms of one core"
    with tempfile.TemporaryDirectory() as folder, running_kafka(Path(folder), PARTITIONS) as kafka:
        settings = KafkaSettings(servers=(kafka.address,), partitions=PARTITIONS)
        yield from asyncio.run(_measure_kafka(settings, state, data, messages, Path(folder)))


def _measure_snapshot(state: PartitionState) -> tuple[bytes, str]:
    start_s = time.process_time()
    data = state.snapshot()
    made_ms = _spent_ms(start_s)
    parts = split_snapshot(0, 1, state.next_offset, data)
    per_channel = len(data) / len(state.pipeline.channels)
    largest = max(len(each.value) for each in parts)
    return data, (
        f"snapshot: {len(data):,} bytes, {per_channel:.0f} a channel, made in {made_ms:.0f} ms of one core, "
        f"cut in {_spent_ms(start_s) - made_ms:.0f}; {len(parts)} messages of at most {largest:,} bytes"
    )


def _with_own_sets(fleet: FleetSnapshot, scores: tuple[ConditionInput, ...]) -> FleetSnapshot:
    return fleet.model_copy(
        update={"channels": [each.model_copy(update={"scores": scores}) for each in fleet.channels]}
    )


def _in_domain(fleet: FleetSnapshot, domain: Domain) -> FleetSnapshot:
    return fleet.model_copy(update={"sites": [each.model_copy(update={"domain": domain}) for each in fleet.sites]})


def _taught(fleet: FleetSnapshot) -> PartitionState:
    """A state whose detectors know the values of channels that are noise around a level."""
    state, chance = PartitionState(0, fleet), np.random.default_rng(1)
    rows = np.arange(len(fleet.channels))
    level = chance.uniform(5.0, 15.0, len(rows))
    for number in range(TAUGHT):
        times_ns = np.full(len(rows), START_NS - (TAUGHT - number) * SECOND_NS)
        state.pipeline.learn(rows, times_ns, np.round(level + chance.normal(0.0, 1.0, len(rows)), 2))
    return state


async def _measure_kafka(
    settings: KafkaSettings, state: PartitionState, data: bytes, messages: list[bytes], folder: Path
) -> list[str]:
    lines = []
    async with KafkaProducer(settings, "bench") as producer:
        for partition in range(PARTITIONS):
            await producer.send([KafkaMessage(OBSERVATIONS, partition, None, each) for each in messages])
            start_s = time.perf_counter()
            parts = split_snapshot(partition, 1, state.next_offset, data)  # sha-256 and copies: as the job does
            await producer.send([KafkaMessage(STATE_SNAPSHOTS, partition, *each) for each in parts])
            written_ms = _since_ms(start_s)
    on_disk = _bytes_of(folder, f"{STATE_SNAPSHOTS.name}-0")
    lines.append(f"written to Kafka in {written_ms:.0f} ms, {len(parts)} messages, {on_disk:,} bytes in its log")
    replayed = len(messages) - state.next_offset
    lines.append(
        f"restored from Kafka, {replayed} messages ({replayed * MESSAGE_READINGS:,} readings) replayed in each:"
    )
    restorer, fleet = PartitionRestorer(settings), city_fleet(GATEWAYS)
    for title, at_once in (("one partition", 1), (f"all {PARTITIONS} at once", PARTITIONS)):
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        restored = await asyncio.gather(
            *(restorer.restore(partition, len(messages), fleet, None) for partition in range(at_once))
        )
        took_s, spent_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        assert all(each.next_offset == len(messages) for each in restored)
        lines.append(f"  {title}: {took_s:.2f} s, {spent_s:.2f} s of one core")
    return lines


def _bytes_of(folder: Path, partition: str) -> int:
    """The segments of a partition's log, compressed as they were sent."""
    return sum(each.stat().st_size for each in folder.rglob("*.log") if each.parent.name == partition)


def _score(state: PartitionState, messages: list[bytes]) -> float:
    start_s = time.process_time()
    for message in messages:
        encode_scored(state.take(state.next_offset, state.parse(message), 0).scored)
    return time.process_time() - start_s


def _message(number: int) -> bytes:
    """100 batches of five readings: each gateway in turn."""
    made_ns = START_NS + number * SECOND_NS * MESSAGE_READINGS // 1_250
    count = MESSAGE_READINGS // CHANNELS_OF_GATEWAY
    return encode_observations(
        ObservationMessage(made_ns, concatenate([_batch(number * count + at, made_ns) for at in range(count)]))
    )


def _batch(serial: int, made_ns: int) -> Record:
    gateway, count = serial % GATEWAYS, CHANNELS_OF_GATEWAY
    return Record(
        channel_id=np.arange(1 + gateway * count, 1 + (gateway + 1) * count, dtype=np.uint32),
        phenomenon_ns=np.full(count, made_ns - 200_000_000, dtype=np.int64),
        received_ns=np.full(count, made_ns - 50_000_000, dtype=np.int64),
        value=10.0 + np.arange(count) * 0.1 + serial % 7 * 0.01,
        reason=np.zeros(count, dtype=np.uint8),
        is_historical=np.zeros(count, dtype=np.bool_),
        batch_index=np.zeros(count, dtype=np.int32),
        batches=(BatchIdentity(f"gw-{gateway:03d}", 3, 1 + serial // GATEWAYS),),
    )


def _since_ms(start_s: float) -> float:
    return 1e3 * (time.perf_counter() - start_s)


def _spent_ms(start_s: float) -> float:
    return 1e3 * (time.process_time() - start_s)


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
