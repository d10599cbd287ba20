"""The bridge as a process (shell): broker → host session → bounded channel → Kafka, and commands the other way.

At a stop the broker is told first (our STATE), then what was gathered is written, as far as Kafka answers in time.
What is not written was not acknowledged: agents send it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from contracts.configuration import Settings
from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import GATEWAY_STATUS, OBSERVATIONS, UPLINK_COMMANDS, WAVEFORMS
from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.query import BridgeHealth
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.configuration import MqttSettings, UpstreamSettings
from stream_processor.distributed.channel_to_kafka import Writer
from stream_processor.distributed.commands_to_mqtt import CommandRelay
from stream_processor.distributed.gateway_status import BridgeStatus, GatewayStatus
from stream_processor.distributed.kafka_producer import KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.partition_buffer import GatherBounds, PartitionBuffer
from stream_processor.distributed.wait_for_topics import wait_for_topics
from stream_processor.errors import TopicMismatchError
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import HostSession
from stream_processor.mqtt_to_channel import Bridge
from stream_processor.registry_to_fleet import FleetSource
from stream_processor.upstream_client import UpstreamClient

_log = logging.getLogger("stream_processor.bridge")

EXIT_TOPIC_MISMATCH: Final = 4
LAST_WRITE_S: Final = 0.8
LAST_CLOSE_S: Final = 0.5
"""A stop must not wait for a Kafka that does not answer."""


class GatherSettings(Settings):
    """How readings are gathered into messages."""

    rows: int = Field(default=500, ge=1, le=100_000)
    """A partition's message is written with so many readings."""
    interval_s: float = Field(default=0.05, ge=0.001, le=5.0)
    """Or so long after the first of them."""
    queue_rows: int = Field(default=500_000, ge=1_000, le=50_000_000)
    """Readings that may wait in memory while Kafka is away. Beyond it a batch is dropped unacknowledged: its agent
    sends it again."""


class ProcessSettings(Settings):
    """The whole file."""

    directory: Path
    """Holds the fleet snapshot."""
    mqtt: MqttSettings
    kafka: KafkaSettings
    gather: GatherSettings = GatherSettings()
    registry: UpstreamSettings

    def anchored(self, folder: Path) -> ProcessSettings:
        """With its relative paths made relative to `folder`."""
        return self.model_copy(
            update={
                "directory": folder / self.directory,
                "mqtt": self.mqtt.anchored(folder),
                "registry": self.registry.anchored(folder),
            }
        )


class BridgeProcess:
    """All parts of one running bridge."""

    def __init__(self, settings: ProcessSettings, fleet: FleetSnapshot, producer: KafkaProducer) -> None:
        gather, kafka, mqtt = settings.gather, settings.kafka, settings.mqtt
        self._hears = mqtt.hears
        self._status = GatewayStatus()
        self._own_status = BridgeStatus(mqtt.host_id)
        self._session = HostSession(FleetIndex(fleet), int(mqtt.reorder_timeout_s * NANOSECONDS_PER_SECOND))
        self._status.take_fleet(self._districts(fleet))
        self._channel = channel = BoundedChannel(gather.queue_rows)
        self.bridge = Bridge(mqtt, self._session, channel)
        bounds = GatherBounds(gather.rows, int(gather.interval_s * NANOSECONDS_PER_SECOND))
        self.writer = Writer(
            channel,
            self._session,
            self._status,
            self._tell_own_status,
            PartitionBuffer(kafka.partitions, bounds),
            producer,
            partitions=kafka.partitions,
            gather_interval_s=gather.interval_s,
        )
        self.commands = CommandRelay(kafka, client_id(settings), self._session, self.bridge, self._hears)
        self._settings = settings

    async def wait_for_topics(self) -> None:
        """Returns when the topics are there. Raises TopicMismatchError."""
        topics = (OBSERVATIONS, WAVEFORMS, GATEWAY_STATUS, UPLINK_COMMANDS)
        await wait_for_topics(self._settings.kafka, client_id(self._settings), topics)

    def _tell_own_status(self, now_ns: int) -> tuple[str, BridgeHealth | None]:
        return self._own_status.key, self._own_status.pop_due(
            now_ns,
            is_broker_connected=self.bridge.is_connected,
            shed_batches_total=self._channel.shed_batches_total,
        )

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new fleet revision."""
        self._session.take_fleet(FleetIndex(fleet))
        self._status.take_fleet(self._districts(fleet))
        _log.info("fleet_taken revision=%d channels=%d", fleet.revision, len(fleet.channels))

    def _districts(self, fleet: FleetSnapshot) -> dict[str, str]:
        return {each.gateway_id: each.district_id for each in fleet.gateways if self._hears(each.district_id)}


def client_id(settings: ProcessSettings) -> str:
    """Our name for Kafka's log."""
    return f"bridge-{settings.mqtt.host_id}"


def run(settings: ProcessSettings) -> int:
    """Runs until SIGTERM or SIGINT; the process' exit code."""
    try:
        asyncio.run(_run(settings))
    except TopicMismatchError as error:
        _log.error("topic_mismatch error=%s", error)  # the trace tells nothing
        return EXIT_TOPIC_MISMATCH
    return 0


async def _run(settings: ProcessSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    settings.directory.mkdir(parents=True, exist_ok=True)
    async with UpstreamClient(settings.registry) as registry:
        fleets = FleetSource(registry, settings.directory / "fleet.json")
        fleet = await _first_fleet(fleets, stopped)
        if fleet is None:
            return
        producer = KafkaProducer(settings.kafka, client_id(settings))
        process = BridgeProcess(settings, fleet, producer)
        try:
            await _serve(process, fleets, stopped)
        finally:
            await _within(LAST_CLOSE_S, producer.__aexit__(None, None, None))


async def _serve(process: BridgeProcess, fleets: FleetSource, stopped: asyncio.Event) -> None:
    """Until stopped, or until a part fails: then its error is raised."""
    checking = asyncio.create_task(process.wait_for_topics())
    parts = [process.bridge.run(), fleets.run(process.take_fleet), _after(checking, process.commands.run())]
    tasks = [asyncio.create_task(part) for part in parts]
    writing = asyncio.create_task(_after(checking, process.writer.run()))
    stop_task = asyncio.create_task(stopped.wait())
    await asyncio.wait([stop_task, writing, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (stop_task, *tasks):
        task.cancel()
    await asyncio.wait(tasks, timeout=LAST_WRITE_S)
    process.writer.stop()
    if checking.done():
        await _within(LAST_WRITE_S, writing)
    checking.cancel()
    writing.cancel()
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()


async def _after(checking: asyncio.Task[None], work: Coroutine[Any, Any, None]) -> None:
    """Nothing is written to topics, or read from them, that are not what we think."""
    try:
        await asyncio.shield(checking)
    except BaseException:
        work.close()
        raise
    await work


async def _within(seconds: float, work: asyncio.Task[None] | Coroutine[Any, Any, None]) -> None:
    """Gives up after some seconds, without waiting for the end of what was given up."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait([task], timeout=seconds)
    if done:
        task.result()
    else:
        task.cancel()
        _log.warning("not_ended_in_time seconds=%.1f", seconds)


async def _first_fleet(fleets: FleetSource, stopped: asyncio.Event) -> FleetSnapshot | None:
    """The fleet to start with, or None if we are stopped before."""
    task = asyncio.create_task(fleets.first())
    stop_task = asyncio.create_task(stopped.wait())
    await asyncio.wait([task, stop_task], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        stop_task.cancel()
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return None
