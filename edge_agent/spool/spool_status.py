"""`edge-agent spool status` (shell): what waits in a spool, read beside a running agent, which it never disturbs."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edge_agent.errors import AgentError, SpoolOutdatedError
from edge_agent.spool.replace_spool import find_set_aside
from edge_agent.spool.store_readings import SCHEMA_VERSION, Tally, as_spool_error

NEWEST_BATCHES: Final = 1_000
"""Of these the present rate is estimated."""
_SECONDS_PER_HOUR: Final = 3600.0
_MEGABYTE: Final = 1e6


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What a spool file holds."""

    epoch: int
    batch_count: int
    urgent_count: int
    reading_count: int
    oldest_ns: int | None
    newest_ns: int | None
    lost_batch_count: int
    tally: Tally
    used_bytes: int
    newest_readings_per_s: float
    """Of the newest batches, by the times of their readings; 0 if unknown."""

    def hours_left(self, disk_max_bytes: int) -> float | None:
        """How long the present rate fits before something must be thinned; None if there is no telling."""
        if not self.newest_readings_per_s or not self.reading_count:
            return None
        bytes_per_reading = self.used_bytes / self.reading_count
        room_bytes = max(0.0, 0.9 * disk_max_bytes - self.used_bytes)
        return room_bytes / bytes_per_reading / self.newest_readings_per_s / _SECONDS_PER_HOUR


def read_status(path: Path) -> SpoolStatus:
    """Looks into a spool file without changing it. Raises SpoolWriteError, SpoolBrokenError, SpoolOutdatedError."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        with contextlib.closing(connection):
            return _read(path, connection)
    except sqlite3.Error as error:
        raise as_spool_error(path, error) from error


def describe_spool(path: Path, disk_max_bytes: int) -> tuple[list[str], bool]:
    """Lines for people, and whether all is well: there is no spool yet, or one that can be read."""
    set_aside = [f"set aside: {aside}" for aside in find_set_aside(path)]
    if not path.exists():
        return [f"{path}: there is no spool yet", *set_aside], True
    try:
        return [*_describe(path, read_status(path), disk_max_bytes), *set_aside], True
    except AgentError as error:
        return [f"{error}: the agent will set it aside when it starts", *set_aside], False


def _read(path: Path, connection: sqlite3.Connection) -> SpoolStatus:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise SpoolOutdatedError(f"{path}: schema {version}, this agent writes {SCHEMA_VERSION}")
    numbers = dict(connection.execute("SELECT name, number FROM meta").fetchall())
    (lost,) = connection.execute("SELECT coalesce(sum(last - first + 1), 0) FROM lost").fetchone()
    batches, urgent, readings, oldest_ns, newest_ns = connection.execute(
        "SELECT count(*), coalesce(sum(is_urgent), 0), coalesce(sum(reading_count), 0), min(first_ns), max(last_ns)"
        " FROM batch"
    ).fetchone()
    rate = connection.execute(
        "SELECT coalesce(sum(reading_count) * 1e9 / nullif(max(last_ns) - min(first_ns), 0), 0.0) FROM"
        " (SELECT * FROM batch ORDER BY epoch DESC, batch DESC LIMIT ?) WHERE thinned_count = 0",
        (NEWEST_BATCHES,),
    ).fetchone()
    pages, free, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    tally = Tally(*(numbers.get(name, 0) for name in Tally._fields))
    return SpoolStatus(
        epoch=numbers.get("epoch", 0),
        batch_count=batches,
        urgent_count=urgent,
        reading_count=readings,
        oldest_ns=oldest_ns,
        newest_ns=newest_ns,
        lost_batch_count=lost,
        tally=tally,
        used_bytes=(pages - free) * page_bytes,
        newest_readings_per_s=float(rate[0]),
    )


def _describe(path: Path, status: SpoolStatus, disk_max_bytes: int) -> list[str]:
    used, share = status.used_bytes / _MEGABYTE, disk_max_bytes / _MEGABYTE
    waiting = f"{status.reading_count} readings in {status.batch_count} batches, {status.urgent_count} of them urgent"
    lines = [
        f"{path}: epoch {status.epoch}, {used:.1f} MB of {share:.1f} MB used ({100.0 * used / share:.1f} %)",
        f"waiting for acknowledgement: {waiting}",
    ]
    if status.oldest_ns is not None and status.newest_ns is not None:
        lines.append(f"measured from {_format_time(status.oldest_ns)}")
        lines.append(f"           to {_format_time(status.newest_ns)}")
    hours = status.hours_left(disk_max_bytes)
    if hours is not None:
        rate = status.newest_readings_per_s
        lines.append(f"room for about {hours:.0f} h more at {rate:.0f} readings/s, then the oldest are thinned")
    tally = status.tally
    lines.append(
        f"given up so far: {tally.thinned_readings_total} readings thinned, {tally.dropped_readings_total} dropped, "
        f"{tally.dropped_samples_total} samples of waveforms; "
        f"{status.lost_batch_count} batches lost, {tally.damaged_batches_total} of them damaged"
    )
    return lines


def _format_time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds")
