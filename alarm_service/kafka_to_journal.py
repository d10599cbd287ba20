"""Reads condition events from Kafka `alarm.conditions` into the journal (shell: aiokafka).

How far it has come is committed to Kafka after the journal has the events durably: what a crash leaves between the two
comes again and is absorbed by its `event_id`. Partitions are assigned by hand, all of them to the one service that has
the journal: no rebalance delays an alarm after a restart.

It waits for a Kafka or a journal that is away, however long, with back-off. A message that is no event, or that the
journal will never take, is kept with the reason in `refused_message`. A reader that is stuck is started anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from alarm_service.condition_message import SourceMessage, parse_messages, refuse
from alarm_service.configuration import KafkaSettings
from alarm_service.desk import AlarmDesk
from alarm_service.errors import AlarmServiceError, JournalRefusedError
from alarm_service.health import ReaderHealth, ReaderState
from alarm_service.intake import RefusedMessage
from alarm_service.progress_watch import ProgressWatch
from contracts.alarm import ConditionEvent
from contracts.kafka_topic import ALARM_CONDITIONS

BY: Final = f"kafka:{ALARM_CONDITIONS.name}"
"""Who brought an event, in the journal."""
POLL_MS: Final = 500
LOOK_EVERY_S: Final = 5.0
"""How often lag and progress are looked at (more often if `stuck_s` is short)."""
STOP_TIMEOUT_S: Final = 0.5
"""How long an end is waited for: aiokafka may swallow a cancellation while its broker is away."""
REQUEST_TIMEOUT_MS: Final = 10_000

_logger = logging.getLogger(__name__)


class _StuckError(Exception):
    """Messages wait, and nothing moves."""


class ConditionReader:
    """One task that reads for ever; `health` says how it does."""

    def __init__(self, settings: KafkaSettings, desk: AlarmDesk) -> None:
        self._settings = settings
        self._desk = desk
        self._in_hand = 0
        self.health = ReaderHealth()

    async def run(self) -> None:
        """Reads until it is cancelled."""
        pauses_s = self._pauses()
        while True:
            taken_total = self.health.taken_messages_total
            try:
                await self._read_until_trouble()
            except _StuckError as error:
                _logger.error("event=reader_stuck reason=%r", str(error))  # noqa: TRY400  # the trace says nothing
            except asyncio.CancelledError:
                if _is_being_cancelled():
                    raise
                # aiokafka 0.14 leaks the end of its own tasks when a broker is lost: nobody has asked us to end
                self._wait_for(ReaderState.WAITING_FOR_KAFKA, ConnectionAbortedError("cancelled from within"))
            except (KafkaError, OSError) as error:
                self._wait_for(ReaderState.WAITING_FOR_KAFKA, error)
            except Exception as error:
                _logger.exception("event=reader_failed")  # a defect, which must not end the reading of alarms
                self._wait_for(ReaderState.WAITING_FOR_KAFKA, error)
            self.health.restarts_total += 1
            if self.health.taken_messages_total != taken_total:
                pauses_s = self._pauses()
            await asyncio.sleep(next(pauses_s))

    def make_consumer(self) -> AIOKafkaConsumer:
        """A connection to Kafka that is not begun."""
        return AIOKafkaConsumer(
            bootstrap_servers=list(self._settings.servers),
            client_id="alarm-service",
            group_id=self._settings.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_partition_fetch_bytes=2 * ALARM_CONDITIONS.message_bytes_max,
        )

    async def _find_partitions(self) -> list[TopicPartition]:
        """All partitions of the topic. Raises UnknownTopicOrPartitionError if it is not made yet."""
        admin = AIOKafkaAdminClient(
            bootstrap_servers=list(self._settings.servers), request_timeout_ms=REQUEST_TIMEOUT_MS
        )
        try:
            await admin.start()
            (topic,) = await admin.describe_topics([ALARM_CONDITIONS.name])
        finally:
            await admin.close()
        if not topic["partitions"]:
            raise UnknownTopicOrPartitionError(f"{ALARM_CONDITIONS.name} is not there: `broker-config` makes it")
        return [TopicPartition(ALARM_CONDITIONS.name, row["partition"]) for row in topic["partitions"]]

    async def _read_until_trouble(self) -> None:
        consumer = self.make_consumer()
        try:
            async with asyncio.timeout(self._settings.stuck_s):
                places = await self._find_partitions()
                await consumer.start()
            consumer.assign(places)
            tasks = {asyncio.create_task(self._read(consumer)), asyncio.create_task(self._watch(consumer))}
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                await _end(*tasks)
        finally:
            stopping = asyncio.create_task(consumer.stop())
            await asyncio.wait({stopping}, timeout=STOP_TIMEOUT_S)
            await _end(stopping)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        self._in_hand = 0
        while True:
            fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=self._settings.batch_messages)
            messages = [_source(record) for records in fetched.values() for record in records]
            if not messages:
                continue
            self._in_hand = len(messages)
            await self._take(messages)
            await consumer.commit({place: records[-1].offset + 1 for place, records in fetched.items()})
            self._in_hand = 0
            self._be(ReaderState.READING)
            self.health.taken_messages_total += len(messages)
            self.health.progress_ns = time.time_ns()

    async def _take(self, messages: Sequence[SourceMessage]) -> None:
        """Journals a batch; one by one where that fails for ever, so that one event cannot hold up all others."""
        parsed = parse_messages(messages)
        try:
            await self._journal([event for _, event in parsed.events], parsed.refused)
        except Exception as error:  # noqa: BLE001  # also a defect of ours
            _logger.warning("event=batch_taken_apart messages=%d error=%r", len(messages), error)
            await self._journal([], parsed.refused)
            for message, event in parsed.events:
                await self._take_alone(message, event)

    async def _take_alone(self, message: SourceMessage, event: ConditionEvent) -> None:
        try:
            await self._journal([event], [])
        except Exception as error:  # noqa: BLE001  # the message is kept, and the next one is taken
            await self._journal([], [refuse(message, repr(error))])

    async def _journal(self, events: Sequence[ConditionEvent], refused: Sequence[RefusedMessage]) -> None:
        """Durable when it returns, however long the journal is away. Raises JournalRefusedError, or a defect."""
        pauses_s = self._pauses()
        while True:
            try:
                receipt = await self._desk.take_events(events, BY, refused)
            except JournalRefusedError:
                raise
            except AlarmServiceError as error:
                self._wait_for(ReaderState.WAITING_FOR_JOURNAL, error)
                await asyncio.sleep(next(pauses_s))
            else:
                break
        self.health.duplicate_events_total += receipt.duplicates
        self.health.refused_messages_total += len(refused)
        for message in refused:
            _logger.error(
                "event=message_refused topic=%s partition=%d offset=%d reason=%r",
                message.topic,
                message.partition,
                message.offset,
                message.reason,
            )

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """Looks at lag and progress; raises _StuckError."""
        look_every_s = min(LOOK_EVERY_S, self._settings.stuck_s / 4)
        watch = ProgressWatch(self._settings.stuck_s, time.monotonic())
        while True:
            self.health.lag_messages = lag = await self._look(consumer, look_every_s)
            if self.health.state is ReaderState.WAITING_FOR_JOURNAL:
                watch.excuse(time.monotonic())
            elif watch.is_stuck(self.health.taken_messages_total, lag, time.monotonic()):
                raise _StuckError(f"no progress for {self._settings.stuck_s:g} s, lag {lag}")
            await asyncio.sleep(look_every_s)

    async def _look(self, consumer: AIOKafkaConsumer, timeout_s: float) -> int | None:
        """Messages that are not yet taken, by what Kafka says now; None if it does not answer."""
        places = sorted(consumer.assignment())
        try:
            async with asyncio.timeout(timeout_s):
                ends = await consumer.end_offsets(places)
                positions = [await consumer.position(place) for place in places]
        except (KafkaError, OSError, TimeoutError) as error:
            if self.health.state is not ReaderState.WAITING_FOR_JOURNAL:
                self._wait_for(ReaderState.WAITING_FOR_KAFKA, error)
            return None
        if self.health.state is not ReaderState.WAITING_FOR_JOURNAL:
            self._be(ReaderState.READING)
        return int(sum(ends.values()) - sum(positions)) + self._in_hand

    def _wait_for(self, state: ReaderState, error: Exception) -> None:
        if self.health.state is not state:
            _logger.warning("event=reader_waits state=%s reason=%r", state.value, error)
        self.health.state = state
        self.health.because = str(error) or repr(error)

    def _be(self, state: ReaderState) -> None:
        if self.health.state is not state:
            _logger.info("event=reader_goes_on state=%s", state.value)
        self.health.state = state
        self.health.because = None

    def _pauses(self) -> Iterator[float]:
        """Seconds between attempts, doubled each time, with jitter."""
        pause_s = self._settings.retry_first_s
        while True:
            yield pause_s * random.uniform(0.5, 1.5)  # noqa: S311  # jitter, no secret
            pause_s = min(2 * pause_s, self._settings.retry_max_s)


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancels tasks and waits a little; what they raise then says nothing new."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _source(record: ConsumerRecord) -> SourceMessage:
    return SourceMessage(record.topic, record.partition, record.offset, record.timestamp, record.value)
