"""The progress watchdog's thread (shell): asks the broker, and ends the process if the worker is wedged.

It has a thread, a loop and connections of its own, so that it works while the job's event loop does not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.kafka_topic import KafkaTopic
from stream_processor.distributed.job_settings import JobSettings
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.progress_watchdog import PartitionProgress, ProgressWatchdog
from stream_processor.foreign_cancellation import foreign_cancellation_as_error

_log = logging.getLogger("stream_processor.watchdog")

EXIT_WEDGED: Final = 70
"""sysexits.h: EX_SOFTWARE."""
IDLE_LIMITS: Final = 2
"""A worker without partitions gets so many times the limit: the one that has them is to end first."""
_LOOKS_PER_LIMIT: Final = 8
_LOOK_INTERVAL_MAX_S: Final = 5.0


class WatchThread:
    """Watches the partitions that `assigned` names, while `waiting_because` is None."""

    def __init__(
        self,
        settings: JobSettings,
        kafka: KafkaSettings,
        source: KafkaTopic,
        assigned: Callable[[], frozenset[int]],
        waiting_because: Callable[[], str | None],
    ) -> None:
        self._settings = settings
        self._kafka = kafka
        self._source = source
        self._assigned = assigned
        self._waiting_because = waiting_because
        self._watchdog = ProgressWatchdog(settings.watchdog_s)
        self._idle_watchdog = ProgressWatchdog(IDLE_LIMITS * settings.watchdog_s)
        """While this worker has no partition: one that nobody moves may be one that we failed to get."""
        self._interval_s = min(_LOOK_INTERVAL_MAX_S, settings.watchdog_s / _LOOKS_PER_LIMIT)
        self._is_ending = threading.Event()

    def start(self) -> None:
        """A daemon thread: it never holds up the end of the process."""
        threading.Thread(target=lambda: asyncio.run(self._watch()), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """From now on nothing is judged. Does not wait for the thread."""
        self._is_ending.set()

    async def _watch(self) -> None:
        while not self._is_ending.is_set():
            try:
                with foreign_cancellation_as_error("the watchdog"):
                    async with AsyncExitStack() as stack:
                        await self._watch_connected(*await self._connect(stack))
            except (KafkaError, OSError) as error:
                _log.info("watchdog_cannot_ask error=%r", error)
            self._forgive()
            await asyncio.sleep(self._interval_s)

    async def _connect(self, stack: AsyncExitStack) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        timeout_ms = round(1_000 * self._kafka.request_timeout_s)
        servers = list(self._kafka.servers)
        admin = AIOKafkaAdminClient(bootstrap_servers=servers, request_timeout_ms=timeout_ms)
        stack.push_async_callback(admin.close)
        await admin.start()
        consumer = AIOKafkaConsumer(bootstrap_servers=servers, request_timeout_ms=timeout_ms)
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        return admin, consumer

    async def _watch_connected(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        while not self._is_ending.is_set():
            await asyncio.sleep(self._interval_s)
            if (reason := self._waiting_because()) is not None:
                _log.debug("watchdog_forgives reason=%s", reason)
                self._forgive()
                continue
            assigned = self._assigned()
            progress = await self._ask(admin, consumer, assigned or frozenset(range(self._kafka.partitions)))
            wedged = self._judge(assigned, progress)
            if wedged and not self._is_ending.is_set():
                self._end(wedged, progress)

    def _judge(self, assigned: frozenset[int], progress: dict[int, PartitionProgress]) -> list[int]:
        judging, resting = self._watchdog, self._idle_watchdog
        if not assigned:
            judging, resting = resting, judging
        resting.forgive()
        return judging.observe(time.monotonic(), progress)

    def _forgive(self) -> None:
        self._watchdog.forgive()
        self._idle_watchdog.forgive()

    async def _ask(
        self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, partitions: frozenset[int]
    ) -> dict[int, PartitionProgress]:
        places = [TopicPartition(self._source.name, number) for number in sorted(partitions)]
        committed = await admin.list_consumer_group_offsets(self._settings.group, partitions=places)
        ends = await consumer.end_offsets(places)
        offsets = {place.partition: committed[place].offset for place in places if place in committed}
        return {
            place.partition: PartitionProgress(
                offset if (offset := offsets.get(place.partition, -1)) >= 0 else None, ends[place]
            )
            for place in places
        }

    def _end(self, wedged: list[int], progress: dict[int, PartitionProgress]) -> None:
        states = " ".join(f"{number}:{progress[number].committed}/{progress[number].end}" for number in wedged)
        _log.critical("worker_wedged group=%s stands_s=%g %s", self._settings.group, self._settings.watchdog_s, states)
        logging.shutdown()
        os._exit(EXIT_WEDGED)  # whatever is wedged would hold up a clean end
