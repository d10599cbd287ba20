"""Shell: sign-ins in SQLite (WAL, synchronous=FULL): one-time passwords and sessions, as hashes only.

The file is made with mode 0600. `issue-password` opens it from a second process while the console runs. All calls
block for a disk write at most; the caller keeps them off the event loop. Decides nothing but what a row says.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from console.errors import StartError

_BUSY_TIMEOUT_S: Final = 5.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS one_time_password (
    hash TEXT PRIMARY KEY,
    name TEXT,              -- only this person may use it; NULL: anybody
    expires_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS session (
    hash TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    expires_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that is valid now."""

    name: str
    expires_ns: int


class SessionStore:
    """The file. Usable from any thread, one at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises StartError if it cannot."""
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600, exist_ok=True)
            self._database = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StartError(f"store {path}: {error}") from error

    def add_password(self, password_hash: str, name: str | None, expires_ns: int) -> None:
        """Keeps a fresh one-time password."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO one_time_password (hash, name, expires_ns) VALUES (?, ?, ?)",
                (password_hash, name, expires_ns),
            )

    def exchange_password(self, password_hash: str, name: str, session: tuple[str, int], now_ns: int) -> bool:
        """Uses a password up for a session `(hash, expires_ns)`, both or none; False if it is not valid for `name`.

        Rows that have expired are removed on the way.
        """
        session_hash, expires_ns = session
        with self._transaction() as database:
            database.execute("DELETE FROM one_time_password WHERE expires_ns <= ?", (now_ns,))
            database.execute("DELETE FROM session WHERE expires_ns <= ?", (now_ns,))
            used = database.execute(
                "DELETE FROM one_time_password WHERE hash = ? AND (name IS NULL OR name = ?)",
                (password_hash, name),
            )
            if used.rowcount != 1:
                return False
            database.execute(
                "INSERT INTO session (hash, name, expires_ns) VALUES (?, ?, ?)",
                (session_hash, name, expires_ns),
            )
            return True

    def find_session(self, session_hash: str, now_ns: int) -> SessionRow | None:
        """The session, or None if there is none or it has expired."""
        with self._lock:
            row = self._database.execute(
                "SELECT name, expires_ns FROM session WHERE hash = ? AND expires_ns > ?",
                (session_hash, now_ns),
            ).fetchone()
        return None if row is None else SessionRow(*row)

    def remove_session(self, session_hash: str) -> None:
        """Ends a session."""
        with self._transaction() as database:
            database.execute("DELETE FROM session WHERE hash = ?", (session_hash,))

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
