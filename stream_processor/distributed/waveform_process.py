"""The archive of waveforms as a job (shell): from topic `waveforms` to Parquet, each block once.

`take` returns when the messages stand in the journals of their partitions, on the disk: then Kafka may forget them.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from pydantic import Field

from contracts.configuration import Settings
from contracts.kafka_topic import WAVEFORMS
from stream_processor.configuration import UpstreamSettings
from stream_processor.distributed.archive_handler import ArchiveHandler, running_handler
from stream_processor.distributed.archive_process import ArchiveJobSettings
from stream_processor.distributed.faust_job import run_job
from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.job_settings import KafkaName
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.waveform_archive import WaveformArchive


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


Offered = tuple[int, bytes]
"""Offset and value of a message, as `WaveformArchive.append` takes it."""


def run(settings: ProcessSettings) -> int:
    """Runs the worker until a signal; returns its exit code."""
    return run_job(settings.job, settings.kafka, WAVEFORMS, partial(_handler, settings))


def offer(message: SourceMessage) -> Offered:
    """What the archive takes of a message: it decodes the value itself, and counts what is none."""
    return message.offset, message.value


def _handler(settings: ProcessSettings) -> AbstractAsyncContextManager[ArchiveHandler[Offered]]:
    waveforms = settings.waveforms
    build = partial(WaveformArchive, waveforms.directory, waveforms.samples_per_file)
    fleet_file = waveforms.directory / "waveforms-fleet.json"
    return running_handler(settings.registry, fleet_file, build, waveforms.max_age_s, offer)
