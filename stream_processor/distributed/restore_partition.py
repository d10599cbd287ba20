"""The state of a partition for a worker that has just got it (shell: Kafka): newest snapshot, then replay.

Kafka that is away is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import OBSERVATIONS, STATE_SNAPSHOTS
from contracts.record_message import ObservationMessage
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.partition_state import PartitionState
from stream_processor.distributed.state_snapshot import SnapshotAssembly, WholeSnapshot
from stream_processor.foreign_cancellation import foreign_cancellation_as_error

_log = logging.getLogger("stream_processor.restore")

_TAIL_MESSAGES = 64
"""The newest snapshot is looked for among so many messages first, then among eight times as many, and so on."""
_REPLAYED_TOGETHER = 64
_POLL_MS = 500
_FETCH_WAIT_MS = 20
"""A fetch that waits at the end of one topic holds up the next: a worker that takes over must not lose seconds."""
_STANDS_S = 15.0
_T = TypeVar("_T")


class PartitionRestorer:
    """Makes states from Kafka, of several partitions at once if so asked."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._reasons: dict[str, str] = {}

    @property
    def waiting_because(self) -> str | None:
        """What is being done, if something is: a long log to replay is no reason to end the worker."""
        return next(iter(self._reasons.values()), None)

    async def committed(self, group: str, partitions: Iterable[int]) -> dict[int, int]:
        """By partition the offset that a consumer group has committed: partitions without one are left out."""
        places = [TopicPartition(OBSERVATIONS.name, partition) for partition in partitions]
        found = await self._patiently("the group's offsets", lambda: self._ask_committed(group, places))
        return {place.partition: each.offset for place, each in found.items() if each.offset >= 0}

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
        return await self._patiently(
            f"partition {partition}", lambda: self._restore_once(partition, before_offset, fleet, known)
        )

    async def _patiently(self, what: str, ask: Callable[[], Awaitable[_T]]) -> _T:
        """The answer, however long Kafka is away."""
        delay_s = self._settings.retry_first_s
        self._reasons[what] = f"{what}: being restored"
        try:
            while True:
                try:
                    with foreign_cancellation_as_error("the restoring of a partition"):
                        return await ask()
                except (KafkaError, OSError) as error:
                    _log.warning("kafka_waiting what=%r error=%r", what, error)
                    self._reasons[what] = repr(error)
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
                delay_s = min(2 * delay_s, self._settings.retry_max_s)
        finally:
            del self._reasons[what]

    async def _ask_committed(self, group: str, places: list[TopicPartition]) -> dict[TopicPartition, Any]:
        timeout_ms = round(1_000 * self._settings.request_timeout_s)
        admin = AIOKafkaAdminClient(bootstrap_servers=list(self._settings.servers), request_timeout_ms=timeout_ms)
        try:
            await admin.start()
            return dict(await admin.list_consumer_group_offsets(group, partitions=places))
        finally:
            await admin.close()

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
            state = await _begin(consumer, partition, fleet, known)
            first = state.next_offset
            count = await _replay(consumer, state, before_offset)
        finally:
            await consumer.stop()
        state.next_offset = max(state.next_offset, before_offset)
        _log.info(
            "partition_restored partition=%d from_offset=%d replayed=%d next_offset=%d took_s=%.2f",
            *(partition, first, count, state.next_offset, time.monotonic() - start_s),
        )
        return state


async def _begin(
    consumer: AIOKafkaConsumer, partition: int, fleet: FleetSnapshot, known: PartitionState | None
) -> PartitionState:
    """The newest state that is at hand: what this worker knows of before, a snapshot, or nothing."""
    log = TopicPartition(OBSERVATIONS.name, partition)
    end = (await consumer.end_offsets([log]))[log]
    async for whole in _snapshots(consumer, partition):
        if whole.next_offset > end:
            _log.error("snapshot_of_another_log partition=%d offset=%d end=%d", partition, whole.next_offset, end)
            continue
        if known is not None and known.next_offset >= whole.next_offset:
            return known
        try:
            state = PartitionState.restore(whole.data, fleet)
        except ValueError as error:  # the trace tells nothing
            _log.error("snapshot_unreadable partition=%d offset=%d error=%s", partition, whole.next_offset, error)
            continue
        if state.pipeline.has_forgotten_scores:
            _log.warning("detector_state_unreadable partition=%d", partition)  # channels warm up again
        return state
    return known or PartitionState(partition, fleet)


async def _snapshots(consumer: AIOKafkaConsumer, partition: int) -> AsyncIterator[WholeSnapshot]:
    """The partition's whole snapshots, the newest first; the topic is read only as far back as somebody asks."""
    place = TopicPartition(STATE_SNAPSHOTS.name, partition)
    consumer.assign([place])
    begin = (await consumer.beginning_offsets([place]))[place]
    end = (await consumer.end_offsets([place]))[place]
    tail, seen = _TAIL_MESSAGES, set[int]()
    while True:
        assembly = SnapshotAssembly()
        first = max(begin, end - tail)
        async for message in _read(consumer, place, first, end):
            assembly.take(message.key, message.value)
        for whole in assembly.newest_first():
            if whole.next_offset not in seen:
                seen.add(whole.next_offset)
                yield whole
        if first == begin:
            return
        tail *= 8


async def _replay(consumer: AIOKafkaConsumer, state: PartitionState, before_offset: int) -> int:
    """The state takes the log up to an offset; nothing that follows is told. Gives how many messages that were."""
    count = 0
    run: list[tuple[int, ObservationMessage]] = []
    async for offset, value in _read_range(consumer, state.partition, state.next_offset, before_offset):
        run.append((offset, state.parse(value, run[-1][1].made_ns if run else None)))
        count += 1
        if len(run) == _REPLAYED_TOGETHER:
            state.take_all(run, state.made_ns)
            run = []
            await asyncio.sleep(0)  # others restore meanwhile, and heartbeats go on
    if run:
        state.take_all(run, state.made_ns)
    return count


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
