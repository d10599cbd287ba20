"""Alarms and their journal in SQLite or PostgreSQL (shell).

`schema` says what stands in it, `database` how durable it is. One thread uses it; each call below is one transaction.
Passing troubles (disk full, locked, PostgreSQL away) are raised as JournalUnavailableError after a rollback.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import Connection, Text, TextClause, bindparam, text

from alarm_service import schema
from alarm_service.database import Database, PostgresqlAddress
from alarm_service.errors import JournalUnavailableError, JournalVersionError, UnknownAlarmError
from alarm_service.intake import RefusedMessage, find_new, step_events
from alarm_service.life_cycle import ConditionLife, Entry, Stamp, Step, step_acknowledgement
from contracts.alarm import (
    Acknowledgement,
    Alarm,
    AlarmPage,
    ConditionEvent,
    ConditionReceipt,
    JournalEntry,
)

PAGE_SIZE_MAX: Final = 1_000
"""Alarms in one answer to a client that is behind: it asks again and gets the rest."""
_NEWEST_ENTRY: Final = 2**63 - 1

_KNOWN_EVENTS: Final = text(schema.KNOWN_EVENTS).bindparams(bindparam("event_ids", expanding=True, type_=Text))
_LIVES: Final = text(schema.LIVES).bindparams(bindparam("condition_ids", expanding=True, type_=Text))
_compiled = cache(text)
"""A statement's SQL is looked through for parameters once, not at each execution."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Posted:
    """A post that is durable."""

    receipt: ConditionReceipt
    revision: int
    """The newest revision of all alarms afterwards."""


class Journal:
    """The one owner of the SQLite file or PostgreSQL database.

    A PostgreSQL that is away when it begins is waited for: calls raise JournalUnavailableError until it is there.

    Raises:
        JournalVersionError: it is of another version.
        JournalHeldError: another service has the database.
        JournalUnavailableError: the file cannot be opened.
    """

    def __init__(self, place: Path | PostgresqlAddress) -> None:
        self._place = place
        self._is_prepared = False
        if isinstance(place, Path):
            _make_folder(place)
        self._database = Database(place)
        try:
            self._prepare()
        except JournalUnavailableError as error:
            if isinstance(place, Path):
                self.close()
                raise JournalUnavailableError(f"{place}: {error.cause}") from error
            _logger.warning("event=journal_unavailable store=%s error=%r", place, str(error))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take_events(
        self, events: Sequence[ConditionEvent], by: str, now_ns: int, refused: Iterable[RefusedMessage] = ()
    ) -> Posted:
        """Takes condition events in, and keeps what is none: all or nothing; durable when it returns."""
        self._prepare()
        with self._database.transaction() as connection:
            new = find_new(events, _find_known(connection, events))
            lives = _read_lives(connection, {event.condition_id for event in new})
            stamp = _read_stamp(connection, now_ns)
            steps = step_events(new, lives, by, stamp)
            _write_steps(connection, steps, now_ns)
            _write(connection, schema.KEEP_REFUSED, [_refused_row(message, now_ns) for message in refused])
        revision = stamp.revision - 1 + sum(step.is_changed for _, step in steps)
        receipt = ConditionReceipt(accepted=len(new), duplicates=len(events) - len(new))
        return Posted(receipt, revision)

    def acknowledge(self, alarm_id: int, acknowledgement: Acknowledgement, via: str, now_ns: int) -> Alarm:
        """Acknowledges an alarm; durable when it returns.

        Raises:
            UnknownAlarmError: no alarm has this number.
            AlarmNormalError: it is normal already.
        """
        self._prepare()
        with self._database.transaction() as connection:
            alarm = _find_alarm(connection, alarm_id)
            newest_ns = _read_lives(connection, {alarm.condition_id})[alarm.condition_id].newest_ns
            stamp = _read_stamp(connection, now_ns)
            step = step_acknowledgement(ConditionLife(alarm, newest_ns), acknowledgement, via, stamp)
            _write_lives(connection, {alarm.condition_id: step.life}, [step])
            _write(connection, schema.APPEND, [_entry_row(step.entry, now_ns, None)] if step.entry else [])
        assert step.life.alarm is not None
        return step.life.alarm

    def read_alarm(self, alarm_id: int) -> Alarm:
        """One alarm, normal or not. Raises UnknownAlarmError."""
        self._prepare()
        with self._database.transaction(is_read_only=True) as connection:
            return _find_alarm(connection, alarm_id)

    def read_alarms(self, changed_after: int) -> AlarmPage:
        """Alarms that changed after a revision, gravest first; those that are not normal for 0.

        A client that is more than PAGE_SIZE_MAX changes behind gets the oldest of them, and the page's revision
        says how far it has come. A client that is ahead (the journal was restored from a backup) starts anew.
        """
        self._prepare()
        with self._database.transaction(is_read_only=True) as connection:
            revision = _read_revision(connection)
            if changed_after == 0 or changed_after > revision:
                rows = _rows(connection, schema.OPEN_ALARMS)
            else:
                rows = _rows(connection, schema.CHANGED_ALARMS, changed_after=changed_after, limit=PAGE_SIZE_MAX)
        alarms = [Alarm.model_validate_json(document) for (document,) in rows]
        is_cut = changed_after != 0 and len(alarms) == PAGE_SIZE_MAX
        if is_cut:
            revision = max(alarm.revision for alarm in alarms)
        return AlarmPage(revision=revision, alarms=sorted(alarms, key=_gravity))

    def read_entries(self, limit: int, before_entry: int | None) -> list[JournalEntry]:
        """The newest `limit` entries, newest first; only those before an entry if it is given."""
        before = _NEWEST_ENTRY if before_entry is None else before_entry
        self._prepare()
        with self._database.transaction(is_read_only=True) as connection:
            rows = _rows(connection, schema.ENTRIES, before=before, limit=limit)
        names = ("entry_id", "time_ns", "kind", "alarm_id", "condition_id", "by", "detail")
        return [JournalEntry.model_validate(dict(zip(names, row, strict=True))) for row in rows]

    def read_revision(self) -> int:
        """The newest revision of all alarms; 0 before the first."""
        self._prepare()
        with self._database.transaction(is_read_only=True) as connection:
            return _read_revision(connection)

    def count_refused(self) -> int:
        """How many messages of Kafka were refused since ever."""
        self._prepare()
        with self._database.transaction(is_read_only=True) as connection:
            return int(_rows(connection, schema.REFUSED_COUNT)[0][0])

    def _prepare(self) -> None:
        """Makes the tables that are absent, once, as soon as the database is there."""
        if self._is_prepared:
            return
        kind = self._database.kind
        with self._database.transaction() as connection:
            found = _read_version(connection, kind)
            if found not in {0, schema.SCHEMA_VERSION}:
                raise JournalVersionError(str(self._place), found, schema.SCHEMA_VERSION)
            for statement in schema.new_schema(kind) if found == 0 else ():
                connection.execute(text(statement))
            for statement in schema.added_schema(kind):
                connection.execute(text(statement))
            if found == 0:
                _write_version(connection, kind)
        self._is_prepared = True


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JournalUnavailableError(f"{path}: {error}") from error


def _read_version(connection: Connection, kind: str) -> int:
    """0 where there is nothing yet."""
    if kind == "sqlite":
        return int(_rows(connection, "PRAGMA user_version")[0][0])
    connection.execute(text("CREATE TABLE IF NOT EXISTS alarm_schema (version BIGINT NOT NULL)"))
    rows = _rows(connection, "SELECT version FROM alarm_schema")
    return int(rows[0][0]) if rows else 0


def _write_version(connection: Connection, kind: str) -> None:
    if kind == "sqlite":
        connection.execute(text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))
    else:
        connection.execute(text("INSERT INTO alarm_schema VALUES (:version)"), {"version": schema.SCHEMA_VERSION})


def _rows(connection: Connection, statement: str | TextClause, **values: object) -> list[tuple[Any, ...]]:
    found = connection.execute(_compiled(statement) if isinstance(statement, str) else statement, values)
    return [tuple(row) for row in found]


def _write(connection: Connection, statement: str, rows: list[dict[str, object]]) -> None:
    if rows:
        connection.execute(_compiled(statement), rows)


def _find_known(connection: Connection, events: Sequence[ConditionEvent]) -> frozenset[str]:
    event_ids = [event.event_id for event in events]
    return frozenset(event_id for (event_id,) in _rows(connection, _KNOWN_EVENTS, event_ids=event_ids))


def _read_lives(connection: Connection, condition_ids: Iterable[str]) -> dict[str, ConditionLife]:
    return {
        condition_id: ConditionLife(None if document is None else Alarm.model_validate_json(document), newest_ns)
        for condition_id, document, newest_ns in _rows(connection, _LIVES, condition_ids=list(condition_ids))
    }


def _find_alarm(connection: Connection, alarm_id: int) -> Alarm:
    rows = _rows(connection, schema.ALARM, alarm_id=alarm_id)
    if not rows:
        raise UnknownAlarmError(alarm_id)
    return Alarm.model_validate_json(rows[0][0])


def _read_stamp(connection: Connection, now_ns: int) -> Stamp:
    """Alarms are never deleted, so the next numbers are one more than the highest."""
    ((revision, alarm_id),) = _rows(connection, schema.NEWEST)
    return Stamp(now_ns, revision + 1, alarm_id + 1)


def _read_revision(connection: Connection) -> int:
    return int(_rows(connection, schema.NEWEST)[0][0])


def _write_steps(connection: Connection, steps: Sequence[tuple[ConditionEvent, Step]], now_ns: int) -> None:
    lives = {event.condition_id: step.life for event, step in steps}
    _write_lives(connection, lives, [step for _, step in steps])
    entries = [_entry_row(step.entry, now_ns, event) for event, step in steps if step.entry is not None]
    _write(connection, schema.APPEND, entries)


def _write_lives(connection: Connection, lives: dict[str, ConditionLife], steps: Iterable[Step]) -> None:
    """Alarms in the order of their numbers: a condition's old alarm is normal before its next one opens."""
    alarms = {step.life.alarm.alarm_id: step.life.alarm for step in steps if step.is_changed and step.life.alarm}
    _write(connection, schema.WRITE_ALARM, [_alarm_row(alarms[alarm_id]) for alarm_id in sorted(alarms)])
    rows: list[dict[str, object]] = [
        {
            "condition_id": condition_id,
            "alarm_id": life.alarm.alarm_id if life.alarm else None,
            "newest_ns": life.newest_ns,
        }
        for condition_id, life in lives.items()
    ]
    _write(connection, schema.WRITE_LIFE, rows)


def _alarm_row(alarm: Alarm) -> dict[str, object]:
    return {
        "alarm_id": alarm.alarm_id,
        "revision": alarm.revision,
        "condition_id": alarm.condition_id,
        "state": alarm.state.value,
        "document": alarm.model_dump_json(),
    }


def _entry_row(entry: Entry, now_ns: int, event: ConditionEvent | None) -> dict[str, object]:
    return {
        "time_ns": now_ns,
        "kind": entry.kind,
        "alarm_id": entry.alarm_id,
        "condition_id": entry.condition_id,
        "by": _storable(entry.by),
        "detail": _storable(entry.detail),
        "event_id": event.event_id if event else None,
        "event": event.model_dump_json() if event else None,
    }


def _refused_row(message: RefusedMessage, now_ns: int) -> dict[str, object]:
    return {
        "topic": message.topic,
        "part": message.partition,
        "message_offset": message.offset,
        "written_ms": message.written_ms,
        "time_ns": now_ns,
        "reason": _storable(message.reason),
        "message": message.message,
    }


def _storable(written: str) -> str:
    """PostgreSQL's text has no NUL; a title with one must not be what nobody can store (JSON escapes it)."""
    return written.replace("\0", "\N{SYMBOL FOR NULL}")


def _gravity(alarm: Alarm) -> tuple[bool, int, bool, int]:
    """Order of a page: what is not over first, then most urgent, then unacknowledged, then newest."""
    return (alarm.state == "normal", alarm.priority, alarm.acknowledged_ns is not None, -alarm.raised_ns)
