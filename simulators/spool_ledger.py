"""An independent witness of what an edge agent committed to its spool. A shell: SQLite.

Installs a table and an AFTER INSERT trigger in the agent's spool file. The trigger copies each row of `reading` within
the same transaction: the ledger holds exactly what was committed, no more and no less, and keeps it after the agent has
deleted what was acknowledged. It knows nothing of the agent's code, only the agreed table

    reading(reading_id, bus_id, node_id, quantity, phenomenon_ns, value, reason, batch, …)

Attach before the agent runs (the file must exist), or while it runs: rows from before are not in the ledger.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from simulators.errors import SpoolError

_COLUMNS: Final = "reading_id, bus_id, node_id, quantity, phenomenon_ns, value, reason, batch"
_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS ledger_reading(
    ledger_id INTEGER PRIMARY KEY AUTOINCREMENT, reading_id INTEGER NOT NULL, bus_id TEXT NOT NULL,
    node_id TEXT NOT NULL, quantity TEXT NOT NULL, phenomenon_ns INTEGER NOT NULL, value REAL,
    reason INTEGER NOT NULL, batch INTEGER);
CREATE TRIGGER IF NOT EXISTS ledger_reading_insert AFTER INSERT ON reading BEGIN
    INSERT INTO ledger_reading(reading_id, bus_id, node_id, quantity, phenomenon_ns, value, reason, batch)
    VALUES (NEW.reading_id, NEW.bus_id, NEW.node_id, NEW.quantity, NEW.phenomenon_ns, NEW.value, NEW.reason, NEW.batch);
END;
COMMIT;
"""
_BUSY_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 0.05


class CommittedReading(NamedTuple):
    """A row that was committed to the spool."""

    reading_id: int
    bus_id: str
    node_id: str
    quantity: str
    phenomenon_ns: int
    value: float | None
    reason: int
    batch: int | None


def attach_spool_ledger(spool: Path, wait_s: float = 0.0) -> None:
    """Installs the ledger; does nothing where it is installed. Waits up to `wait_s` for the spool to come to be.

    Raises:
        SpoolError: no such file, or no table `reading` in it, after the wait.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return _install(spool)
        except SpoolError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_S)


def read_spool_ledger(spool: Path) -> list[CommittedReading]:
    """All committed rows, in the order of their commit. Raises SpoolError if there is no ledger in the file."""
    with _open(spool) as connection:
        if not _has_table(connection, "ledger_reading"):
            raise SpoolError(f"{spool}: no ledger is attached")
        rows = connection.execute(f"SELECT {_COLUMNS} FROM ledger_reading ORDER BY ledger_id")  # noqa: S608  # constant
        return [CommittedReading(*row) for row in rows]


def _install(spool: Path) -> None:
    with _open(spool) as connection:
        if not _has_table(connection, "reading"):
            raise SpoolError(f"{spool}: has no table `reading`: it is not an agent's spool, or the agent never ran")
        connection.executescript(_SCHEMA)


@contextmanager
def _open(spool: Path) -> Iterator[sqlite3.Connection]:
    try:
        connection = sqlite3.connect(
            f"{spool.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
        )
    except sqlite3.OperationalError as error:
        raise SpoolError(f"{spool}: {error}") from error
    try:
        yield connection
    except sqlite3.DatabaseError as error:
        raise SpoolError(f"{spool}: {error}") from error
    finally:
        connection.close()


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,))
    return found.fetchone() is not None
