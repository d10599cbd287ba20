"""The store job (shell): from `observations.scored` to InfluxDB, then acknowledgements to the gateways.

    take: decode → points → InfluxDB → quarantine, acknowledgements → Kafka; then the offsets are committed

A server that is away is waited for; Kafka holds what comes meanwhile. A message that comes again writes the same points
over the same points. Before a channel that our fleet snapshot does not have goes to quarantine, the registry is asked
whether it is new.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import Field

from contracts.configuration import Settings
from contracts.errors import RecordError
from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import QUARANTINE, SCORED, UPLINK_COMMANDS, partition_of
from contracts.notice import Quarantined
from contracts.record_message import HourOfGateway, ScoredMessage
from stream_processor.configuration import UpstreamSettings
from stream_processor.distributed.acknowledge import acknowledgements
from stream_processor.distributed.faust_job import run_job
from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.job_settings import JobSettings, KafkaName
from stream_processor.distributed.kafka_producer import KafkaMessage, KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.quarantine_message import quarantine_row
from stream_processor.distributed.scored_source import ScoredSource
from stream_processor.distributed.store_plan import (
    REFUSED_BY_INFLUXDB,
    Lane,
    StoreColumns,
    build_completeness,
    gather_columns,
    newest_hours,
    quarantine_unknown,
    split_lanes,
)
from stream_processor.errors import UpstreamError
from stream_processor.fleet_index import FleetIndex
from stream_processor.influx_sink import InfluxSettings, InfluxSink
from stream_processor.line_protocol import build_bodies
from stream_processor.registry_to_fleet import FleetSource
from stream_processor.series_table import SeriesTable
from stream_processor.upstream_client import UpstreamClient

_log = logging.getLogger("stream_processor.store")

UNREADABLE_MESSAGE: Final = "unreadable_message"
SAY_EVERY_TICKS: Final = 60
ASK_AGAIN_S: Final = 30.0
"""A registry that does not answer must not slow the job down for channels that nobody knows."""


class StoreJobSettings(JobSettings):
    """Table [job]: large bodies cost InfluxDB less, few fetches cost Kafka less, and nothing here is in a hurry."""

    group: KafkaName = "store"
    gather_interval_s: float = Field(default=0.1, ge=0.0, le=60.0)
    fetch_min_bytes: int = Field(default=1024 * 1024, ge=1)
    fetch_wait_s: float = Field(default=0.1, ge=0.0, le=60.0)


class ProcessSettings(Settings):
    """The whole file."""

    directory: Path
    """Holds the fleet snapshot."""
    kafka: KafkaSettings
    job: StoreJobSettings = StoreJobSettings()
    influxdb: InfluxSettings
    registry: UpstreamSettings

    def anchored(self, folder: Path) -> ProcessSettings:
        """With its relative paths made relative to `folder`."""
        return self.model_copy(
            update={
                "directory": folder / self.directory,
                "influxdb": self.influxdb.anchored(folder),
                "registry": self.registry.anchored(folder),
            }
        )


class StoreHandler:
    """Takes messages into InfluxDB, one call at a time."""

    def __init__(
        self, settings: ProcessSettings, registry: UpstreamClient, sink: InfluxSink, producer: KafkaProducer
    ) -> None:
        self._partitions = settings.kafka.partitions
        self._connections = settings.influxdb.connections
        self._registry = registry
        self._sink = sink
        self._producer = producer
        self._source = ScoredSource()
        self._revision = -1
        self._table = SeriesTable({})
        self._districts: dict[str, str] = {}
        self._absent: frozenset[int] = frozenset()
        """Channels of which the registry has said that it does not know them (as of `_revision`)."""
        self._ask_again_s = time.monotonic()
        self._ticks = 0
        self.following: asyncio.Task[None] | None = None
        """What keeps the fleet up to date: if it fails, the worker ends."""

    @property
    def waiting_because(self) -> str | None:
        """What InfluxDB or Kafka last said."""
        return self._sink.counters.waiting_because or self._producer.waiting_because

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new revision."""
        if fleet.revision == self._revision:
            return
        self._revision = fleet.revision
        self._table = SeriesTable(FleetIndex(fleet).contexts)
        self._districts = {each.gateway_id: each.district_id for each in fleet.gateways}
        self._absent = frozenset()
        _log.info("fleet_taken revision=%d channels=%d", fleet.revision, len(fleet.channels))

    async def take(self, messages: Sequence[SourceMessage]) -> None:
        """Returns when all points are stored and their batches acknowledged on Kafka."""
        scored, answers = self._read(messages)
        if scored:
            columns = gather_columns(scored)
            unknown = await self._find_unknown(columns)
            refused = await self._write(columns)
            refused += await self._write_completeness(newest_hours(scored))
            partition = messages[0].partition
            answers += self._quarantine(partition, quarantine_unknown(columns, unknown, self._revision))
            answers += self._quarantine(partition, refused)
            answers += self._acknowledgements(scored)
        await self._producer.send(answers)

    async def tick(self) -> None:
        """Raises what has ended the following of the fleet, and tells the counters once a minute."""
        if self.following is not None and self.following.done():
            self.following.result()
        self._ticks += 1
        if self._ticks % SAY_EVERY_TICKS == 0:
            counters = self._sink.counters
            _log.info(
                "stored lines=%d refused=%d requests=%d waits=%d messages_again=%d",
                counters.stored_lines_total,
                counters.refused_lines_total,
                counters.requests_total,
                counters.waits_total,
                self._source.skipped_total,
            )

    def _read(self, messages: Sequence[SourceMessage]) -> tuple[list[ScoredMessage], list[KafkaMessage]]:
        """What is new, and what is to be quarantined because it cannot be read."""
        scored: list[ScoredMessage] = []
        unreadable: list[KafkaMessage] = []
        for message in messages:
            try:
                taken = self._source.take(message.partition, message.value)
            except RecordError as error:
                _log.error("scored_message_unreadable partition=%d offset=%d", message.partition, message.offset)
                bad = Quarantined(
                    0, f"{SCORED.name}/{message.partition}", UNREADABLE_MESSAGE, str(error), message.value
                )
                unreadable += self._quarantine(message.partition, [bad])
            else:
                if taken is not None:
                    scored.append(taken)
        return scored, unreadable

    async def _find_unknown(self, columns: StoreColumns) -> frozenset[int]:
        """Channels that are in no fleet, also not in the registry's newest if the registry answers."""
        unknown = columns.channels_not_in(self._table)
        if unknown <= self._absent or time.monotonic() < self._ask_again_s:
            return unknown
        try:
            fleet = await self._registry.fetch_fleet(self._revision, 0.0)
        except UpstreamError as error:
            _log.warning("registry_unavailable error=%s", error)
            self._ask_again_s = time.monotonic() + ASK_AGAIN_S
        else:
            if fleet is not None:
                self.take_fleet(fleet)
                unknown = columns.channels_not_in(self._table)
            self._absent |= unknown
        return unknown

    async def _write(self, columns: StoreColumns) -> list[Quarantined]:
        table = self._table
        async with asyncio.TaskGroup() as group:
            lanes = [
                group.create_task(self._write_lane(table, lane))
                for lane in split_lanes(columns, table, self._connections)
            ]
        return [bad for lane in lanes for bad in lane.result()]

    async def _write_lane(self, table: SeriesTable, lane: Lane) -> list[Quarantined]:
        refused: list[Quarantined] = []
        for body in build_bodies(table.series, lane.points):
            for line in await self._sink.write(body):
                received_ns = int(lane.received_ns[line.point_index])
                refused.append(Quarantined(received_ns, SCORED.name, REFUSED_BY_INFLUXDB, line.reason, line.line))
        return refused

    async def _write_completeness(self, hours: Sequence[HourOfGateway]) -> list[Quarantined]:
        if not hours:
            return []
        refused = await self._sink.write_completeness(build_completeness(hours))
        return [
            Quarantined(hours[line.point_index].hour_ns, SCORED.name, REFUSED_BY_INFLUXDB, line.reason, line.line)
            for line in refused
        ]

    def _quarantine(self, partition: int, rows: Iterable[Quarantined]) -> list[KafkaMessage]:
        return [
            KafkaMessage(QUARANTINE, partition, None, quarantine_row(bad).model_dump_json().encode()) for bad in rows
        ]

    def _acknowledgements(self, scored: Sequence[ScoredMessage]) -> list[KafkaMessage]:
        identities = [identity for message in scored for identity in message.identities()]
        return [
            KafkaMessage(
                UPLINK_COMMANDS,
                partition_of(command.gateway_id, self._partitions),
                command.gateway_id.encode(),
                command.model_dump_json().encode(),
            )
            for command in acknowledgements(identities, self._districts)
        ]


def run(settings: ProcessSettings) -> int:
    """Runs the worker until a signal; returns its exit code."""
    return run_job(settings.job, settings.kafka, SCORED, partial(_handler, settings))


@contextlib.asynccontextmanager
async def _handler(settings: ProcessSettings) -> AsyncIterator[StoreHandler]:
    settings.directory.mkdir(parents=True, exist_ok=True)
    async with (
        UpstreamClient(settings.registry) as registry,
        InfluxSink(settings.influxdb) as sink,
        KafkaProducer(settings.kafka, settings.job.group) as producer,
    ):
        fleets = FleetSource(registry, settings.directory / "fleet.json")
        handler = StoreHandler(settings, registry, sink, producer)
        handler.take_fleet(await fleets.first())
        async with fleets.following(handler.take_fleet) as handler.following:
            yield handler
