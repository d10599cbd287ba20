"""One connection to the journal's SQLite file or PostgreSQL database (shell).

Both are durable when a transaction returned: SQLite with WAL and synchronous=FULL, PostgreSQL with
synchronous_commit=on. A connection that broke is opened again by the next transaction.

PostgreSQL: the connection holds an advisory lock for as long as it lives, so that two services never write to one
database; the second one learns who holds it. A service that was killed leaves the lock at once, one whose machine died
within half a minute (TCP keep-alive).
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import URL, Connection, Engine, QueuePool, StaticPool, create_engine, event
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from alarm_service.errors import JournalHeldError, JournalRefusedError, JournalUnavailableError

BUSY_TIMEOUT_S: Final = 2.0
"""How long a transaction waits for another process (a backup, somebody's console) before it is given up."""
HELD_PATIENCE_S: Final = 3.0
"""How long a new connection waits for the lock: a service that ends, or was killed, is gone by then."""
CONNECT_TIMEOUT_S: Final = 3
STATEMENT_TIMEOUT_S: Final = 10
LOCK_KEY: Final = 0x616C61726D  # "alarm"
PROGRAM: Final = "alarm-service"

_HOLDER: Final = """
    SELECT application_name, pid, client_addr, backend_start FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32) + objid::bigint = %s
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_READ_ONLY: Final = "is_read_only"


@dataclass(frozen=True, slots=True)
class PostgresqlAddress:
    """A PostgreSQL database, see `contracts.store.StoreSettings`."""

    url: str
    password_file: Path | None

    def __str__(self) -> str:
        return self.url


class Database:
    """Transactions for one thread at a time, which is at most one connection."""

    def __init__(self, place: Path | PostgresqlAddress) -> None:
        self._engine = _postgresql(place) if isinstance(place, PostgresqlAddress) else _sqlite(place)
        self.kind = self._engine.dialect.name
        """`sqlite` or `postgresql`."""

    def close(self) -> None:
        """Closes the connection; SQLite checkpoints its WAL, PostgreSQL lets the lock go."""
        self._engine.dispose()

    @contextmanager
    def transaction(self, *, is_read_only: bool = False) -> Iterator[Connection]:
        """All or nothing, whatever is raised inside.

        Raises:
            JournalUnavailableError: now it does not work; nothing was kept.
            JournalHeldError: another service has the database.
            JournalRefusedError: the database will never take these rows; nothing was kept.
        """
        try:
            with (
                self._engine.connect() as connection,
                connection.execution_options(**{_READ_ONLY: is_read_only}).begin(),
            ):
                yield connection
        except (DataError, IntegrityError) as error:
            raise JournalRefusedError(str(error.orig).strip()) from error
        except DBAPIError as error:  # away, full, locked; also a right that somebody has to grant
            raise JournalUnavailableError(str(error.orig).strip()) from error


def _sqlite(path: Path) -> Engine:
    options = {"isolation_level": None, "timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, poolclass=StaticPool, connect_args=options)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_read_only = connection.get_execution_options().get(_READ_ONLY)
        connection.exec_driver_sql("BEGIN DEFERRED" if is_read_only else "BEGIN IMMEDIATE")

    return engine


def _postgresql(address: PostgresqlAddress) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: _connect(address),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
    )


def _connect(address: PostgresqlAddress) -> psycopg.Connection[Any]:
    """A connection that holds the lock."""
    connection = psycopg.connect(
        address.url,
        password=_read_password(address.password_file),
        application_name=f"{PROGRAM} {socket.gethostname()} process {os.getpid()}",
        connect_timeout=CONNECT_TIMEOUT_S,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=1_000 * STATEMENT_TIMEOUT_S,
        options="-c synchronous_commit=on"
        f" -c lock_timeout={HELD_PATIENCE_S}s -c statement_timeout={STATEMENT_TIMEOUT_S}s"
        " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
    )
    try:
        _take_lock(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _take_lock(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
    except psycopg.errors.LockNotAvailable as error:
        connection.rollback()
        row = connection.execute(_HOLDER, (LOCK_KEY,)).fetchone()
        if row is None:
            raise  # it was let go in this moment: the next attempt has it
        name, pid, host, since = row
        holder = f"{name} (from {host}, PostgreSQL's process {pid}, since {since:%Y-%m-%dT%H:%M:%S%z})"
        raise JournalHeldError(holder) from error
    connection.commit()


def _read_password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise JournalUnavailableError(f"the password file cannot be read: {error}") from error
