"""The archive job (shell): from `observations.scored` to Parquet, all data, each row once.

`take` returns when the messages stand in the journals of their partitions, on the disk: then Kafka may forget them.
A journal becomes Parquet files when it is full or old enough. A disk that is full or a partition that another worker
still has is waited for.
"""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from pydantic import Field

from contracts.configuration import Settings
from contracts.errors import RecordError
from contracts.kafka_topic import SCORED
from stream_processor.configuration import UpstreamSettings
from stream_processor.distributed.archive_handler import ArchiveHandler, running_handler
from stream_processor.distributed.archive_plan import Frame, read_frame
from stream_processor.distributed.faust_job import run_job
from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.job_settings import JobSettings, KafkaName
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.parquet_archive import ParquetArchive

_log = logging.getLogger("stream_processor.archive")


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


def run(settings: ProcessSettings) -> int:
    """Runs the worker until a signal; returns its exit code."""
    return run_job(settings.job, settings.kafka, SCORED, partial(_handler, settings))


def _handler(settings: ProcessSettings) -> AbstractAsyncContextManager[ArchiveHandler[Frame]]:
    archive = settings.archive
    build = partial(ParquetArchive, archive.directory, archive.rows_per_file)
    return running_handler(settings.registry, archive.directory / "fleet.json", build, archive.max_age_s, _read_frame)


def _read_frame(message: SourceMessage) -> Frame | None:
    """None: not a scored message. The store job puts the same one into quarantine."""
    try:
        return read_frame(message.value)
    except RecordError as error:
        _log.error("archive_message_unreadable partition=%d offset=%d error=%s", *message[:2], error)
        return None
