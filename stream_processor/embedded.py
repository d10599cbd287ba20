"""The embedded engine (shell): bridge, job, store, outbox and read API in one process; no server but a broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Coroutine
from typing import Any

from contracts.fleet import FleetSnapshot
from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.query import GatewayHealth, PipelineHealth, QuarantinePage, Trend
from contracts.ranges import RangeSet
from contracts.waveform_message import Waveform
from stream_processor.archive_columns import READINGS_FOLDER
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.channel_to_store import Job
from stream_processor.configuration import StreamProcessorSettings
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.errors import StoreBusyError
from stream_processor.fleet_index import FleetIndex
from stream_processor.gap_request import GapRequests
from stream_processor.host_session import HostSession, resend_request
from stream_processor.http_api import ReadModel, build_api
from stream_processor.mqtt_to_channel import Bridge
from stream_processor.outbox_to_alarm_service import Outbox
from stream_processor.parquet_export import ParquetExport
from stream_processor.registry_to_fleet import FleetSource
from stream_processor.serve_http import serving
from stream_processor.upstream_client import UpstreamClient
from stream_processor.waveform_columns import WAVEFORMS_FOLDER
from stream_processor.waveform_export import WaveformExport

_log = logging.getLogger("stream_processor.embedded")

GAP_LOOK_S = 10.0
NANOSECONDS_PER_HOUR = 3_600 * 1_000_000_000


class EmbeddedEngine:
    """All parts of one running processor."""

    def __init__(
        self, settings: StreamProcessorSettings, fleet: FleetSnapshot, store: DuckdbStore, outbox: Outbox
    ) -> None:
        self._settings = settings
        self.fleet = fleet
        self.store = store
        self.session = HostSession(FleetIndex(fleet), int(settings.mqtt.reorder_timeout_s * NANOSECONDS_PER_SECOND))
        self.channel = BoundedChannel(settings.store.queue_rows)
        self.bridge = Bridge(settings.mqtt, self.session, self.channel)
        self.job = Job(settings.store, store, self.session, self.channel, self.bridge, outbox.wake)
        self.is_stopping = False

    def stop_polls(self) -> None:
        """Whoever waits for news is answered now."""
        self.is_stopping = True
        self.job.latest_changed.notify()

    def health(self) -> PipelineHealth:
        """What `GET /v1/health` answers. Blocks on the store."""
        counters = self.job.counters
        return PipelineHealth(
            is_broker_connected=self.bridge.is_connected,
            stored_observations_total=self.store.stored_total,
            duplicate_batches_total=counters.duplicate_batches_total,
            duplicate_observations_total=counters.duplicate_observations_total,
            quarantined_total=self.store.count_quarantine(),
            unscored_batches_total=counters.unscored_batches_total,
            shed_batches_total=self.channel.shed_batches_total,
            queued_batches=self.channel.batch_count,
            outbox_events=self.store.count_outbox(),
            gateways=[
                GatewayHealth(
                    gateway_id=edge_node.gateway_id,
                    is_online=edge_node.is_online,
                    epoch=edge_node.epoch,
                    last_payload_ns=edge_node.last_payload_ns,
                    losses=edge_node.losses,
                )
                for edge_node in list(self.session.edge_nodes.values())
            ],
        )

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new fleet revision."""
        self.fleet = fleet
        self.job.take_fleet(fleet)

    async def request_gaps(self) -> None:
        """Asks for missing batches, until cancelled."""
        requests = GapRequests()
        while True:
            await asyncio.sleep(GAP_LOOK_S)
            now_ns = time.time_ns()
            for edge_node in self.session.edge_nodes.values():
                if not edge_node.is_online or edge_node.epoch is None:
                    continue
                for epoch, ranges in requests.due(edge_node.gateway_id, self.job.ledger, now_ns):
                    _log.info("gap_requested gateway=%s epoch=%d ranges=%s", edge_node.gateway_id, epoch, ranges[:5])
                    await self.bridge.publish([resend_request(edge_node, epoch, RangeSet(ranges), now_ns)])

    async def export_parquet(self) -> None:
        """Moves what is stored into Parquet, until cancelled."""
        store_settings = self._settings.store
        export = ParquetExport(self.store, store_settings.directory / READINGS_FOLDER)
        waveforms = WaveformExport(self.store, store_settings.directory / WAVEFORMS_FOLDER)
        while True:
            await asyncio.sleep(store_settings.parquet_interval_s)
            oldest_ns = time.time_ns() - int(store_settings.hot_retention_h * NANOSECONDS_PER_HOUR)
            try:
                count = await asyncio.to_thread(export.export, self.fleet)
                dropped = await asyncio.to_thread(export.drop_exported, oldest_ns)
                blocks = await asyncio.to_thread(waveforms.export, self.fleet)
                await asyncio.to_thread(waveforms.drop_exported, oldest_ns)
                await asyncio.to_thread(self.store.drop_quarantine, oldest_ns)
                await asyncio.to_thread(self.store.stored_batches)
            except StoreBusyError as error:
                _log.warning("parquet_export_failed error=%s", error)
            else:
                _log.info("parquet_exported rows=%d waveforms=%d dropped_from_hot=%d", count, blocks, dropped)


async def run_embedded(settings: StreamProcessorSettings) -> None:
    """Runs until SIGTERM or SIGINT; raises if a part of it fails."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(UpstreamClient(settings.registry))
        alarm_service = await stack.enter_async_context(UpstreamClient(settings.alarm_service))
        store = await asyncio.to_thread(DuckdbStore, settings.store.directory)
        stack.callback(store.close)
        fleets = FleetSource(registry, settings.store.directory / "fleet.json")
        fleet = await _unless(stopped, fleets.first())
        if fleet is None:
            return
        outbox = Outbox(store, alarm_service)
        engine = EmbeddedEngine(settings, fleet, store, outbox)
        await asyncio.to_thread(engine.job.restore, fleet)
        api = build_api(_read_model(engine), settings.principal)
        await stack.enter_async_context(serving(api, settings.http, engine.stop_polls))
        parts: list[Coroutine[Any, Any, None]] = [
            engine.job.run(),
            engine.bridge.run(),
            outbox.run(),
            fleets.run(engine.take_fleet),
            engine.request_gaps(),
            engine.export_parquet(),
        ]
        await _run_parts(parts, stopped)
        engine.stop_polls()
        await engine.job.save_snapshot()


def _read_model(engine: EmbeddedEngine) -> ReadModel:
    store = engine.store

    async def trend(channel_id: int, from_ns: int, to_ns: int, bucket_ns: int) -> Trend:
        return await asyncio.to_thread(store.trend, channel_id, from_ns, to_ns, bucket_ns)

    async def waveforms(channel_id: int, from_ns: int, to_ns: int, blocks_max: int) -> list[Waveform]:
        return await asyncio.to_thread(store.waveforms, channel_id, from_ns, to_ns, blocks_max)

    async def quarantine() -> QuarantinePage:
        return await asyncio.to_thread(store.quarantine_page)

    async def health() -> PipelineHealth:
        return await asyncio.to_thread(engine.health)

    return ReadModel(
        latest=engine.job.latest,
        latest_changed=engine.job.latest_changed,
        trend=trend,
        completeness=lambda: list(engine.job.ledger.rows()),
        quarantine=quarantine,
        health=health,
        is_stopping=lambda: engine.is_stopping,
        waveforms=waveforms,
    )


async def _run_parts(parts: list[Coroutine[Any, Any, None]], stopped: asyncio.Event) -> None:
    """Runs all parts until `stopped`; if one fails, the others are cancelled and its error is raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    stop_task = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([stop_task, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (stop_task, *tasks):
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, FleetSnapshot]) -> FleetSnapshot | None:
    """What `work` gives, or None if we are stopped before."""
    task = asyncio.create_task(work)
    stop_task = asyncio.create_task(stopped.wait())
    await asyncio.wait([task, stop_task], return_when=asyncio.FIRST_COMPLETED)
    stop_task.cancel()
    if task.done():
        return task.result()
    task.cancel()
    return None
