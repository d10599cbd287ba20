"""Another spool file in place of one that cannot be trusted (shell), and what can still be read of the old one.

    spool.sqlite                            the spool
    spool.sqlite.epoch                      the last epoch, beside the file and not in it: it outlives the file
    spool.sqlite.bdseq                      and so does the bdSeq of the last connection (Sparkplug 3.0, 6.4.29)
    spool.sqlite.corrupt-20261123T101500Z   set aside, with its -wal and -shm; `old-…` if an older agent wrote it
    spool.sqlite.corrupt-…-salvaged         … and all that could be read of it has been taken over

An epoch is greater than every one before: identities of batches must never be used again, the host believes to have
stored them. It is one more than the greatest known (of the file and of the note beside it), and at least the seconds
since 1970: so it is new if either the disk or the clock has kept what it knew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edge_agent.errors import SpoolBrokenError, SpoolOutdatedError, SpoolWriteError
from edge_agent.spool.store_readings import BD_SEQ_MODULUS, BatchKey, Spool, StoredBatch, StoredReading, name_batch

SET_ASIDE_MAX: Final = 3
"""Set-aside files that are kept; those that are salvaged go first."""
SALVAGE_STEP: Final = 50
"""Batches that are salvaged at once: a commit waits no longer than for these."""
_SKIP_MAX: Final = 1 << 40
_BESIDE: Final = ("", "-wal", "-shm")
_SALVAGED: Final = "-salvaged"
_EPOCH_MAX: Final = 1 << 48
"""A note that says more is garbage."""

_log = logging.getLogger(__name__)


def open_or_replace(path: Path, disk_max_bytes: int, now_s: float) -> Spool:
    """Opens the spool, or sets aside what stands there and begins a new one.

    Raises:
        SpoolUnusableError: it is a database of somebody else: not ours to move.
        SpoolWriteError: there can be no spool now (locked by another agent, disk full or read-only).
    """
    if not os.path.lexists(path):
        return _begin(path, disk_max_bytes)
    try:
        return Spool(path, disk_max_bytes)
    except SpoolBrokenError as error:
        _log.error("spool_broken error=%r", str(error))
        set_aside(path, now_s, "corrupt")
    except SpoolOutdatedError as error:
        _log.warning("spool_outdated error=%r", str(error))
        set_aside(path, now_s, "old")
    return _begin(path, disk_max_bytes)


def set_aside(path: Path, now_s: float, kind: str = "corrupt") -> Path | None:
    """Renames a spool with what belongs to it; gives its new name, None if there was nothing.

    Raises:
        SpoolWriteError: it cannot be renamed.
    """
    if not os.path.lexists(path):
        return None
    stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = Path(f"{path}.{kind}-{stamp}")
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = Path(f"{path}.{kind}-{stamp}-{number}")
    try:
        for ending in reversed(_BESIDE):  # the file itself last: what is left half-way is found again
            if os.path.lexists(f"{path}{ending}"):
                Path(f"{path}{ending}").rename(f"{aside}{ending}")
    except OSError as error:
        raise SpoolWriteError(f"{path}: cannot be set aside: {error}") from error
    _prune(path)
    return aside


def find_set_aside(path: Path) -> list[Path]:
    """Set-aside files of a spool, oldest first."""
    pattern = re.compile(re.escape(path.name) + r"\.(corrupt|old)-\d{8}T\d{6}Z(-\d+)?(-salvaged)?")
    try:
        names = [entry.name for entry in path.parent.iterdir() if pattern.fullmatch(entry.name)]
    except OSError:
        return []
    return [path.parent / name for name in sorted(names, key=lambda name: name.split("-", 1)[1])]


def to_salvage(path: Path) -> list[Path]:
    """Set-aside files of a spool that have not been read to their end, oldest first."""
    return [aside for aside in find_set_aside(path) if not aside.name.endswith(_SALVAGED)]


def mark_salvaged(aside: Path) -> None:
    """All that could be read of it has been taken over: it may be deleted when room is needed."""
    for ending in _BESIDE:
        with contextlib.suppress(OSError):
            Path(f"{aside}{ending}").rename(f"{aside}{_SALVAGED}{ending}")


def _begin(path: Path, disk_max_bytes: int) -> Spool:
    """A new spool, or none: what is left of an attempt would only be set aside the next time."""
    try:
        return Spool(path, disk_max_bytes)
    except SpoolBrokenError as error:
        for ending in _BESIDE:
            with contextlib.suppress(OSError):
                Path(f"{path}{ending}").unlink()
        raise SpoolWriteError(f"no new spool: {error}") from error


# The epoch ------------------------------------------------------------------------------------------------------------


def choose_epoch(known: int, now_s: float) -> int:
    """The epoch of a start. `known`: the greatest that was ever used, as far as anything remembers."""
    return max(known + 1, int(now_s))


def read_epoch_note(path: Path) -> int:
    """The last epoch by the note beside the spool; 0 if there is none, or it is not readable."""
    return _read_note(path, "epoch", _EPOCH_MAX) or 0


def write_epoch_note(path: Path, epoch: int) -> None:
    """Notes an epoch beside the spool; durable when it returns. Raises SpoolWriteError."""
    _write_note(path, "epoch", epoch)


def read_bd_seq_note(path: Path) -> int | None:
    """The bdSeq of the last connection by the note beside the spool; None if there is none, or it is not readable."""
    return _read_note(path, "bdseq", BD_SEQ_MODULUS)


def write_bd_seq_note(path: Path, bd_seq: int) -> None:
    """Notes a bdSeq beside the spool; durable when it returns. Raises SpoolWriteError."""
    _write_note(path, "bdseq", bd_seq)


def _read_note(path: Path, name: str, end: int) -> int | None:
    try:
        text = Path(f"{path}.{name}").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() and len(text) < 20 and int(text) < end else None


def _write_note(path: Path, name: str, number: int) -> None:
    note, fresh = Path(f"{path}.{name}"), Path(f"{path}.{name}.new")
    try:
        with fresh.open("w", encoding="ascii") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(note)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SpoolWriteError(f"{note}: {error}") from error


# Salvage --------------------------------------------------------------------------------------------------------------


class Salvage:
    """Reads a set-aside file from its beginning to its end, as far as it lets itself be read."""

    def __init__(self, aside: Path) -> None:
        self.aside = aside
        self.readings_total = 0
        self.damaged_total = 0
        """Batches, or places in the file, that could not be read."""
        self._steps = self._read_all()

    def next_batches(self) -> list[StoredBatch] | None:
        """Some batches; None at the end."""
        batches = next(self._steps, None)
        if batches is not None:
            self.readings_total += sum(len(batch.readings) for batch in batches)
        return batches

    def last_epoch(self) -> int:
        """The epoch that the file believes to be the last; 0 if it does not say."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._open()) as connection:
            row = connection.execute("SELECT number FROM meta WHERE name='epoch'").fetchone()
            return int(row[0]) if row is not None and isinstance(row[0], int) and row[0] < _EPOCH_MAX else 0
        return 0

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.aside.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )

    def _read_all(self) -> Iterator[list[StoredBatch]]:
        try:
            connection = self._open()
        except sqlite3.Error:
            return
        with contextlib.closing(connection):
            try:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                yield from self._read_version_1(connection) if version == 1 else self._read_rows(connection)
            except sqlite3.Error:
                self.damaged_total += 1

    def _read_rows(self, connection: sqlite3.Connection) -> Iterator[list[StoredBatch]]:
        """Batches in order of their row; where the file is torn, it goes on behind, with doubling steps."""
        channels = _read_channels(connection)
        after, skip = 0, 1
        while skip < _SKIP_MAX:
            sql = (
                "SELECT batch_id, epoch, batch, bus_id, is_urgent, thinned_count, body FROM batch"
                " WHERE batch_id > ? ORDER BY batch_id LIMIT ?"
            )
            rows: list[tuple[int, int, int, str, int, int, bytes]] = []
            try:
                for row in connection.execute(sql, (after, SALVAGE_STEP)):
                    rows.append(row)  # noqa: PERF402  # what came before the error counts
            except sqlite3.Error:
                self.damaged_total += 1
                after = (rows[-1][0] if rows else after) + skip
                skip *= 2
            else:
                if not rows:
                    return
                after, skip = rows[-1][0], 1
            yield [batch for row in rows if (batch := self._name(row[1:], channels)) is not None]

    def _name(self, row: tuple[int, int, str, int, int, bytes], channels: list[tuple[str, str]]) -> StoredBatch | None:
        epoch, batch, bus_id, is_urgent, thinned_count, body = row
        try:
            return name_batch(epoch, batch, bus_id, body, channels, thinned_count, is_urgent=bool(is_urgent))
        except (ValueError, LookupError, TypeError):
            self.damaged_total += 1
            return None

    def _read_version_1(self, connection: sqlite3.Connection) -> Iterator[list[StoredBatch]]:
        """The layout of agents up to 0.1: a row for each reading."""
        after: BatchKey = (-1, -1)
        while True:
            keys = connection.execute(
                "SELECT epoch, batch, bus_id, first_reading_id, last_reading_id FROM batch"
                " WHERE (epoch, batch) > (?, ?) ORDER BY epoch, batch LIMIT ?",
                (*after, SALVAGE_STEP),
            ).fetchall()
            if not keys:
                return
            after = (keys[-1][0], keys[-1][1])
            yield [
                StoredBatch(epoch, batch, bus_id, _read_version_1_readings(connection, first_id, last_id))
                for epoch, batch, bus_id, first_id, last_id in keys
            ]


def _read_version_1_readings(connection: sqlite3.Connection, first_id: int, last_id: int) -> list[StoredReading]:
    return connection.execute(
        "SELECT node_id, quantity, phenomenon_ns, value, reason FROM reading"
        " WHERE reading_id BETWEEN ? AND ? ORDER BY reading_id",
        (first_id, last_id),
    ).fetchall()


def _read_channels(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    channels: list[tuple[str, str]] = []
    for channel_id, node_id, quantity in connection.execute(
        "SELECT channel_id, node_id, quantity FROM channel ORDER BY channel_id"
    ):
        channels += [("", "")] * (channel_id - len(channels))
        channels.append((node_id, quantity))
    return channels


def _prune(path: Path) -> None:
    """Deletes the oldest set-aside files beyond `SET_ASIDE_MAX`; those that hold nothing new go first."""
    aside = find_set_aside(path)
    surplus = len(aside) - SET_ASIDE_MAX
    for old in sorted(aside, key=lambda one: not one.name.endswith(_SALVAGED))[: max(0, surplus)]:
        for ending in _BESIDE:
            with contextlib.suppress(OSError):
                Path(f"{old}{ending}").unlink()
