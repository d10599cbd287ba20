"""The spool (shell): readings in SQLite until the far end has stored them.

One transaction inserts the readings of a commit together with their batch identities; WAL with synchronous=FULL
means one fsync per commit, and a commit that returned survives a power cut. A row is deleted only when its batch is
acknowledged. All methods block: they are called from one thread of their own (`run_agent`).

    reading(reading_id, bus_id, node_id, quantity, phenomenon_ns, value, reason, batch, epoch)
    batch(epoch, batch, bus_id, first_reading_id, last_reading_id)     readings of a batch are contiguous
    meta(name, number)                                                 epoch, bd_seq
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from contracts.ranges import RangeSet
from edge_agent.errors import SpoolUnusableError, SpoolWriteError

APPLICATION_ID: Final = 0x43535053
"""ASCII `CSPS`, in the SQLite header: this file is a spool of ours."""
SCHEMA_VERSION: Final = 1
BD_SEQ_MODULUS: Final = 256
_INTEGER_MAX: Final = 2**63 - 1
"""What SQLite can compare; a host may well send 2^64 - 1."""
_CACHE_KIB: Final = 2_048
_DELETE_STEP: Final = 5_000
"""Readings deleted per transaction, so that a large acknowledgement does not hold up a commit."""

_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE reading (
    reading_id INTEGER PRIMARY KEY AUTOINCREMENT,
    bus_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    quantity TEXT NOT NULL,
    phenomenon_ns INTEGER NOT NULL,
    value REAL,
    reason INTEGER NOT NULL,
    batch INTEGER,
    epoch INTEGER
);
CREATE TABLE batch (
    epoch INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    bus_id TEXT NOT NULL,
    first_reading_id INTEGER NOT NULL,
    last_reading_id INTEGER NOT NULL,
    PRIMARY KEY (epoch, batch)
) WITHOUT ROWID;
"""

StoredReading = tuple[str, str, int, float | None, int]
"""(node_id, quantity, phenomenon_ns, value, reason code)."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch as it was committed."""

    epoch: int
    batch: int
    bus_id: str
    readings: list[StoredReading]


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """For people."""

    epoch: int
    batch_count: int
    reading_count: int
    oldest_phenomenon_ns: int | None
    newest_phenomenon_ns: int | None
    file_bytes: int


class Spool:
    """An open spool file. Not to be used from two threads at once."""

    def __init__(self, path: Path, disk_max_bytes: int, first_epoch: int) -> None:
        """Opens the file, or makes it.

        Args:
            path: of the SQLite file.
            disk_max_bytes: the file does not grow beyond this; a commit that would, fails.
            first_epoch: of a new file. Seconds since 1970 are a good choice: if a spool file is ever lost, its
                successor does not use an identity again that the host believes to have stored.

        Raises:
            SpoolUnusableError: it is no spool, or is corrupt.
            SpoolWriteError: it cannot be opened or written now.
        """
        self._path = path
        self._disk_max_bytes = disk_max_bytes
        self._first_epoch = first_epoch
        self._connection = self._connect()
        self._next_reading_id = self._find_next_reading_id()

    def begin_epoch(self) -> int:
        """Counts this start of the agent; durable when it returns."""
        return self._attempt(lambda: self._count_up("epoch", self._first_epoch, None))

    def begin_connection(self) -> int:
        """The bdSeq of the next MQTT connection, 0 to 255; durable when it returns."""
        return self._attempt(lambda: self._count_up("bd_seq", 0, BD_SEQ_MODULUS))

    def commit(self, batches: Iterable[tuple[int, int, str, Sequence[StoredReading]]]) -> None:
        """Stores batches (epoch, batch, bus_id, readings) in one transaction: all of them or none.

        Raises:
            SpoolWriteError: nothing was stored; try again later.
        """
        self._attempt(lambda: self._insert(batches))

    def delete(self, epoch: int, batches: RangeSet) -> int:
        """Deletes acknowledged batches; gives the number of readings deleted. Raises SpoolWriteError."""
        if epoch > _INTEGER_MAX:
            return 0
        return sum(
            self._delete_range(epoch, first, min(last, _INTEGER_MAX))
            for first, last in batches
            if first <= _INTEGER_MAX
        )

    def read_batch(self, epoch: int, batch: int) -> StoredBatch | None:
        """A batch, or None if it is not there (any more). Raises SpoolUnusableError if the file is corrupt."""
        sql = "SELECT epoch, batch, bus_id, first_reading_id, last_reading_id FROM batch WHERE epoch=? AND batch=?"
        return self._attempt(lambda: next(iter(self._read(sql, (epoch, batch))), None))

    def read_batches_after(self, after: tuple[int, int], limit: int) -> list[StoredBatch]:
        """Up to `limit` batches that follow `after` (epoch, batch), oldest first."""
        sql = (
            "SELECT epoch, batch, bus_id, first_reading_id, last_reading_id FROM batch"
            " WHERE (epoch, batch) > (?, ?) ORDER BY epoch, batch LIMIT ?"
        )
        return self._attempt(lambda: list(self._read(sql, (*after, limit))))

    def existing(self, epoch: int, first: int, last: int, limit: int) -> RangeSet:
        """Which batches first..last of an epoch are there, at most `limit` of them."""
        if max(epoch, first) > _INTEGER_MAX:
            return RangeSet()
        sql = "SELECT batch FROM batch WHERE epoch=? AND batch BETWEEN ? AND ? ORDER BY batch LIMIT ?"
        rows = self._attempt(
            lambda: self._connection.execute(sql, (epoch, first, min(last, _INTEGER_MAX), limit)).fetchall()
        )
        return RangeSet((batch, batch) for (batch,) in rows)

    def status(self) -> SpoolStatus:
        """Counts what is there."""
        return self._attempt(self._status)

    def close(self) -> None:
        """Closes the file; everything committed stays."""
        self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=5.0, check_same_thread=False)
        except sqlite3.Error as error:
            raise SpoolWriteError(f"{self._path}: cannot be opened: {error}") from error
        try:
            self._prepare(connection)
        except sqlite3.OperationalError as error:
            connection.close()
            raise SpoolWriteError(f"{self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            connection.close()
            raise SpoolUnusableError(f"{self._path}: {error}") from error
        except SpoolUnusableError:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (table_count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if table_count and application_id != APPLICATION_ID:
            raise SpoolUnusableError(f"{self._path}: an SQLite file, but no spool of an edge agent")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA max_page_count={self._disk_max_bytes // page_bytes}")
        if not table_count:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.strip().split(";\n"):
                connection.execute(statement.rstrip(";"))
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            connection.execute("COMMIT")

    def _attempt(self, action: Callable[[], T]) -> T:
        """Runs an action on the connection; after a failure nothing of it is left.

        After an I/O error (a failed fsync among them) the connection is opened anew: what SQLite or the kernel
        still hold in memory is not to be trusted.
        """
        try:
            return action()
        except sqlite3.OperationalError as error:
            self._roll_back()
            if "I/O" in str(error):
                self._reopen()
            raise SpoolWriteError(f"{self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            self._roll_back()
            raise SpoolUnusableError(f"{self._path}: {error}") from error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _reopen(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._connection = self._connect()
        self._next_reading_id = self._find_next_reading_id()

    def _find_next_reading_id(self) -> int:
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name='reading'").fetchone()
        return 1 if row is None else int(row[0]) + 1

    def _count_up(self, name: str, first: int, modulus: int | None) -> int:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute("SELECT number FROM meta WHERE name=?", (name,)).fetchone()
        number = first if row is None else int(row[0]) + 1
        number = number if modulus is None else number % modulus
        connection.execute("INSERT OR REPLACE INTO meta (name, number) VALUES (?, ?)", (name, number))
        connection.execute("COMMIT")
        return number

    def _insert(self, batches: Iterable[tuple[int, int, str, Sequence[StoredReading]]]) -> None:
        connection = self._connection
        reading_id = self._next_reading_id
        connection.execute("BEGIN IMMEDIATE")
        for epoch, batch, bus_id, readings in batches:
            first_id = reading_id
            reading_id += len(readings)
            connection.executemany(
                "INSERT INTO reading (reading_id, bus_id, node_id, quantity, phenomenon_ns, value, reason, batch,"
                " epoch) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (row_id, bus_id, node_id, quantity, phenomenon_ns, value, reason, batch, epoch)
                    for row_id, (node_id, quantity, phenomenon_ns, value, reason) in zip(
                        itertools.count(first_id), readings, strict=False
                    )
                ),
            )
            connection.execute(
                "INSERT INTO batch (epoch, batch, bus_id, first_reading_id, last_reading_id) VALUES (?, ?, ?, ?, ?)",
                (epoch, batch, bus_id, first_id, reading_id - 1),
            )
        connection.execute("COMMIT")
        self._next_reading_id = reading_id

    def _delete_range(self, epoch: int, first: int, last: int) -> int:
        deleted = 0
        while True:
            count, is_complete = self._attempt(lambda: self._delete_some(epoch, first, last))
            deleted += count
            if is_complete:
                return deleted

    def _delete_some(self, epoch: int, first: int, last: int) -> tuple[int, bool]:
        """Deletes the oldest batches of the range, about `_DELETE_STEP` readings; says whether that was all."""
        connection = self._connection
        rows = connection.execute(
            "SELECT batch, first_reading_id, last_reading_id FROM batch"
            " WHERE epoch=? AND batch BETWEEN ? AND ? ORDER BY batch LIMIT 1000",
            (epoch, first, last),
        ).fetchall()
        if not rows:
            return 0, True
        connection.execute("BEGIN IMMEDIATE")
        deleted = 0
        taken = 0
        for _, first_id, last_id in rows:
            deleted += connection.execute(
                "DELETE FROM reading WHERE reading_id BETWEEN ? AND ?", (first_id, last_id)
            ).rowcount
            taken += 1
            if deleted >= _DELETE_STEP:
                break
        connection.execute(
            "DELETE FROM batch WHERE epoch=? AND batch BETWEEN ? AND ?", (epoch, first, rows[taken - 1][0])
        )
        connection.execute("COMMIT")
        return deleted, taken == len(rows) < 1000

    def _read(self, sql: str, parameters: tuple[int, ...]) -> Iterator[StoredBatch]:
        for epoch, batch, bus_id, first_id, last_id in self._connection.execute(sql, parameters).fetchall():
            readings = self._connection.execute(
                "SELECT node_id, quantity, phenomenon_ns, value, reason FROM reading"
                " WHERE reading_id BETWEEN ? AND ? ORDER BY reading_id",
                (first_id, last_id),
            ).fetchall()
            yield StoredBatch(epoch, batch, bus_id, readings)

    def _status(self) -> SpoolStatus:
        connection = self._connection
        row = connection.execute("SELECT number FROM meta WHERE name='epoch'").fetchone()
        (batches,) = connection.execute("SELECT count(*) FROM batch").fetchone()
        readings, oldest_ns, newest_ns = connection.execute(
            "SELECT count(*), min(phenomenon_ns), max(phenomenon_ns) FROM reading"
        ).fetchone()
        beside = (self._path, Path(f"{self._path}-wal"))
        file_bytes = sum(path.stat().st_size for path in beside if path.exists())
        return SpoolStatus(0 if row is None else row[0], batches, readings, oldest_ns, newest_ns, file_bytes)
