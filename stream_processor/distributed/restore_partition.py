"""The state of a partition for a worker that has just got it (shell: Kafka): newest snapshot, then replay.

Kafka that is away is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import OBSERVATIONS, STATE_SNAPSHOTS
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.partition_state import PartitionState
from stream_processor.distributed.state_snapshot import SnapshotAssembly, WholeSnapshot
from stream_processor.foreign_cancellation import foreign_cancellation_as_error

_log = logging.getLogger("stream_processor.restore")

_TAIL_MESSAGES = 64
"""The newest snapshot is looked for among so many messages first, then among eight times as many, and so on."""
_POLL_MS = 500
_FETCH_WAIT_MS = 20
"""A fetch that waits at the end of one topic holds up the next: a worker that takes over must not lose seconds."""
_STANDS_S = 15.0


class PartitionRestorer:
    """Makes states from Kafka."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.waiting_because: str | None = None
        """What `restore` is at, if it is: a long log to replay is no reason to end the worker."""

    async def restore(
        self, partition: int, before_offset: int, fleet: FleetSnapshot, known: PartitionState | None
    ) -> PartitionState:
        """The state before message `before_offset`; a later one if a snapshot is newer.

        Args:
            partition: whose state.
            before_offset: the first message that is to be scored.
            fleet: the gateways of the partition.
            known: an older state of this partition, if this worker had it before.
        """
        delay_s = self._settings.retry_first_s
        self.waiting_because = f"partition {partition} is being restored"
        while True:
            try:
                with foreign_cancellation_as_error("the restoring of a partition"):
                    state = await self._restore_once(partition, before_offset, fleet, known)
            except (KafkaError, OSError) as error:
                _log.warning("kafka_waiting partition=%d error=%r", partition, error)
                self.waiting_because = repr(error)
            else:
                self.waiting_because = None
                return state
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            delay_s = min(2 * delay_s, self._settings.retry_max_s)

    async def _restore_once(
        self, partition: int, before_offset: int, fleet: FleetSnapshot, known: PartitionState | None
    ) -> PartitionState:
        start_s = time.monotonic()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=list(self._settings.servers),
            request_timeout_ms=round(1_000 * self._settings.request_timeout_s),
            max_partition_fetch_bytes=OBSERVATIONS.message_bytes_max,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
            whole = await _newest_snapshot(consumer, partition)
            place = TopicPartition(OBSERVATIONS.name, partition)
            end = (await consumer.end_offsets([place]))[place]
            if whole is not None and whole.next_offset > end:
                _log.error("snapshot_of_another_log partition=%d offset=%d end=%d", partition, whole.next_offset, end)
                whole = None
            state = _begin(partition, fleet, known, whole)
            first, count = state.next_offset, 0
            async for offset, value in _read_range(consumer, partition, first, before_offset):
                state.take(offset, state.parse(value), state.made_ns)
                count += 1
        finally:
            await consumer.stop()
        state.next_offset = max(state.next_offset, before_offset)
        _log.info(
            "partition_restored partition=%d snapshot_offset=%s from_offset=%d replayed=%d next_offset=%d took_s=%.2f",
            *(partition, whole and whole.next_offset, first, count, state.next_offset, time.monotonic() - start_s),
        )
        return state


def _begin(
    partition: int, fleet: FleetSnapshot, known: PartitionState | None, whole: WholeSnapshot | None
) -> PartitionState:
    """The newest state that is at hand: what this worker knows of before, the snapshot, or nothing."""
    if whole is not None and (known is None or known.next_offset < whole.next_offset):
        try:
            return PartitionState.restore(whole.data, fleet)
        except ValueError as error:
            _log.error("snapshot_unreadable partition=%d error=%s", partition, error)  # the trace tells nothing
    return known or PartitionState(partition, fleet)


async def _newest_snapshot(consumer: AIOKafkaConsumer, partition: int) -> WholeSnapshot | None:
    place = TopicPartition(STATE_SNAPSHOTS.name, partition)
    consumer.assign([place])
    begin = (await consumer.beginning_offsets([place]))[place]
    end = (await consumer.end_offsets([place]))[place]
    tail = _TAIL_MESSAGES
    while True:
        assembly = SnapshotAssembly()
        first = max(begin, end - tail)
        async for message in _read(consumer, place, first, end):
            assembly.take(message.key, message.value)
        if assembly.newest is not None or first == begin:
            return assembly.newest
        tail *= 8


async def _read_range(
    consumer: AIOKafkaConsumer, partition: int, first: int, before: int
) -> AsyncIterator[tuple[int, bytes]]:
    """Messages of `observations`; what retention has deleted is passed over."""
    place = TopicPartition(OBSERVATIONS.name, partition)
    consumer.assign([place])
    begin = (await consumer.beginning_offsets([place]))[place]
    if first < min(begin, before) and first > 0:
        _log.warning("replay_partly_gone partition=%d wanted_offset=%d oldest_offset=%d", partition, first, begin)
    async for message in _read(consumer, place, max(first, begin), before):
        yield message.offset, message.value or b""


async def _read(
    consumer: AIOKafkaConsumer, place: TopicPartition, first: int, before: int
) -> AsyncIterator[ConsumerRecord]:
    """Raises TimeoutError when nothing comes: a consumer that is stuck is made anew."""
    if first >= before:
        return
    consumer.seek(place, first)
    at, at_s = first, time.monotonic()
    while at < before:
        for messages in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            for message in messages:
                if message.offset < before:
                    yield message
        position = await consumer.position(place)
        if position != at:
            at, at_s = position, time.monotonic()
        elif time.monotonic() - at_s > _STANDS_S:
            raise TimeoutError(f"{place.topic}/{place.partition}: nothing comes after offset {at}, before {before}")
