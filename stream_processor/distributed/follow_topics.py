"""The topics that the read process shows (shell): plain consumers of all partitions, without a group.

Scored messages are read from some minutes back, the other topics from their beginning. A Kafka that is away is waited
for; then reading goes on where it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.kafka_topic import (
    ALARM_CONDITIONS,
    GATEWAY_COMPLETENESS,
    GATEWAY_STATUS,
    OBSERVATIONS,
    QUARANTINE,
    SCORED,
    KafkaTopic,
)
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.read_state import Lag, ReadState, lag_of
from stream_processor.errors import TopicMismatchError
from stream_processor.foreign_cancellation import foreign_cancellation_as_error

_log = logging.getLogger("stream_processor.read")

CLIENT_ID: Final = "read"
FOLLOWED: Final = (SCORED, GATEWAY_STATUS, GATEWAY_COMPLETENESS, QUARANTINE)
FETCH_BYTES_MIN: Final = 1024 * 1024
FETCH_WAIT_MS: Final = 100
"""Kafka answers a fetch when so much waits, or after so long: ten requests a second however many messages come, and
what a page shows is so much older."""
POLL_MS: Final = 500
POLL_MESSAGES: Final = 100
"""At a time: a few ten milliseconds of work, so that questions are answered in between."""
LAG_INTERVAL_S: Final = 2.0


class TopicFollower:
    """Keeps a ReadState up to date, for as long as `run` and `count_lag` run."""

    def __init__(
        self, settings: KafkaSettings, lookback_s: float, state: ReadState, on_change: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._lookback_s = lookback_s
        self._state = state
        self._on_change = on_change
        self._positions: dict[TopicPartition, int] = {}
        self._is_waiting = False
        self.not_ready_because: str | None = "not yet connected to Kafka"
        """Why not everything that stood in the topics at the start is read yet."""

    async def run(self) -> None:
        """Until cancelled. Raises TopicMismatchError."""
        await self._again_and_again(self._follow, self._note_wait)

    async def count_lag(self, store_group: str, alarm_group: str) -> None:
        """Counts what waits on Kafka for the store job and the alarm service, until cancelled."""

        async def count() -> None:
            async with self._consuming() as consumer, self._administrating() as admin:
                while True:
                    await self._count_once(consumer, admin, store_group, alarm_group)
                    await asyncio.sleep(LAG_INTERVAL_S)

        await self._again_and_again(count, lambda reason: _log.info("lag_not_counted reason=%s", reason))

    async def _follow(self) -> None:
        await self._check_topics()
        async with self._consuming() as consumer:
            places = [place for topic in FOLLOWED for place in self._places(topic)]
            consumer.assign(places)
            await self._seek(consumer)
            ends = await consumer.end_offsets(places)
            _log.info("topics_followed partitions=%d", len(places))
            while True:
                self._is_waiting = False
                await self._take(consumer)
                if self.not_ready_because is not None:
                    self._note_how_far(ends)

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_MESSAGES)
        revision = self._state.latest.revision
        for place, messages in batches.items():
            for message in messages:
                self._state.take(place.topic, place.partition, message.key, message.value)
                self._positions[place] = message.offset + 1
        if self._state.latest.revision != revision:
            self._on_change()

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        """To where reading ended, or to where it begins."""
        since_ms = round(1_000 * (time.time() - self._lookback_s))
        scored = self._places(SCORED)
        found = await consumer.offsets_for_times(dict.fromkeys(scored, since_ms))
        ends = await consumer.end_offsets(scored)
        begins = await consumer.beginning_offsets(consumer.assignment())
        for place in consumer.assignment():
            position = self._positions.get(place)
            if position is None and place in found:
                position = ends[place] if found[place] is None else found[place].offset
            self._positions[place] = max(begins[place], position or 0)
            consumer.seek(place, self._positions[place])

    def _note_how_far(self, ends: Mapping[TopicPartition, int]) -> None:
        # Compaction leaves holes: a partition is read when its position is at the end, or beyond.
        left = sum(max(0, end - self._positions[place]) for place, end in ends.items())
        self.not_ready_because = f"reads Kafka back: {left} messages to go" if left else None

    async def _count_once(
        self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient, store_group: str, alarm_group: str
    ) -> None:
        unscored = await self._lag(consumer, OBSERVATIONS, self._state.next_source_offsets())
        unstored = await self._lag(consumer, SCORED, await self._committed(admin, store_group, SCORED))
        unjournaled = await self._lag(
            consumer, ALARM_CONDITIONS, await self._committed(admin, alarm_group, ALARM_CONDITIONS)
        )
        self._state.lag = Lag(messages=unscored + unstored, condition_events=unjournaled)

    async def _lag(self, consumer: AIOKafkaConsumer, topic: KafkaTopic, taken: Mapping[int, int]) -> int:
        places = self._places(topic)
        ends, begins = await consumer.end_offsets(places), await consumer.beginning_offsets(places)
        return lag_of(_by_partition(ends), _by_partition(begins), taken, range(self._settings.partitions))

    async def _committed(self, admin: AIOKafkaAdminClient, group: str, topic: KafkaTopic) -> dict[int, int]:
        offsets = await admin.list_consumer_group_offsets(group, partitions=self._places(topic))
        return {place.partition: each.offset for place, each in offsets.items() if each.offset >= 0}

    async def _check_topics(self) -> None:
        """A topic that is not there yet is waited for; asking for it by name might make it, with other partitions."""
        async with self._administrating() as admin:
            missing = {topic.name for topic in FOLLOWED} - set(await admin.list_topics())
            if missing:
                raise KafkaError(f"there is no topic {', '.join(sorted(missing))} yet")
            for topic in await admin.describe_topics([each.name for each in FOLLOWED]):
                count = len(topic["partitions"])
                if count != self._settings.partitions:
                    raise TopicMismatchError(
                        f"{topic['topic']} has {count} partitions, $.kafka.partitions is {self._settings.partitions}"
                    )

    async def _again_and_again(self, work: Callable[[], Awaitable[None]], note: Callable[[str], None]) -> None:
        delay_s = self._settings.retry_first_s
        while True:
            began_s = time.monotonic()
            try:
                with foreign_cancellation_as_error("following Kafka"):
                    await work()
            except (KafkaError, OSError) as error:
                note(repr(error))
            if time.monotonic() - began_s > self._settings.retry_max_s:
                delay_s = self._settings.retry_first_s  # it went well for some time
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            delay_s = min(2 * delay_s, self._settings.retry_max_s)

    def _note_wait(self, reason: str) -> None:
        if not self._is_waiting:
            _log.warning("kafka_waiting servers=%s reason=%s", ",".join(self._settings.servers), reason)
        self._is_waiting = True
        if self.not_ready_because is not None:
            self.not_ready_because = f"waits for Kafka: {reason}"

    def _places(self, topic: KafkaTopic) -> list[TopicPartition]:
        return [TopicPartition(topic.name, number) for number in range(self._settings.partitions)]

    @contextlib.asynccontextmanager
    async def _consuming(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=list(self._settings.servers),
            client_id=CLIENT_ID,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=round(1_000 * self._settings.request_timeout_s),
            fetch_min_bytes=FETCH_BYTES_MIN,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()

    @contextlib.asynccontextmanager
    async def _administrating(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=list(self._settings.servers),
            client_id=CLIENT_ID,
            request_timeout_ms=round(1_000 * self._settings.request_timeout_s),
        )
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


def _by_partition(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {place.partition: offset for place, offset in offsets.items()}
