"""The spool (shell): readings in SQLite until the far end has stored them.

One transaction inserts the batches of a commit with their identities; WAL with synchronous=FULL means one fsync per
commit, and a commit that returned survives a power cut. A row is deleted when its batch is acknowledged; thinned or
dropped, oldest first, when there is no room (`thin_spool`), and both are counted in the same transaction. All methods
block: they are called from one thread of their own (`spool_thread`).

    channel(channel_id, bus_id, node_id, quantity)
    batch(epoch, batch, bus_id, reading_count, …, body)    body: `batch_columns`, or `waveform.waveform_block`
    lost(epoch, first, last)                               batches that were dropped or found damaged
    meta(name, number)                                     epoch, and what was thinned and dropped
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from contracts.ranges import RangeSet
from edge_agent.channel_table import ChannelTable
from edge_agent.errors import SpoolBrokenError, SpoolFullError, SpoolOutdatedError, SpoolUnusableError, SpoolWriteError
from edge_agent.spool.batch_columns import BatchColumns, decode_columns, encode_columns
from edge_agent.spool.reading_buffer import SealedBatch
from edge_agent.waveform.waveform_block import (
    WaveformBlock,
    decode_blocks,
    encode_blocks,
    is_waveform_body,
    sample_count,
)

APPLICATION_ID: Final = 0x43535053
"""ASCII `CSPS`, in the SQLite header: this file is a spool of ours."""
SCHEMA_VERSION: Final = 2
BD_SEQ_MODULUS: Final = 256
LOST_RANGES_MAX: Final = 200
"""Ranges of lost batches that are remembered; the host learns of older ones when it asks for them."""
PAGE_BYTES: Final = 8_192
"""A batch of some hundred readings wastes less of such a page than of SQLite's usual 4,096."""
WAL_MAX_BYTES: Final = 4 << 20
NEVER_AGAIN_S: Final = -1
"""Window of a batch of which nothing is left to thin."""
WAVEFORMS_S: Final = -2
"""Window of a batch of waveforms: not thinned but dropped, before any reading is thinned."""
_INTEGER_MAX: Final = 2**63 - 1
"""What SQLite can compare; a host may well send 2^64 - 1."""
_CACHE_KIB: Final = 2_048
_DELETE_STEP: Final = 500
"""Batches deleted per transaction, so that a large acknowledgement does not hold up a commit."""

_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE channel (
    channel_id INTEGER PRIMARY KEY,
    bus_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    quantity TEXT NOT NULL,
    UNIQUE (bus_id, node_id, quantity)
);
CREATE TABLE batch (
    batch_id INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    bus_id TEXT NOT NULL,
    is_urgent INTEGER NOT NULL,
    reading_count INTEGER NOT NULL,
    thinned_count INTEGER NOT NULL DEFAULT 0,
    thinned_window_s INTEGER NOT NULL DEFAULT 0,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX batch_identity ON batch (epoch, batch);
CREATE INDEX batch_urgent ON batch (epoch, batch) WHERE is_urgent;
CREATE INDEX batch_window ON batch (thinned_window_s, epoch, batch);
CREATE TABLE lost (epoch INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
"""
_INSERT: Final = (
    "INSERT INTO batch (epoch, batch, bus_id, is_urgent, reading_count, thinned_count, first_ns, last_ns, body,"
    " thinned_window_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (epoch, batch) DO NOTHING"
)
"""A conflict is the same batch once more: a commit of which only the answer was lost, or a batch salvaged twice."""
_BATCH_COLUMNS: Final = "epoch, batch, bus_id, is_urgent, reading_count, thinned_count, body"

StoredReading = tuple[str, str, int, float | None, int]
"""(node_id, quantity, phenomenon_ns, value, reason code)."""
StoredBlock = tuple[str, str, WaveformBlock]
"""(node_id, quantity, the block, whose alias means nothing)."""
BatchKey = tuple[int, int]
"""(epoch, batch)."""
_Row = tuple[int, int, str, int, int, int, bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch as it was committed, or what thinning has left of it."""

    epoch: int
    batch: int
    bus_id: str
    readings: list[StoredReading]
    thinned_count: int = 0
    """Readings that were taken out because there was no room."""
    is_urgent: bool = False
    waveforms: Sequence[StoredBlock] = ()
    """Then it has no readings."""

    @property
    def key(self) -> BatchKey:
        """(epoch, batch)."""
        return self.epoch, self.batch


class StoredColumns(NamedTuple):
    """A batch as the file keeps it; channel_ids are the file's own."""

    epoch: int
    batch: int
    columns: BatchColumns


class Tally(NamedTuple):
    """What this spool file has given up; counted in the transaction that did it, so a restart forgets nothing."""

    thinned_readings_total: int
    dropped_readings_total: int
    damaged_batches_total: int
    dropped_samples_total: int = 0
    """Of waveforms."""


class Spool:
    """An open spool file. Not to be used from two threads at once.

    Methods raise `SpoolWriteError` if it cannot be done now (`SpoolFullError`: for want of room): nothing of it was
    done; and `SpoolBrokenError` if the file is not to be trusted any more.
    """

    def __init__(self, path: Path, disk_max_bytes: int) -> None:
        """Opens the file, or makes it.

        Args:
            path: of the SQLite file.
            disk_max_bytes: file and write-ahead log together do not grow beyond this; a commit that would, fails.

        Raises:
            SpoolUnusableError: it is a database of somebody else.
            SpoolOutdatedError: it was written by an older agent.
            SpoolBrokenError: it is corrupt, or is no file that can be opened.
            SpoolWriteError: it cannot be opened or written now.
        """
        self.path = path
        self._disk_max_bytes = disk_max_bytes
        self._channel_id_of: dict[tuple[str, str, str], int] = {}
        self._channels: list[tuple[str, str]] = []
        """(node_id, quantity) by channel_id."""
        self._id_of_alias: list[int] = [0]
        self._connection = self._connect()

    def close(self) -> None:
        """Closes the file; everything committed stays."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    # Identity -----------------------------------------------------------------------------------------------------

    def last_epoch(self) -> int:
        """The epoch of the start before this one; 0 in a new file."""
        return self._attempt(lambda: self._number("epoch"))

    def begin_epoch(self, epoch: int) -> None:
        """Remembers the epoch of this start; durable when it returns."""
        self._attempt(lambda: self._within_transaction(lambda: self._set_number("epoch", epoch)))

    def last_bd_seq(self) -> int:
        """The bdSeq that an agent up to 0.1 kept in this file; -1 if there is none. Now it stands beside the file."""
        return self._attempt(lambda: self._number("bd_seq", -1))

    # Batches ------------------------------------------------------------------------------------------------------

    def commit(self, batches: Sequence[SealedBatch], channels: ChannelTable) -> None:
        """Stores batches in one transaction: all of them or none."""
        self._attempt(lambda: self._commit(batches, channels))

    def restore(self, batches: Iterable[StoredBatch]) -> None:
        """Takes over batches of another file, as they are, unless they are here already."""
        self._attempt(lambda: self._restore(batches))

    def delete(self, epoch: int, batches: RangeSet) -> int:
        """Deletes acknowledged batches; gives how many there were."""
        if epoch > _INTEGER_MAX:
            return 0
        ranges = [(first, min(last, _INTEGER_MAX)) for first, last in batches if first <= _INTEGER_MAX]
        deleted = 0
        while ranges:
            count, ranges = self._attempt(lambda: self._within_transaction(lambda: self._delete_some(epoch, ranges)))  # noqa: B023
            deleted += count
        return deleted

    def read_batch(self, epoch: int, batch: int) -> StoredBatch | None:
        """A batch, or None if it is not there (any more)."""
        sql = f"SELECT {_BATCH_COLUMNS} FROM batch WHERE epoch=? AND batch=?"  # noqa: S608  # constants
        return next(iter(self._read(sql, epoch, batch)), None)

    def read_batches_after(
        self, after: BatchKey, limit: int, passing_over: frozenset[BatchKey] = frozenset()
    ) -> list[StoredBatch]:
        """Up to `limit` batches that follow `after`, oldest first, without those that are passed over."""
        found: list[StoredBatch] = []
        while len(found) < limit:  # again, if some were damaged: fewer than `limit` says that nothing follows
            keys = self._keys_after(after, limit - len(found) + len(passing_over))
            wanted = [key for key in keys if key not in passing_over][: limit - len(found)]
            if not wanted:
                break
            found += self._read_keys(wanted, is_row=wanted == keys[: len(wanted)])
            after = wanted[-1]
        return found

    def _read_keys(self, keys: list[BatchKey], *, is_row: bool) -> list[StoredBatch]:
        """Batches by their keys, in order; `is_row`: no other batch stands between them."""
        if not is_row:
            return [batch for batch in (self.read_batch(*key) for key in keys) if batch is not None]
        sql = f"SELECT {_BATCH_COLUMNS} FROM batch WHERE (epoch, batch) BETWEEN (?, ?) AND (?, ?) ORDER BY epoch, batch"  # noqa: S608
        return self._read(sql, *keys[0], *keys[-1])

    def _keys_after(self, after: BatchKey, limit: int) -> list[BatchKey]:
        sql = "SELECT epoch, batch FROM batch WHERE (epoch, batch) > (?, ?) ORDER BY epoch, batch LIMIT ?"
        return [(epoch, batch) for epoch, batch in self._fetch(sql, *after, limit)]

    def read_urgent_before(self, before: BatchKey, limit: int) -> list[StoredBatch]:
        """Up to `limit` urgent batches that are older than `before`, newest first."""
        sql = (
            f"SELECT {_BATCH_COLUMNS} FROM batch INDEXED BY batch_urgent WHERE is_urgent"  # noqa: S608  # constants
            " AND (epoch, batch) < (?, ?) ORDER BY epoch DESC, batch DESC LIMIT ?"
        )
        return self._read(sql, *before, limit)

    def existing(self, epoch: int, first: int, last: int, limit: int) -> RangeSet:
        """Which batches first..last of an epoch are there, at most `limit` of them."""
        if max(epoch, first) > _INTEGER_MAX:
            return RangeSet()
        sql = "SELECT batch FROM batch WHERE epoch=? AND batch BETWEEN ? AND ? ORDER BY batch LIMIT ?"
        rows = self._fetch(sql, epoch, first, min(last, _INTEGER_MAX), limit)
        return RangeSet((batch, batch) for (batch,) in rows)

    # Room ---------------------------------------------------------------------------------------------------------

    def batch_count(self) -> int:
        """Batches that wait for their acknowledgement."""
        return int(self._fetch("SELECT count(*) FROM batch")[0][0])

    def used_bytes(self) -> int:
        """Of the file, pages that hold something."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def file_bytes(self) -> int:
        """The file, pages that hold nothing included."""
        return self._pragma("page_count") * self._pragma("page_size")

    def channel_ids(self) -> dict[tuple[str, str], int]:
        """By (node_id, quantity)."""
        return {names: channel_id for channel_id, names in enumerate(self._channels)}

    def key_at(self, position: int) -> BatchKey | None:
        """The identity of the batch that so many older ones precede."""
        rows = self._fetch("SELECT epoch, batch FROM batch ORDER BY epoch, batch LIMIT 1 OFFSET ?", position)
        return (rows[0][0], rows[0][1]) if rows else None

    def read_to_thin(
        self, window_s: int, after: BatchKey, until: BatchKey, readings_max: int
    ) -> tuple[list[StoredColumns], BatchKey | None]:
        """The next batches between two that were last thinned to this window (0: never), about `readings_max` readings.

        Returns:
            The batches, and where to go on; None if these were the last.
        """
        sql = (
            "SELECT epoch, batch, reading_count, body FROM batch INDEXED BY batch_window WHERE thinned_window_s=?"
            " AND (epoch, batch) > (?, ?) AND (epoch, batch) < (?, ?) ORDER BY epoch, batch"
        )
        return self._attempt(lambda: self._read_some_columns(sql, (window_s, *after, *until), readings_max))

    def replace(self, thinned: Iterable[StoredColumns], window_s: int) -> int:
        """Writes what thinning to a window has left of batches, and counts what went; gives how many readings went."""
        return self._attempt(lambda: self._within_transaction(lambda: self._replace(thinned, window_s)))

    def drop_oldest_waveforms(self, until: BatchKey, count: int) -> int:
        """Drops the oldest batches of waveforms before one, and remembers them as lost; gives how many there were."""
        return self._attempt(lambda: self._within_transaction(lambda: self._drop_waveforms(until, count)))

    def drop_oldest(self, count: int) -> int:
        """Drops the oldest batches, and remembers them as lost; gives how many readings went."""
        return self._attempt(lambda: self._within_transaction(lambda: self._drop_oldest(count)))

    def tally(self) -> Tally:
        """What was given up so far."""
        return self._attempt(lambda: Tally(*(self._number(name) for name in Tally._fields)))

    def lost(self) -> list[tuple[int, RangeSet]]:
        """Batches that were dropped or damaged, by epoch; at most `LOST_RANGES_MAX` ranges."""
        found: dict[int, RangeSet] = {}
        for epoch, first, last in self._fetch("SELECT epoch, first, last FROM lost ORDER BY epoch, first"):
            found.setdefault(epoch, RangeSet()).add(first, last)
        return list(found.items())

    # The connection -----------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=5.0, check_same_thread=False)
        except sqlite3.Error as error:
            raise as_spool_error(self.path, error) from error
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            raise as_spool_error(self.path, error) from error
        except (SpoolUnusableError, SpoolOutdatedError):
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (schema_version,) = connection.execute("PRAGMA user_version").fetchone()
        (table_count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if table_count and application_id != APPLICATION_ID:
            raise SpoolUnusableError(f"{self.path}: an SQLite file, but no spool of an edge agent")
        if table_count and schema_version != SCHEMA_VERSION:
            raise SpoolOutdatedError(f"{self.path}: schema {schema_version}, this agent writes {SCHEMA_VERSION}")
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        wal_bytes = min(WAL_MAX_BYTES, self._disk_max_bytes // 4)
        connection.execute(f"PRAGMA wal_autocheckpoint={max(1, wal_bytes // 2 // PAGE_BYTES)}")
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA max_page_count={(self._disk_max_bytes - wal_bytes) // page_bytes}")
        if not table_count:
            _make_tables(connection)
        self._load_channels(connection)
        connection.execute("SELECT name, number FROM meta").fetchall()  # a torn page shows here, not in mid-start

    def _attempt(self, action: Callable[[], T]) -> T:
        """Runs an action on the connection; after a failure nothing of it is left."""
        try:
            return action()
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._load_channels(self._connection)
            raise as_spool_error(self.path, error) from error

    def _within_transaction(self, action: Callable[[], T]) -> T:
        self._connection.execute("BEGIN IMMEDIATE")
        outcome = action()
        self._connection.execute("COMMIT")
        return outcome

    def _fetch(self, sql: str, *parameters: int) -> list[tuple[int, ...]]:
        return self._attempt(lambda: self._connection.execute(sql, parameters).fetchall())

    def _pragma(self, name: str) -> int:
        return int(self._fetch(f"PRAGMA {name}")[0][0])

    # Inside of an attempt -----------------------------------------------------------------------------------------

    def _number(self, name: str, otherwise: int = 0) -> int:
        row = self._connection.execute("SELECT number FROM meta WHERE name=?", (name,)).fetchone()
        return otherwise if row is None else int(row[0])

    def _set_number(self, name: str, number: int) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta (name, number) VALUES (?, ?)", (name, number))

    def _add_to(self, name: str, count: int) -> None:
        if count:
            self._set_number(name, self._number(name) + count)

    def _commit(self, batches: Sequence[SealedBatch], channels: ChannelTable) -> None:
        if len(self._id_of_alias) <= len(channels):
            self._learn_aliases(channels)
        rows = [self._encode(batch) for batch in batches]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_INSERT, rows)
        self._connection.execute("COMMIT")

    def _encode(self, sealed: SealedBatch) -> tuple[int | str | bytes, ...]:
        if sealed.waveforms:
            return self._encode_waveforms(sealed)
        epoch, batch, bus_id, readings = sealed.epoch, sealed.batch, sealed.bus_id, sealed.readings
        aliases, times_ns, values, reasons = zip(*readings, strict=True)
        channel_ids = list(map(self._id_of_alias.__getitem__, aliases))
        body = encode_columns(epoch, batch, BatchColumns(channel_ids, times_ns, values, reasons))
        return epoch, batch, bus_id, sealed.is_urgent, len(readings), 0, min(times_ns), max(times_ns), body, 0

    def _encode_waveforms(self, sealed: SealedBatch) -> tuple[int | str | bytes, ...]:
        blocks = [block._replace(alias=self._id_of_alias[block.alias]) for block in sealed.waveforms]
        return _waveform_row(sealed.epoch, sealed.batch, sealed.bus_id, blocks)

    def _learn_aliases(self, channels: ChannelTable) -> None:
        """Gives a channel_id to each alias that has none yet. Channels are never forgotten: they are few."""
        strangers = [channels[alias] for alias in range(len(self._id_of_alias), len(channels) + 1)]
        keys = [(channel.bus_id, channel.node_id, channel.quantity) for channel in strangers]
        self._within_transaction(lambda: self._insert_channels(keys))
        self._id_of_alias += [self._channel_id_of[key] for key in keys]

    def _load_channels(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT channel_id, bus_id, node_id, quantity FROM channel ORDER BY channel_id")
        self._channels, self._channel_id_of, self._id_of_alias = [], {}, [0]
        for channel_id, *key in rows.fetchall():
            self._note_channel(channel_id, (key[0], key[1], key[2]))

    def _insert_channels(self, keys: Iterable[tuple[str, str, str]]) -> None:
        for key in keys:
            if key not in self._channel_id_of:
                channel_id = len(self._channels)
                self._connection.execute(
                    "INSERT INTO channel (channel_id, bus_id, node_id, quantity) VALUES (?, ?, ?, ?)",
                    (channel_id, *key),
                )
                self._note_channel(channel_id, key)

    def _note_channel(self, channel_id: int, key: tuple[str, str, str]) -> None:
        while len(self._channels) <= channel_id:
            self._channels.append(("", ""))
        self._channels[channel_id] = key[1:]
        self._channel_id_of[key] = channel_id

    def _restore(self, batches: Iterable[StoredBatch]) -> None:
        rows: list[tuple[int | str | bytes, ...]] = []
        self._connection.execute("BEGIN IMMEDIATE")
        for one in batches:
            keys = [(one.bus_id, *named[:2]) for named in (one.waveforms or one.readings)]
            self._insert_channels(keys)
            if one.waveforms:
                blocks = [
                    block._replace(alias=self._channel_id_of[key])
                    for key, (_, _, block) in zip(keys, one.waveforms, strict=True)
                ]
                rows.append(_waveform_row(one.epoch, one.batch, one.bus_id, blocks))
                continue
            times_ns = [time_ns for _, _, time_ns, _, _ in one.readings] or [0]
            columns = BatchColumns(
                [self._channel_id_of[key] for key in keys],
                times_ns[: len(keys)],
                [value for *_, value, _ in one.readings],
                [reason for *_, reason in one.readings],
            )
            body = encode_columns(one.epoch, one.batch, columns)
            counts = len(one.readings), one.thinned_count, min(times_ns), max(times_ns)
            rows.append((one.epoch, one.batch, one.bus_id, one.is_urgent, *counts, body, 0))
        self._connection.executemany(_INSERT, rows)
        self._connection.execute("COMMIT")

    def _delete_some(self, epoch: int, ranges: list[tuple[int, int]]) -> tuple[int, list[tuple[int, int]]]:
        """Deletes `_DELETE_STEP` batches of the ranges; gives how many, and the ranges that are left."""
        sql = (
            "DELETE FROM batch WHERE batch_id IN (SELECT batch_id FROM batch INDEXED BY batch_identity"
            " WHERE epoch=? AND batch BETWEEN ? AND ? ORDER BY batch LIMIT ?)"
        )
        deleted = 0
        for at, (first, last) in enumerate(ranges):
            deleted += self._connection.execute(sql, (epoch, first, last, _DELETE_STEP - deleted)).rowcount
            if deleted == _DELETE_STEP:
                return deleted, ranges[at:]
        return deleted, []

    def _read(self, sql: str, *parameters: int) -> list[StoredBatch]:
        """Batches; those whose octets are not what was stored are taken out, and are lost."""
        rows: list[_Row] = self._attempt(lambda: self._connection.execute(sql, parameters).fetchall())
        found: list[StoredBatch] = []
        damaged: list[tuple[int, int, int]] = []
        for row in rows:
            try:
                found.append(self._decode(row))
            except (ValueError, LookupError):
                damaged.append((row[0], row[1], row[4]))
        if damaged:
            self._attempt(lambda: self._within_transaction(lambda: self._drop(damaged, "damaged_batches_total")))
        return found

    def _decode(self, row: _Row) -> StoredBatch:
        epoch, batch, bus_id, is_urgent, _, thinned_count, body = row
        return name_batch(epoch, batch, bus_id, body, self._channels, thinned_count, is_urgent=bool(is_urgent))

    def _read_some_columns(
        self, sql: str, parameters: tuple[int, ...], readings_max: int
    ) -> tuple[list[StoredColumns], BatchKey | None]:
        found: list[StoredColumns] = []
        readings = 0
        for epoch, batch, reading_count, body in self._connection.execute(sql, parameters):
            with contextlib.suppress(ValueError):  # damaged: whoever sends it will find out
                found.append(StoredColumns(epoch, batch, decode_columns(epoch, batch, body)))
            readings += reading_count
            if readings >= readings_max:
                return found, (epoch, batch)
        return found, None

    def _replace(self, thinned: Iterable[StoredColumns], window_s: int) -> int:
        """Deletes and inserts again: SQLite gives back the room of a deleted row, not that of one which has shrunk."""
        rows: list[tuple[int | str | bytes, ...]] = []
        gone = 0
        for epoch, batch, columns in thinned:
            found = self._connection.execute(
                "SELECT batch_id, bus_id, is_urgent, reading_count, thinned_count, first_ns, last_ns FROM batch"
                " WHERE epoch=? AND batch=?",
                (epoch, batch),
            ).fetchone()
            if found is None:
                continue
            batch_id, bus_id, is_urgent, reading_count, thinned_count, first_ns, last_ns = found
            left = len(columns.times_ns)
            window = window_s if left else NEVER_AGAIN_S
            counts = left, thinned_count + reading_count - left, window
            body = encode_columns(epoch, batch, columns)
            rows.append((batch_id, epoch, batch, bus_id, is_urgent, *counts, first_ns, last_ns, body))
            gone += reading_count - left
        self._connection.executemany("DELETE FROM batch WHERE batch_id=?", [row[:1] for row in rows])
        self._connection.executemany("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._add_to("thinned_readings_total", gone)
        return gone

    def _drop_waveforms(self, until: BatchKey, count: int) -> int:
        rows = self._connection.execute(
            "SELECT epoch, batch, reading_count FROM batch INDEXED BY batch_window WHERE thinned_window_s=?"
            " AND (epoch, batch) < (?, ?) ORDER BY epoch, batch LIMIT ?",
            (WAVEFORMS_S, *until, count),
        ).fetchall()
        self._drop(rows, None)
        return len(rows)

    def _drop_oldest(self, count: int) -> int:
        rows = self._connection.execute(
            "SELECT epoch, batch, reading_count FROM batch ORDER BY epoch, batch LIMIT ?", (count,)
        ).fetchall()
        return self._drop(rows, None)

    def _drop(self, batches: Sequence[tuple[int, int, int]], counter: str | None) -> int:
        """Deletes batches (epoch, batch, reading_count) that nobody has acknowledged, and says so for ever."""
        lost: dict[int, RangeSet] = {}
        samples = 0
        for epoch, batch, _ in batches:
            gone = self._connection.execute(
                "DELETE FROM batch WHERE epoch=? AND batch=? RETURNING substr(body, 1, 8)", (epoch, batch)
            ).fetchall()
            samples += sum(sample_count(head) for (head,) in gone)
            lost.setdefault(epoch, RangeSet()).add(batch)
        for epoch, ranges in lost.items():
            self._remember_lost(epoch, ranges)
        readings = sum(reading_count for *_, reading_count in batches)
        self._add_to("dropped_readings_total", readings)
        self._add_to("dropped_samples_total", samples)
        if counter is not None:
            self._add_to(counter, len(batches))
        return readings

    def _remember_lost(self, epoch: int, ranges: RangeSet) -> None:
        known = self._connection.execute("SELECT first, last FROM lost WHERE epoch=?", (epoch,)).fetchall()
        for first, last in known:
            ranges.add(first, last)
        self._connection.execute("DELETE FROM lost WHERE epoch=?", (epoch,))
        self._connection.executemany(
            "INSERT INTO lost (epoch, first, last) VALUES (?, ?, ?)", [(epoch, *pair) for pair in ranges]
        )
        self._connection.execute(
            "DELETE FROM lost WHERE rowid NOT IN (SELECT rowid FROM lost ORDER BY epoch DESC, first DESC LIMIT ?)",
            (LOST_RANGES_MAX,),
        )


def name_readings(epoch: int, batch: int, body: bytes, channels: Sequence[tuple[str, str]]) -> list[StoredReading]:
    """The readings of a stored batch with their names.

    Raises:
        ValueError: the octets are not what was stored.
        LookupError: the channel is not known.
    """
    columns = decode_columns(epoch, batch, body)
    return [
        (*channels[channel_id], time_ns, value, reason)
        for channel_id, time_ns, value, reason in zip(*columns, strict=True)
    ]


def name_batch(
    epoch: int,
    batch: int,
    bus_id: str,
    body: bytes,
    channels: Sequence[tuple[str, str]],
    thinned_count: int = 0,
    *,
    is_urgent: bool = False,
) -> StoredBatch:
    """A stored batch with the names of its channels.

    Raises:
        ValueError: the octets are not what was stored.
        LookupError: a channel is not known.
    """
    if is_waveform_body(body):
        blocks = [(*channels[block.alias], block) for block in decode_blocks(epoch, batch, body)]
        return StoredBatch(epoch, batch, bus_id, [], thinned_count, is_urgent, blocks)
    readings = name_readings(epoch, batch, body, channels)
    return StoredBatch(epoch, batch, bus_id, readings, thinned_count, is_urgent)


def _waveform_row(
    epoch: int, batch: int, bus_id: str, blocks: Sequence[WaveformBlock]
) -> tuple[int | str | bytes, ...]:
    """A row of table `batch`; its blocks' aliases are channel_ids."""
    times_ns = [block.first_ns for block in blocks]
    body = encode_blocks(epoch, batch, blocks)
    return epoch, batch, bus_id, False, 0, 0, min(times_ns), max(times_ns), body, WAVEFORMS_S


def as_spool_error(path: Path, error: sqlite3.Error) -> SpoolWriteError | SpoolBrokenError:
    """Which of our errors an error of SQLite is (https://sqlite.org/rescode.html).

    After an I/O error, a failed fsync among them, the file is not to be trusted any more: the kernel may hold pages
    in memory as if they were written, and tell the next reader so.
    """
    text = f"{path}: {error}"
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return SpoolFullError(text)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return SpoolWriteError(text)
    name = getattr(error, "sqlite_errorname", "")
    return SpoolBrokenError(f"{text} ({name})" if name else text)


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.strip().split(";\n"):
        connection.execute(statement.rstrip(";"))
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")
