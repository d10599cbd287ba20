"""The read process (shell): the REST API of the embedded engine, over Kafka and InfluxDB.

Last values, completeness, quarantine and health are read from Kafka and kept in memory; trends are asked of InfluxDB.
Any number of them may run: none of them writes anything but its fleet snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import Field

from contracts.configuration import Settings
from contracts.fleet import FleetSnapshot
from contracts.query import PipelineHealth, QuarantinePage, Trend
from contracts.service import HttpListener, Principals
from stream_processor.change_signal import ChangeSignal
from stream_processor.configuration import UpstreamSettings
from stream_processor.distributed.follow_topics import TopicFollower
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.read_state import ReadState
from stream_processor.errors import StoreBusyError, TopicMismatchError
from stream_processor.fleet_index import ChannelContext, FleetIndex
from stream_processor.http_api import ReadModel, build_api
from stream_processor.influx_question import empty_trend
from stream_processor.influx_reader import InfluxReader
from stream_processor.influx_sink import InfluxSettings
from stream_processor.registry_to_fleet import FleetSource
from stream_processor.serve_http import serving
from stream_processor.upstream_client import UpstreamClient

_log = logging.getLogger("stream_processor.read")

EXIT_TOPIC_MISMATCH: Final = 4


class ReadSettings(Settings):
    """Table [read]."""

    lookback_s: float = Field(default=900.0, ge=0.0, le=604_800.0)
    """At a start, last values are read from so far back."""
    store_group: str = "store"
    """Kafka's consumer group of the store job and of the alarm service: how far they are is part of health."""
    alarm_group: str = "alarm-service"


class ProcessSettings(Settings):
    """The whole file."""

    directory: Path
    """Holds the fleet snapshot."""
    http: HttpListener
    kafka: KafkaSettings
    influxdb: InfluxSettings
    registry: UpstreamSettings
    read: ReadSettings = ReadSettings()
    principal: Principals
    """Who may call the read API."""

    def anchored(self, folder: Path) -> ProcessSettings:
        """With its relative paths made relative to `folder`."""
        return self.model_copy(
            update={
                "directory": folder / self.directory,
                "influxdb": self.influxdb.anchored(folder),
                "registry": self.registry.anchored(folder),
            }
        )


class ReadProcess:
    """All parts of one running read process."""

    def __init__(self, settings: ProcessSettings, influx: InfluxReader) -> None:
        self._influx = influx
        self._contexts: Mapping[int, ChannelContext] | None = None
        self._is_stopping = False
        self._changed = ChangeSignal()
        self._state = ReadState()
        self.follower = TopicFollower(settings.kafka, settings.read.lookback_s, self._state, self._changed.notify)

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new fleet revision."""
        self._contexts = FleetIndex(fleet).contexts
        self._state.know(np.fromiter(self._contexts, np.uint32, count=len(self._contexts)))
        _log.info("fleet_taken revision=%d channels=%d", fleet.revision, len(fleet.channels))

    def stop_polls(self) -> None:
        """Whoever waits for news is answered now."""
        self._is_stopping = True
        self._changed.notify()

    def model(self) -> ReadModel:
        """What the API shows."""
        return ReadModel(
            latest=self._state.latest,
            latest_changed=self._changed,
            trend=self._trend,
            completeness=self._state.completeness,
            quarantine=self._quarantine,
            health=self._health,
            is_stopping=lambda: self._is_stopping,
            not_ready_because=lambda: self.follower.not_ready_because,
        )

    async def _trend(self, channel_id: int, from_ns: int, to_ns: int, bucket_ns: int) -> Trend:
        if self._contexts is None:
            raise StoreBusyError("the fleet is not known yet: the registry does not answer")
        context = self._contexts.get(channel_id)
        if context is None:
            return empty_trend(channel_id, from_ns, to_ns, bucket_ns)
        return await self._influx.trend(context, from_ns, to_ns, bucket_ns)

    async def _quarantine(self) -> QuarantinePage:
        return self._state.quarantine_page()

    async def _health(self) -> PipelineHealth:
        return self._state.health(time.time_ns())


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
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(UpstreamClient(settings.registry))
        influx = await stack.enter_async_context(InfluxReader(settings.influxdb))
        process = ReadProcess(settings, influx)
        api = build_api(process.model(), settings.principal)
        await stack.enter_async_context(serving(api, settings.http, process.stop_polls))
        fleets = FleetSource(registry, settings.directory / "fleet.json")
        parts: list[Coroutine[Any, Any, None]] = [
            _follow_fleet(fleets, process),
            process.follower.run(),
            process.follower.count_lag(settings.read.store_group, settings.read.alarm_group),
        ]
        await _run_until(stopped, parts)
        process.stop_polls()


async def _follow_fleet(fleets: FleetSource, process: ReadProcess) -> None:
    process.take_fleet(await fleets.first())
    await fleets.run(process.take_fleet)


async def _run_until(stopped: asyncio.Event, parts: list[Coroutine[Any, Any, None]]) -> None:
    """Runs all parts until `stopped`; if one fails, the others are cancelled and its error is raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    stop_task = asyncio.create_task(stopped.wait())
    await asyncio.wait([stop_task, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (stop_task, *tasks):
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=1.0)  # a consumer of a Kafka that is away may take long to stop
    for task in done:
        if not task.cancelled():
            task.result()
