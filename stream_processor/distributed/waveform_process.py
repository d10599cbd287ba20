"""The archive of waveforms as a job (shell): from topic `waveforms` to Parquet, each block once.

`take` returns when the messages stand in the journals of their partitions, on the disk: then Kafka may forget them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import Field

from contracts.configuration import Settings
from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import WAVEFORMS
from stream_processor.configuration import UpstreamSettings
from stream_processor.distributed.archive_process import ArchiveJobSettings
from stream_processor.distributed.faust_job import run_job
from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.job_settings import KafkaName
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.waveform_archive import WaveformArchive
from stream_processor.fleet_index import FleetIndex
from stream_processor.registry_to_fleet import FleetSource
from stream_processor.upstream_client import UpstreamClient

_log = logging.getLogger("stream_processor.waveform_archive")

_RETRY_S: Final = 0.5
_NS_PER_S: Final = 1_000_000_000


class WaveformSettings(Settings):
    """Table [waveforms]."""

    directory: Path
    """Journals and closed files. One for all workers of a city, on one file system; it may be the archive's."""
    samples_per_file: int = Field(default=10_000_000, ge=1_000, le=100_000_000)
    """A partition's journal of so many samples is closed; that takes about 12 bytes of memory a sample."""
    max_age_s: float = Field(default=3_600.0, ge=1.0, le=86_400.0)
    """A journal with older blocks is closed, however few they are."""


class WaveformJobSettings(ArchiveJobSettings):
    """Table [job]: each set of messages is synced to the disk."""

    group: KafkaName = "waveforms"


class ProcessSettings(Settings):
    """The whole file."""

    kafka: KafkaSettings
    job: WaveformJobSettings = WaveformJobSettings()
    waveforms: WaveformSettings
    registry: UpstreamSettings

    def anchored(self, folder: Path) -> ProcessSettings:
        """Relative paths are relative to the file's folder."""
        waveforms = self.waveforms.model_copy(update={"directory": folder / self.waveforms.directory})
        return self.model_copy(update={"waveforms": waveforms, "registry": self.registry.anchored(folder)})


class WaveformHandler:
    """Takes messages into the archive, one call at a time."""

    def __init__(self, settings: WaveformSettings, archive: WaveformArchive) -> None:
        self._max_age_ns = int(settings.max_age_s * _NS_PER_S)
        self._archive = archive
        self._waiting_because: str | None = None
        self.following: asyncio.Task[None] | None = None
        """What keeps the fleet up to date: if it fails, the worker ends."""

    @property
    def waiting_because(self) -> str | None:
        """What the disk last said."""
        return self._waiting_because

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new revision. Channels that it has no longer are still known: blocks of them may wait in a journal."""
        self._archive.contexts = {**self._archive.contexts, **FleetIndex(fleet).contexts}

    async def take(self, messages: Sequence[SourceMessage]) -> None:
        """Returns when they are on the disk."""
        of_partition: dict[int, list[tuple[int, bytes]]] = {}
        for partition, offset, value in messages:
            of_partition.setdefault(partition, []).append((offset, value))
        for partition, found in of_partition.items():
            await self._until_done(partial(self._archive.append, partition, found, time.time_ns()))

    async def tick(self) -> None:
        """Closes one journal that is old enough, if there is one. Raises what has ended the following of the fleet."""
        if self.following is not None and self.following.done():
            self.following.result()
        now_ns = time.time_ns()
        await self._until_done(partial(self._archive.close_older, now_ns - self._max_age_ns, now_ns))

    async def _until_done(self, work: Callable[[], object]) -> None:
        while True:
            try:
                await asyncio.to_thread(work)
            except OSError as error:
                if self._waiting_because is None:
                    _log.warning("waveforms_waiting reason=%r", error)
                self._waiting_because = repr(error)
                await asyncio.sleep(_RETRY_S)
            else:
                self._waiting_because = None
                return


def run(settings: ProcessSettings) -> int:
    """Runs the worker until a signal; returns its exit code."""
    return run_job(settings.job, settings.kafka, WAVEFORMS, partial(_handler, settings))


@contextlib.asynccontextmanager
async def _handler(settings: ProcessSettings) -> AsyncIterator[WaveformHandler]:
    directory = settings.waveforms.directory
    directory.mkdir(parents=True, exist_ok=True)
    async with UpstreamClient(settings.registry) as registry:
        fleets = FleetSource(registry, directory / "waveforms-fleet.json")
        contexts = FleetIndex(await fleets.first()).contexts
        archive = await asyncio.to_thread(WaveformArchive, directory, settings.waveforms.samples_per_file, contexts)
        await asyncio.to_thread(archive.finish_begun)
        handler = WaveformHandler(settings.waveforms, archive)
        handler.following = asyncio.create_task(fleets.run(handler.take_fleet), name="fleet")
        try:
            yield handler
        finally:
            handler.following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await handler.following
