"""Alarms and their journal in one SQLite file (shell).

`journal` is append-only: triggers refuse UPDATE, DELETE and REPLACE, so that neither a bug nor somebody with a
console rewrites history. Every condition event has exactly one row there; its unique `event_id` is what makes
posts idempotent. `alarm` holds the newest state of each alarm as its wire JSON, `condition_life` what
`life_cycle` remembers of each condition.

WAL with synchronous=FULL: a commit that returned survives a kill and a power cut. One connection, used by one
thread; each call below is one transaction. SQLite's passing troubles (full, locked, I/O) are raised as
JournalUnavailableError after a rollback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from alarm_service.errors import JournalUnavailableError, JournalVersionError, UnknownAlarmError
from alarm_service.life_cycle import ConditionLife, Entry, Stamp, Step, step_acknowledgement, step_event
from contracts.alarm import (
    Acknowledgement,
    Alarm,
    AlarmPage,
    ConditionEvent,
    ConditionReceipt,
    JournalEntry,
)

SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 2.0
"""How long a transaction waits for another process (a backup, somebody's sqlite3) before it is given up."""
PAGE_SIZE_MAX: Final = 1_000
"""Alarms in one answer to a client that is behind: it asks again and gets the rest."""

_SCHEMA: Final = """
CREATE TABLE alarm (
    alarm_id     INTEGER PRIMARY KEY,
    revision     INTEGER NOT NULL UNIQUE,
    condition_id TEXT NOT NULL,
    state        TEXT NOT NULL,
    document     TEXT NOT NULL            -- contracts.alarm.Alarm
) STRICT;
CREATE UNIQUE INDEX one_open_alarm ON alarm (condition_id) WHERE state <> 'normal';
CREATE TRIGGER alarm_is_kept BEFORE DELETE ON alarm
    BEGIN SELECT RAISE(ABORT, 'alarms are never deleted'); END;

CREATE TABLE condition_life (
    condition_id TEXT PRIMARY KEY,
    alarm_id     INTEGER REFERENCES alarm,
    newest_ns    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    entry_id     INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns      INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    alarm_id     INTEGER,
    condition_id TEXT NOT NULL,
    "by"         TEXT NOT NULL,
    detail       TEXT NOT NULL,
    event_id     TEXT UNIQUE,             -- NULL for what people do
    event        TEXT                     -- contracts.alarm.ConditionEvent, whole
) STRICT;
CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_never_shortened BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_never_replaced BEFORE INSERT ON journal
    WHEN EXISTS (SELECT 1 FROM journal WHERE entry_id = NEW.entry_id OR event_id = NEW.event_id)
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
"""


@dataclass(frozen=True, slots=True)
class Posted:
    """A post that is durable."""

    receipt: ConditionReceipt
    revision: int
    """The newest revision of all alarms afterwards."""


class Journal:
    """The one owner of the SQLite file.

    Raises:
        JournalVersionError: the file is of another version.
        JournalUnavailableError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._create_schema(path)
        except (OSError, sqlite3.DatabaseError) as error:
            raise JournalUnavailableError(f"{path}: {error}") from error

    def close(self) -> None:
        """Checkpoints the WAL and closes the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take_events(self, events: Sequence[ConditionEvent], by: str, now_ns: int) -> Posted:
        """Takes condition events in, all or none; durable when it returns."""
        accepted = 0
        with self._transaction():
            for event in events:
                if self._is_known(event.event_id):
                    continue
                step = step_event(self._read_life(event.condition_id), event, by, self._read_stamp(now_ns))
                self._write_life(event.condition_id, step)
                self._append(step.entry, now_ns, event)
                accepted += 1
            revision = self._read_revision()
        receipt = ConditionReceipt(accepted=accepted, duplicates=len(events) - accepted)
        return Posted(receipt, revision)

    def acknowledge(self, alarm_id: int, acknowledgement: Acknowledgement, via: str, now_ns: int) -> Alarm:
        """Acknowledges an alarm; durable when it returns.

        Raises:
            UnknownAlarmError: no alarm has this number.
            AlarmNormalError: it is normal already.
        """
        with self._transaction():
            alarm = self._find_alarm(alarm_id)
            newest_ns = self._read_life(alarm.condition_id).newest_ns
            step = step_acknowledgement(ConditionLife(alarm, newest_ns), acknowledgement, via, self._read_stamp(now_ns))
            self._write_life(alarm.condition_id, step)
            self._append(step.entry, now_ns, None)
        assert step.life.alarm is not None
        return step.life.alarm

    def read_alarm(self, alarm_id: int) -> Alarm:
        """One alarm, normal or not. Raises UnknownAlarmError."""
        with self._transaction("DEFERRED"):
            return self._find_alarm(alarm_id)

    def read_alarms(self, changed_after: int) -> AlarmPage:
        """Alarms that changed after a revision, gravest first; those that are not normal for 0.

        A client that is more than PAGE_SIZE_MAX changes behind gets the oldest of them, and the page's revision
        says how far it has come. A client that is ahead (this file was restored from a backup) starts anew.
        """
        with self._transaction("DEFERRED"):
            revision = self._read_revision()
            if changed_after == 0 or changed_after > revision:
                documents = self._rows("SELECT document FROM alarm WHERE state <> 'normal'")
            else:
                documents = self._rows(
                    "SELECT document FROM alarm WHERE revision > ? ORDER BY revision LIMIT ?",
                    changed_after,
                    PAGE_SIZE_MAX,
                )
        alarms = [Alarm.model_validate_json(document) for (document,) in documents]
        is_cut = changed_after != 0 and len(alarms) == PAGE_SIZE_MAX
        if is_cut:
            revision = max(alarm.revision for alarm in alarms)
        return AlarmPage(revision=revision, alarms=sorted(alarms, key=_gravity))

    def read_entries(self, limit: int, before_entry: int | None) -> list[JournalEntry]:
        """The newest `limit` entries, newest first; only those before an entry if it is given."""
        with self._transaction("DEFERRED"):
            rows = self._rows(
                'SELECT entry_id, time_ns, kind, alarm_id, condition_id, "by", detail FROM journal'
                " WHERE entry_id < ? ORDER BY entry_id DESC LIMIT ?",
                2**63 - 1 if before_entry is None else before_entry,
                limit,
            )
        names = ("entry_id", "time_ns", "kind", "alarm_id", "condition_id", "by", "detail")
        return [JournalEntry.model_validate(dict(zip(names, row, strict=True))) for row in rows]

    def read_revision(self) -> int:
        """The newest revision of all alarms; 0 before the first."""
        with self._transaction("DEFERRED"):
            return self._read_revision()

    def _create_schema(self, path: Path) -> None:
        with self._transaction():
            ((found,),) = self._rows("PRAGMA user_version")
            if found == 0:
                for statement in _split_statements(_SCHEMA):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif found != SCHEMA_VERSION:
                raise JournalVersionError(str(path), found, SCHEMA_VERSION)

    @contextmanager
    def _transaction(self, mode: str = "IMMEDIATE") -> Iterator[None]:
        """All or nothing, whatever is raised inside."""
        try:
            self._connection.execute(f"BEGIN {mode}")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise JournalUnavailableError(str(error)) from error

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def _is_known(self, event_id: str) -> bool:
        return bool(self._rows("SELECT 1 FROM journal WHERE event_id = ?", event_id))

    def _find_alarm(self, alarm_id: int) -> Alarm:
        rows = self._rows("SELECT document FROM alarm WHERE alarm_id = ?", alarm_id)
        if not rows:
            raise UnknownAlarmError(alarm_id)
        return Alarm.model_validate_json(rows[0][0])

    def _read_life(self, condition_id: str) -> ConditionLife:
        rows = self._rows(
            "SELECT document, newest_ns FROM condition_life LEFT JOIN alarm USING (alarm_id)"
            " WHERE condition_life.condition_id = ?",
            condition_id,
        )
        if not rows:
            return ConditionLife()
        document, newest_ns = rows[0]
        alarm = None if document is None else Alarm.model_validate_json(document)
        return ConditionLife(alarm, newest_ns)

    def _read_stamp(self, now_ns: int) -> Stamp:
        """Alarms are never deleted, so the next numbers are one more than the highest."""
        ((alarm_id,),) = self._rows("SELECT coalesce(max(alarm_id), 0) + 1 FROM alarm")
        return Stamp(now_ns, self._read_revision() + 1, alarm_id)

    def _read_revision(self) -> int:
        ((revision,),) = self._rows("SELECT coalesce(max(revision), 0) FROM alarm")
        return int(revision)

    def _write_life(self, condition_id: str, step: Step) -> None:
        alarm = step.life.alarm
        if step.is_changed and alarm is not None:
            self._connection.execute(
                "INSERT INTO alarm VALUES (?, ?, ?, ?, ?) ON CONFLICT (alarm_id) DO UPDATE SET"
                " revision = excluded.revision, state = excluded.state, document = excluded.document",
                (alarm.alarm_id, alarm.revision, condition_id, alarm.state.value, alarm.model_dump_json()),
            )
        self._connection.execute(
            "INSERT INTO condition_life VALUES (?, ?, ?) ON CONFLICT (condition_id) DO UPDATE SET"
            " alarm_id = excluded.alarm_id, newest_ns = excluded.newest_ns",
            (condition_id, alarm.alarm_id if alarm else None, step.life.newest_ns),
        )

    def _append(self, entry: Entry | None, now_ns: int, event: ConditionEvent | None) -> None:
        if entry is None:
            return
        self._connection.execute(
            'INSERT INTO journal (time_ns, kind, alarm_id, condition_id, "by", detail, event_id, event)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                now_ns,
                entry.kind,
                entry.alarm_id,
                entry.condition_id,
                entry.by,
                entry.detail,
                event.event_id if event else None,
                event.model_dump_json() if event else None,
            ),
        )


def _gravity(alarm: Alarm) -> tuple[bool, int, bool, int]:
    """Order of a page: what is not over first, then most urgent, then unacknowledged, then newest."""
    return (alarm.state == "normal", alarm.priority, alarm.acknowledged_ns is not None, -alarm.raised_ns)


def _split_statements(script: str) -> Iterator[str]:
    """One statement at a time: `executescript` would commit the transaction that it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
