"""From the bounded channel to Kafka (shell): one task writes, so that the order of a partition is that of the channel.

While a write is under way, what comes waits in the channel, which is bounded; a longer wait makes larger messages.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contracts.kafka_topic import GATEWAY_STATUS, OBSERVATIONS, WAVEFORMS, partition_of
from contracts.query import BridgeHealth, GatewayHealth
from contracts.record_message import ObservationMessage, encode_observations
from contracts.waveform_message import encode_waveforms
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.distributed.gateway_status import GatewayStatus
from stream_processor.distributed.kafka_message import KafkaMessage
from stream_processor.distributed.kafka_producer import KafkaProducer
from stream_processor.distributed.partition_buffer import PartitionBuffer
from stream_processor.host_session import HostSession

_log = logging.getLogger("stream_processor.writer")

LOOKS_PER_INTERVAL: Final = 5
"""How exactly the gathering time is kept."""
IDLE_LOOK_S: Final = 0.2
STATUS_INTERVAL_S: Final = 0.5
REPORT_INTERVAL_S: Final = 60.0
READINGS_PER_WRITE: Final = 100_000
"""Bounds the memory of one write; the rest waits in the channel."""


@dataclass(slots=True)
class WriterTotals:
    """Since the start."""

    messages: int = 0
    readings: int = 0
    bytes: int = 0


class Writer:
    """Gathers, encodes, writes."""

    def __init__(
        self,
        channel: BoundedChannel,
        session: HostSession,
        status: GatewayStatus,
        own_status: Callable[[int], tuple[str, BridgeHealth | None]],
        buffer: PartitionBuffer,
        producer: KafkaProducer,
        *,
        partitions: int,
        gather_interval_s: float,
    ) -> None:
        self._channel = channel
        self._session = session
        self._status = status
        self._own_status = own_status
        self._buffer = buffer
        self._producer = producer
        self._partitions = partitions
        self._look_s = gather_interval_s / LOOKS_PER_INTERVAL
        self._status_at_s = 0.0
        self._report_at_s = time.monotonic() + REPORT_INTERVAL_S
        self._is_stopping = False
        self._shed_reported = 0
        self.totals = WriterTotals()

    def stop(self) -> None:
        """`run` writes what is gathered, and returns."""
        self._is_stopping = True

    async def run(self) -> None:
        """Writes until stopped."""
        while not self._is_stopping:
            if self._buffer.is_empty:
                await self._channel.wait(IDLE_LOOK_S)
            await asyncio.sleep(self._look_s)
            self._gather()
            await self._write_waveforms()
            now_ns = time.time_ns()
            await self._write(self._encoded(self._buffer.pop_due(now_ns)) + self._due_status(now_ns))
            self._report()
        await self._write_rest()

    async def _write_rest(self) -> None:
        while not self._channel.is_empty:
            self._gather()
            await self._write_waveforms()
            await self._write(self._encoded(self._buffer.pop_all(time.time_ns())))
        now_ns = time.time_ns()
        await self._write(self._encoded(self._buffer.pop_all(now_ns)) + self._status_messages(now_ns))

    def _gather(self) -> None:
        now_ns = time.time_ns()
        for effect in self._channel.take(READINGS_PER_WRITE):
            self._buffer.add(effect, now_ns)

    def _encoded(self, due: list[tuple[int, ObservationMessage]]) -> list[KafkaMessage]:
        encoded = []
        for partition, message in due:
            value = encode_observations(message)
            self.totals.messages += 1
            self.totals.readings += len(message.record)
            self.totals.bytes += len(value)
            encoded.append(KafkaMessage(OBSERVATIONS, partition, None, value))
        return encoded

    def _due_status(self, now_ns: int) -> list[KafkaMessage]:
        if time.monotonic() < self._status_at_s:
            return []
        self._status_at_s = time.monotonic() + STATUS_INTERVAL_S
        return self._status_messages(now_ns)

    def _status_messages(self, now_ns: int) -> list[KafkaMessage]:
        told: list[tuple[str, GatewayHealth | BridgeHealth | None]] = [
            *self._status.pop_due(self._session.edge_nodes, now_ns)
        ]
        key, own = self._own_status(now_ns)
        if own is not None:
            told.append((key, own))
        return [
            KafkaMessage(
                GATEWAY_STATUS,
                partition_of(key, self._partitions),
                key.encode(),
                None if health is None else health.model_dump_json().encode(),
            )
            for key, health in told
        ]

    async def _write_waveforms(self) -> None:
        """Durable before the record that names their batch is written: by that record the batch is acknowledged."""
        await self._write(
            [
                KafkaMessage(WAVEFORMS, partition, message.gateway_id.encode(), encode_waveforms(message))
                for partition, message in self._buffer.pop_waveforms()
            ]
        )

    async def _write(self, messages: list[KafkaMessage]) -> None:
        if messages:
            await self._producer.send(messages)

    def _report(self) -> None:
        """Once a minute what was done, and what was shed as soon as it is noticed."""
        shed = self._channel.shed_batches_total + self._channel.shed_quarantined_total
        if time.monotonic() < self._report_at_s and shed == self._shed_reported:
            return
        self._report_at_s = time.monotonic() + REPORT_INTERVAL_S
        self._shed_reported = shed
        _log.info(
            "written messages=%d readings=%d bytes=%d shed_batches=%d shed_quarantined=%d waiting=%d",
            self.totals.messages,
            self.totals.readings,
            self.totals.bytes,
            self._channel.shed_batches_total,
            self._channel.shed_quarantined_total,
            self._channel.batch_count,
        )
