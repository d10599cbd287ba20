"""From `uplink.commands` to the broker (shell): a plain consumer of all partitions, from their end on.

What was said while this process was away is not fetched: agents send again what nobody acknowledged, and are
acknowledged again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.kafka_topic import UPLINK_COMMANDS
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.uplink_ncmd import parse_uplink_commands, plan_ncmds
from stream_processor.foreign_cancellation import foreign_cancellation_as_error
from stream_processor.host_session import HostSession
from stream_processor.mqtt_to_channel import Bridge

_log = logging.getLogger("stream_processor.commands")

POLL_MS = 200


class CommandRelay:
    """Publishes what jobs have to say to the gateways of our districts, for as long as `run` runs."""

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        session: HostSession,
        bridge: Bridge,
        hears: Callable[[str], bool],
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._session = session
        self._bridge = bridge
        self._hears = hears
        self._is_waiting = False

    async def run(self) -> None:
        """Until cancelled."""
        delay_s = self._settings.retry_first_s
        while True:
            try:
                with foreign_cancellation_as_error("following Kafka"):
                    await self._relay()
            except (KafkaError, OSError) as error:
                if not self._is_waiting:
                    _log.warning("kafka_waiting servers=%s reason=%r", ",".join(self._settings.servers), error)
                self._is_waiting = True
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            delay_s = min(2 * delay_s, self._settings.retry_max_s)

    async def _relay(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=list(self._settings.servers),
            client_id=self._client_id,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            request_timeout_ms=round(1_000 * self._settings.request_timeout_s),
        )
        try:
            await consumer.start()
            places = [TopicPartition(UPLINK_COMMANDS.name, number) for number in range(self._settings.partitions)]
            consumer.assign(places)
            await consumer.seek_to_end(*places)
            self._is_waiting = False
            _log.info("commands_followed partitions=%d", len(places))
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS)
                await self._publish([message.value for batch in batches.values() for message in batch])
        finally:
            await consumer.stop()

    async def _publish(self, values: list[bytes | None]) -> None:
        commands, malformed = parse_uplink_commands(values)
        if malformed:
            _log.error("not_a_command count=%d", malformed)
        now_ns = time.time_ns()
        await self._bridge.publish(plan_ncmds(commands, self._session.edge_nodes, self._hears, now_ns))
