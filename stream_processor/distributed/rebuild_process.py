"""Refills InfluxDB from the archive (shell): `stream-processor rebuild`, then ends with a count.

Writes the points that the store job wrote, through the same line protocol and sink, a part of a file at a time; then
the windows of the downsampled buckets, a folder at a time, and completeness by the hour. What is done is noted, so that
a rebuild that was stopped goes on where it was; a point that is written again is the same point. Channels that were
retired since are rebuilt too: what they belonged to stands in their rows.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final, Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from contracts.configuration import Settings
from contracts.fleet import Domain
from contracts.identifiers import Identifier
from contracts.influx_schema import READINGS_1H, READINGS_1M, Bucket
from contracts.score import OTHER_SCORES
from stream_processor.archive_columns import READINGS_FOLDER
from stream_processor.archive_points import points_of_table
from stream_processor.distributed.archive_completeness import COMPLETENESS_FOLDER, newest_hours_of
from stream_processor.distributed.rebuild_aggregates import (
    WINDOW_QUERY,
    ArchiveFolder,
    WindowRow,
    build_windows,
    plan_folders,
    plan_hours,
)
from stream_processor.distributed.rebuild_plan import (
    COLUMNS,
    ArchiveFile,
    Selection,
    format_purpose,
    parse_progress,
    plan_completeness,
    plan_rebuild,
    select_rows,
)
from stream_processor.distributed.store_plan import build_completeness, writable_hours
from stream_processor.influx_sink import InfluxSettings, InfluxSink
from stream_processor.line_protocol import LINES_PER_BODY, Body, Points, build_bodies

_log = logging.getLogger("stream_processor.rebuild")

EXIT_INCOMPLETE: Final = 1
ROWS_AT_A_TIME: Final = 65_536
WINDOWS_AT_A_TIME: Final = 5_000
DUCKDB_MEMORY: Final = "1GB"
"""For the windows of one hour; what does not fit goes to temporary files beside the progress file."""
SAY_EVERY_S: Final = 10.0


class RebuildSettings(Settings):
    """Table [rebuild]."""

    directory: Path
    """The archive's: holds `parquet/`."""
    from_date: date
    """First day (UTC), by event time."""
    until_date: date
    """Last day."""
    domains: tuple[Domain, ...] = ()
    """Only these. None: all."""
    districts: tuple[Identifier, ...] = ()
    """Only these. None: all."""
    windows: bool = True
    """Also the downsampled buckets."""
    minutes_bucket: str = Field(default=READINGS_1M.name, min_length=1)
    hours_bucket: str = Field(default=READINGS_1H.name, min_length=1)
    progress_file: Path = Path("rebuild.progress")
    """Which files are done; removed at the end."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.until_date < self.from_date:
            raise ValueError(f"until_date {self.until_date} is before from_date {self.from_date}")
        return self

    def selection(self) -> Selection:
        """Which rows."""
        domains = frozenset(str(each) for each in self.domains)
        return Selection(self.from_date, self.until_date, domains, frozenset(self.districts))


class ProcessSettings(Settings):
    """The whole file."""

    rebuild: RebuildSettings
    influxdb: InfluxSettings

    def anchored(self, folder: Path) -> ProcessSettings:
        """With its relative paths made relative to `folder`."""
        paths = {name: folder / getattr(self.rebuild, name) for name in ("directory", "progress_file")}
        rebuild = self.rebuild.model_copy(update=paths)
        return self.model_copy(update={"rebuild": rebuild, "influxdb": self.influxdb.anchored(folder)})


@dataclass(slots=True)
class RebuildCounters:
    """What a rebuild has done."""

    files: int = 0
    points: int = 0
    windows: int = 0
    """Points of the downsampled buckets."""
    hours: int = 0
    """Points of completeness."""
    refused: int = 0
    """Lines that InfluxDB does not take: older than its bucket keeps, for example."""
    without_channel: int = 0
    """Rows that do not say what they belong to."""
    unreadable: int = 0
    """Files, and folders with such files."""


class Rebuild:
    """One run."""

    def __init__(self, settings: ProcessSettings, sinks: Mapping[str, InfluxSink]) -> None:
        self._settings = settings
        self._root = settings.rebuild.directory / READINGS_FOLDER
        self._completeness = settings.rebuild.directory / COMPLETENESS_FOLDER
        self._selection = settings.rebuild.selection()
        self._sinks = sinks
        self._connections = settings.influxdb.connections
        self._said_at_s = time.monotonic()
        self.counters = RebuildCounters()

    async def run(self) -> None:
        """Until all is done. Waits for InfluxDB for as long as it is away."""
        files, strange = plan_rebuild(_paths(self._root), self._selection)
        for path in strange:
            _log.warning("rebuild_not_of_the_archive path=%s", path)
        parts = self._parts(files)
        progress_file = self._settings.rebuild.progress_file
        purpose = format_purpose(self._selection, (self._settings.influxdb.url, *self._sinks))
        done = parse_progress(progress_file.read_text(encoding="utf-8") if progress_file.exists() else "", purpose)
        _log.info("rebuild_begins files=%d parts=%d done_before=%d", len(files), len(parts), len(done & parts.keys()))
        with progress_file.open("a" if done else "w", encoding="utf-8") as progress:
            if not done:
                progress.write(f"{purpose}\n")
            for number, (name, part) in enumerate(parts.items(), start=1):
                if name not in done and await self._rebuild_part(name, part):
                    progress.write(f"{name}\n")
                    progress.flush()
                self._say(number, len(parts))
        if not self.counters.unreadable:
            progress_file.unlink()

    def _parts(self, files: Sequence[ArchiveFile]) -> dict[str, Callable[[], Awaitable[None]]]:
        """What is to be done, by the name under which it is noted as done, in order."""
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            file.path: partial(self._write_points, file) for file in files
        }
        for bucket in _buckets(self._settings.rebuild):
            for folder in plan_folders(files):
                name = f"{bucket} date={folder.date}/domain={folder.domain}"
                parts[name] = partial(self._write_windows, bucket, folder)
        for day, paths in plan_completeness(_paths(self._completeness), self._selection).items():
            parts[f"{COMPLETENESS_FOLDER} date={day}"] = partial(self._write_completeness, paths)
        return parts

    async def _rebuild_part(self, name: str, part: Callable[[], Awaitable[None]]) -> bool:
        """Whether it could be read."""
        try:
            await part()
        except (pa.ArrowException, duckdb.Error, OSError, ValueError) as error:
            self.counters.unreadable += 1
            _log.error("rebuild_unreadable part=%s error=%r", name, error)
            return False
        return True

    async def _write_points(self, file: ArchiveFile) -> None:
        """A series is written by one of several writers, so that its order is kept."""
        for table in read_tables(self._root / file.path):
            series, points, without_channel = points_of_table(select_rows(table, self._selection), file.domain)
            self.counters.without_channel += without_channel
            async with asyncio.TaskGroup() as group:
                for number in range(self._connections):
                    which = np.flatnonzero(points.row % self._connections == number)
                    group.create_task(self._write_lane(series, points.part(which)))
        self.counters.files += 1

    async def _write_lane(self, series: pa.Array, points: Points) -> None:
        for body in build_bodies(series, points):
            taken = await self._write(self._settings.influxdb.bucket, body)
            self.counters.points += taken

    async def _write_windows(self, bucket: str, folder: ArchiveFolder) -> None:
        window_s = _buckets(self._settings.rebuild)[bucket].window_s
        for rows in self._read_windows(folder, window_s):
            taken = await self._write(bucket, build_windows(folder.domain, rows))
            self.counters.windows += taken

    async def _write_completeness(self, paths: Sequence[str]) -> None:
        tables = [pq.read_table(self._completeness / path, partitioning=None) for path in paths]
        hours = writable_hours(newest_hours_of(tables, self._selection.districts))
        sink = self._sinks[self._settings.influxdb.bucket]
        for first in range(0, len(hours), LINES_PER_BODY):
            part = hours[first : first + LINES_PER_BODY]
            refused = await sink.write_completeness(build_completeness(part))
            self.counters.refused += len(refused)
            self.counters.hours += len(part) - len(refused)

    def _read_windows(self, folder: ArchiveFolder, window_s: int) -> Iterator[list[WindowRow]]:
        """Windows that have ended."""
        values = {
            "paths": [str(self._root / path) for path in folder.paths],
            "window_us": window_s * 1_000_000,
            "is_every_district": not self._selection.districts,
            "districts": sorted(self._selection.districts),
        }
        spill = str(self._settings.rebuild.progress_file.with_suffix(".duckdb"))
        with duckdb.connect() as connection:
            connection.execute(f"SET memory_limit = '{DUCKDB_MEMORY}'")
            connection.execute("SET temp_directory = $spill", {"spill": spill})
            for from_us, until_us in plan_hours(folder.date, int(time.time()), window_s):
                answer = connection.execute(WINDOW_QUERY, {**values, "from_us": from_us, "until_us": until_us})
                while rows := answer.fetchmany(WINDOWS_AT_A_TIME):
                    yield rows

    async def _write(self, bucket: str, body: Body) -> int:
        """Returns how many lines InfluxDB took."""
        refused = await self._sinks[bucket].write(body)
        self.counters.refused += len(refused)
        return len(body.point_index) - len(refused)

    def _say(self, number: int, total: int) -> None:
        if time.monotonic() >= self._said_at_s + SAY_EVERY_S or number == total:
            self._said_at_s = time.monotonic()
            done = self.counters
            _log.info(
                "rebuild_progress parts=%d/%d points=%d windows=%d hours=%d refused=%d",
                *(number, total, done.points, done.windows, done.hours, done.refused),
            )


def _paths(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*.parquet")]


def _buckets(settings: RebuildSettings) -> dict[str, Bucket]:
    """The downsampled buckets to fill, by their names on the server."""
    return {settings.minutes_bucket: READINGS_1M, settings.hours_bucket: READINGS_1H} if settings.windows else {}


def run(settings: ProcessSettings) -> int:
    """Runs to the end, or until a signal; prints the count. 0: all files are done; 1: start again to go on."""
    return asyncio.run(_run(settings))


async def _run(settings: ProcessSettings) -> int:
    names = (settings.influxdb.bucket, *_buckets(settings.rebuild))
    async with AsyncExitStack() as stack:
        sinks = {
            name: await stack.enter_async_context(InfluxSink(settings.influxdb.model_copy(update={"bucket": name})))
            for name in names
        }
        rebuild = Rebuild(settings, sinks)
        work = asyncio.create_task(rebuild.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        try:
            await work
        except asyncio.CancelledError:
            print(_summary("stopped; the same command goes on", rebuild.counters), file=sys.stderr)
            return EXIT_INCOMPLETE
    print(_summary("rebuilt", rebuild.counters))
    return EXIT_INCOMPLETE if rebuild.counters.unreadable else 0


def _summary(word: str, counters: RebuildCounters) -> str:
    return (
        f"{word}: {counters.points} points of {counters.files} files, {counters.windows} windows, "
        f"{counters.hours} hours of gateways; {counters.refused} lines refused by InfluxDB, "
        f"{counters.without_channel} rows of no channel, {counters.unreadable} unreadable"
    )


def read_tables(path: Path) -> Iterator[pa.Table]:
    """A file of the archive in parts of bounded size, with the columns of a point that it has.

    Raises ArrowException, OSError or ValueError if it is none.
    """
    with pq.ParquetFile(path) as file:
        missing = set(COLUMNS) - set(OTHER_SCORES) - set(file.schema_arrow.names)
        if missing:
            raise ValueError(f"{path}: no column {', '.join(sorted(missing))}")
        batches: Iterable[pa.RecordBatch] = file.iter_batches(ROWS_AT_A_TIME, columns=list(COLUMNS))
        for batch in batches:
            yield pa.Table.from_batches([batch])
