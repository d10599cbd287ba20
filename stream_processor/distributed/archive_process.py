"""The archive job (shell): from `observations.scored` to Parquet, all data, each row once.

`take` returns when the messages stand in the journals of their partitions, on the disk: then Kafka may forget them.
A journal becomes Parquet files when it is full or old enough. A disk that is full or a partition that another worker
still has is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from pydantic import Field

from contracts.configuration import Settings
from contracts.errors import RecordError
from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import SCORED
from stream_processor.configuration import UpstreamSettings
from stream_processor.distributed.archive_plan import Frame, read_frame
from stream_processor.distributed.faust_job import run_job
from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.job_settings import JobSettings, KafkaName
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.parquet_archive import ParquetArchive
from stream_processor.fleet_index import FleetIndex
from stream_processor.registry_to_fleet import FleetSource
from stream_processor.upstream_client import UpstreamClient

_log = logging.getLogger("stream_processor.archive")

_RETRY_S: Final = 0.5
_NS_PER_S: Final = 1_000_000_000
_ResultT = TypeVar("_ResultT")


class ArchiveSettings(Settings):
    """Table [archive]."""

    directory: Path
    """Journals and closed files. One for all workers of a city, on one file system."""
    rows_per_file: int = Field(default=1_000_000, ge=1_000, le=5_000_000)
    """A partition's journal of so many rows is closed; that takes about 0.4 KiB of memory and 2 µs a row."""
    max_age_s: float = Field(default=3_600.0, ge=1.0, le=86_400.0)
    """A journal that is so old is closed, however few rows it has."""


class ArchiveJobSettings(JobSettings):
    """Table [job]: each set of messages is synced to the disk."""

    group: KafkaName = "archive"
    gather_interval_s: float = Field(default=1.0, ge=0.0, le=60.0)
    gather_messages: int = Field(default=1_000, ge=1, le=10_000)
    fetch_min_bytes: int = Field(default=4 * 1024 * 1024, ge=1)
    fetch_wait_s: float = Field(default=1.0, ge=0.0, le=60.0)


class ProcessSettings(Settings):
    """The whole file."""

    kafka: KafkaSettings
    job: ArchiveJobSettings = ArchiveJobSettings()
    archive: ArchiveSettings
    registry: UpstreamSettings

    def anchored(self, folder: Path) -> ProcessSettings:
        """Relative paths are relative to the file's folder."""
        archive = self.archive.model_copy(update={"directory": folder / self.archive.directory})
        return self.model_copy(update={"archive": archive, "registry": self.registry.anchored(folder)})


class ArchiveHandler:
    """Takes messages into the archive, one call at a time."""

    def __init__(self, settings: ArchiveSettings, archive: ParquetArchive) -> None:
        self._max_age_ns = int(settings.max_age_s * _NS_PER_S)
        self._archive = archive
        self._contexts = dict(archive.contexts)
        self._waiting_because: str | None = None
        self.following: asyncio.Task[None] | None = None
        """What keeps the fleet up to date: if it fails, the worker ends."""

    @property
    def waiting_because(self) -> str | None:
        """What the disk last said, or that another worker has a partition."""
        return self._waiting_because

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new revision. Channels that it has no longer are still known: readings of them may wait in a journal."""
        self._contexts = {**self._contexts, **FleetIndex(fleet).contexts}
        self._archive.contexts = self._contexts

    async def take(self, messages: Sequence[SourceMessage]) -> None:
        """Returns when they are on the disk."""
        frames: dict[int, list[Frame]] = {}
        for message in messages:
            frame = _read_frame(message)
            if frame is not None:
                frames.setdefault(message.partition, []).append(frame)
        for partition, of_partition in frames.items():
            await self._until_done(partial(self._archive.append, partition, of_partition, time.time_ns()))

    async def tick(self) -> None:
        """Closes one journal that is old enough, if there is one. Raises what has ended the following of the fleet."""
        if self.following is not None and self.following.done():
            self.following.result()
        now_ns = time.time_ns()
        await self._until_done(partial(self._archive.close_older, now_ns - self._max_age_ns, now_ns))

    async def _until_done(self, work: Callable[[], _ResultT]) -> _ResultT:
        while True:
            try:
                result = await asyncio.to_thread(work)
            except OSError as error:
                if self._waiting_because is None:
                    _log.warning("archive_waiting reason=%r", error)
                self._waiting_because = repr(error)
                await asyncio.sleep(_RETRY_S)
            else:
                if self._waiting_because is not None:
                    _log.info("archive_goes_on")
                self._waiting_because = None
                return result


def run(settings: ProcessSettings) -> int:
    """Runs the worker until a signal; returns its exit code."""
    return run_job(settings.job, settings.kafka, SCORED, partial(_handler, settings))


@contextlib.asynccontextmanager
async def _handler(settings: ProcessSettings) -> AsyncIterator[ArchiveHandler]:
    directory = settings.archive.directory
    directory.mkdir(parents=True, exist_ok=True)
    async with UpstreamClient(settings.registry) as registry:
        fleets = FleetSource(registry, directory / "fleet.json")
        contexts = FleetIndex(await fleets.first()).contexts
        archive = await asyncio.to_thread(ParquetArchive, directory, settings.archive.rows_per_file, contexts)
        await asyncio.to_thread(archive.finish_begun)
        handler = ArchiveHandler(settings.archive, archive)
        handler.following = asyncio.create_task(fleets.run(handler.take_fleet), name="fleet")
        try:
            yield handler
        finally:
            handler.following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await handler.following


def _read_frame(message: SourceMessage) -> Frame | None:
    """None: not a scored message. The store job puts the same one into quarantine."""
    try:
        return read_frame(message.value)
    except RecordError as error:
        _log.error("archive_message_unreadable partition=%d offset=%d error=%s", *message[:2], error)
        return None
