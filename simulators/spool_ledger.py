"""An independent witness of what an edge agent committed to its spool. A shell: SQLite.

Installs a table and an AFTER INSERT trigger in the agent's spool file. The trigger copies each row of `batch` within
the same transaction: the ledger holds exactly what was committed, no more and no less, and keeps it after the agent has
deleted what was acknowledged. It knows nothing of the agent's code, only the agreed tables

    channel(channel_id, bus_id, node_id, quantity)
    batch(epoch, batch, bus_id, thinned_window_s, body, …)    thinned_window_s is 0 in what was committed

and the layout of `body`, which it reads with a decoder of its own (docs/agent-spool.md).

Attach before the agent runs (the file must exist), or while it runs: rows from before are not in the ledger.
"""

from __future__ import annotations

import math
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from simulators.errors import SpoolError

_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS ledger_batch(
    ledger_id INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL, batch INTEGER NOT NULL, bus_id TEXT NOT NULL,
    body BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS ledger_batch_insert AFTER INSERT ON batch WHEN NEW.thinned_window_s = 0 BEGIN
    INSERT INTO ledger_batch(epoch, batch, bus_id, body) VALUES (NEW.epoch, NEW.batch, NEW.bus_id, NEW.body);
END;
COMMIT;
"""
_BUSY_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 0.05
_HEAD_BYTES: Final = 16
_HAS_REASONS: Final = 1
_WIDE_TIMES: Final = 2
_WIDE_CHANNELS: Final = 4


class CommittedReading(NamedTuple):
    """A reading that was committed to the spool."""

    epoch: int
    batch: int
    bus_id: str
    node_id: str
    quantity: str
    phenomenon_ns: int
    value: float | None
    reason: int


def attach_spool_ledger(spool: Path, wait_s: float = 0.0) -> None:
    """Installs the ledger; does nothing where it is installed. Waits up to `wait_s` for the spool to come to be.

    Raises:
        SpoolError: no such file, or no table `batch` in it, after the wait.
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
    """All committed readings, in the order of their commit.

    Raises:
        SpoolError: there is no ledger in the file, or a batch in it is not of the agreed layout.
    """
    with _open(spool) as connection:
        if not _has_table(connection, "ledger_batch"):
            raise SpoolError(f"{spool}: no ledger is attached")
        names = {
            channel_id: (node_id, quantity)
            for channel_id, node_id, quantity in connection.execute("SELECT channel_id, node_id, quantity FROM channel")
        }
        rows = connection.execute("SELECT epoch, batch, bus_id, body FROM ledger_batch ORDER BY ledger_id").fetchall()
    try:
        return [
            CommittedReading(epoch, batch, bus_id, *reading)
            for epoch, batch, bus_id, body in rows
            for reading in decode_body(epoch, batch, body, names)
        ]
    except (struct.error, ValueError, LookupError) as error:
        raise SpoolError(f"{spool}: a batch is not of the agreed layout: {error}") from error


def decode_body(
    epoch: int, batch: int, body: bytes, names: Mapping[int, tuple[str, str]]
) -> Iterator[tuple[str, str, int, float | None, int]]:
    """The readings of a batch: node_id, quantity, phenomenon_ns, value, reason code."""
    (checksum,) = struct.unpack("<I", body[-4:])
    if zlib.crc32(struct.pack("<2q", epoch, batch) + body[:-4]) != checksum:
        raise ValueError(f"batch {epoch}/{batch}: wrong checksum")
    flags, run_count, count = struct.unpack_from("<xBHH", body)
    (base_ns,) = struct.unpack_from("<q", body, 8)
    at = _HEAD_BYTES
    delta_code = "q" if flags & _WIDE_TIMES else "I"
    deltas = struct.unpack_from(f"<{run_count}{delta_code}", body, at)
    at += struct.calcsize(f"<{run_count}{delta_code}")
    lengths = struct.unpack_from(f"<{run_count}H", body, at)
    at += 2 * run_count
    channel_bytes = 4 if flags & _WIDE_CHANNELS else 2
    reasons_at = at + channel_bytes * count
    values_at = reasons_at + (count if flags & _HAS_REASONS else 0)
    times = [base_ns + delta for delta, length in zip(deltas, lengths, strict=True) for _ in range(length)]
    for row in range(count):
        channel_id = int.from_bytes(body[at + row * channel_bytes :][:channel_bytes], "little")
        (value,) = struct.unpack_from("<d", body, values_at + 8 * row)
        reason = body[reasons_at + row] if flags & _HAS_REASONS else 0
        yield (*names[channel_id], times[row], None if math.isnan(value) else value, reason)


def _install(spool: Path) -> None:
    with _open(spool) as connection:
        if not _has_table(connection, "batch"):
            raise SpoolError(f"{spool}: has no table `batch`: it is not an agent's spool, or the agent never ran")
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
