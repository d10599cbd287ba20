"""The tables of the alarm journal in SQLite and PostgreSQL, and the statements that both understand. Pure.

`journal` is append-only: triggers refuse to change, delete, replace or truncate, so that neither a bug nor somebody
with a console rewrites history. Every condition event has exactly one row there; its unique `event_id` is what makes
events idempotent. `alarm` holds the newest state of each alarm as its wire JSON, `condition_life` what `life_cycle`
remembers of each condition. `refused_message` keeps what came through Kafka and is no condition event.

SQLite's file of version 0.1.0 has no `refused_message`; it is added when such a file is opened, which that version
does not mind. So SCHEMA_VERSION is still 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SCHEMA_VERSION: Final = 1

_TABLES: Final = (
    """CREATE TABLE alarm (
    alarm_id     {integer} PRIMARY KEY,
    revision     {integer} NOT NULL UNIQUE,
    condition_id TEXT NOT NULL,
    state        TEXT NOT NULL,
    document     TEXT NOT NULL            -- contracts.alarm.Alarm
){strict}""",
    "CREATE UNIQUE INDEX one_open_alarm ON alarm (condition_id) WHERE state <> 'normal'",
    """CREATE TABLE condition_life (
    condition_id TEXT PRIMARY KEY,
    alarm_id     {integer} REFERENCES alarm,
    newest_ns    {integer} NOT NULL
){strict}""",
    """CREATE TABLE journal (
    entry_id     {counted},
    time_ns      {integer} NOT NULL,
    kind         TEXT NOT NULL,
    alarm_id     {integer},
    condition_id TEXT NOT NULL,
    "by"         TEXT NOT NULL,
    detail       TEXT NOT NULL,
    event_id     TEXT UNIQUE,             -- NULL for what people do
    event        TEXT                     -- contracts.alarm.ConditionEvent, whole
){strict}""",
)
_SQLITE_TRIGGERS: Final = (
    """CREATE TRIGGER alarm_is_kept BEFORE DELETE ON alarm
    BEGIN SELECT RAISE(ABORT, 'alarms are never deleted'); END""",
    """CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    """CREATE TRIGGER journal_is_never_shortened BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    """CREATE TRIGGER journal_is_never_replaced BEFORE INSERT ON journal
    WHEN EXISTS (SELECT 1 FROM journal WHERE entry_id = NEW.entry_id OR event_id = NEW.event_id)
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
)
_POSTGRESQL_TRIGGERS: Final = (
    """CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation'; END $$""",
    """CREATE TRIGGER alarm_is_kept BEFORE DELETE OR TRUNCATE ON alarm
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('alarms are never deleted')""",
    """CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the journal is append-only')""",
)
_ADDED: Final = (
    """CREATE TABLE IF NOT EXISTS refused_message (
    topic          TEXT NOT NULL,
    part           {integer} NOT NULL,    -- of the topic
    message_offset {integer} NOT NULL,
    written_ms     {integer} NOT NULL,    -- Kafka's time of the message: a topic made anew counts from 0 again
    time_ns        {integer} NOT NULL,    -- when it was refused
    reason         TEXT NOT NULL,
    message        {octets},              -- as it came; NULL for a message without a value
    PRIMARY KEY (topic, part, message_offset, written_ms)
){strict}""",
)
_TYPES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "sqlite": {
            "integer": "INTEGER",
            "counted": "INTEGER PRIMARY KEY AUTOINCREMENT",
            "octets": "BLOB",
            "strict": " STRICT",
        },
        "postgresql": {
            "integer": "BIGINT",
            "counted": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            "octets": "BYTEA",
            "strict": "",
        },
    }
)
_TRIGGERS: Final = {"sqlite": _SQLITE_TRIGGERS, "postgresql": _POSTGRESQL_TRIGGERS}


def new_schema(engine: str) -> tuple[str, ...]:
    """Statements that make an empty store, for `sqlite` or `postgresql`."""
    return tuple(table.format(**_TYPES[engine]) for table in _TABLES) + _TRIGGERS[engine]


def added_schema(engine: str) -> tuple[str, ...]:
    """Statements that add to a store of this version what its first program did not know; harmless twice."""
    return tuple(table.format(**_TYPES[engine]) for table in _ADDED)


KNOWN_EVENTS: Final = "SELECT event_id FROM journal WHERE event_id IN :event_ids"
LIVES: Final = (
    "SELECT condition_life.condition_id, document, newest_ns FROM condition_life LEFT JOIN alarm USING (alarm_id)"
    " WHERE condition_life.condition_id IN :condition_ids"
)
ALARM: Final = "SELECT document FROM alarm WHERE alarm_id = :alarm_id"
NEWEST: Final = "SELECT coalesce(max(revision), 0), coalesce(max(alarm_id), 0) FROM alarm"
OPEN_ALARMS: Final = "SELECT document FROM alarm WHERE state <> 'normal'"
CHANGED_ALARMS: Final = "SELECT document FROM alarm WHERE revision > :changed_after ORDER BY revision LIMIT :limit"
ENTRIES: Final = (
    'SELECT entry_id, time_ns, kind, alarm_id, condition_id, "by", detail FROM journal'
    " WHERE entry_id < :before ORDER BY entry_id DESC LIMIT :limit"
)
REFUSED_COUNT: Final = "SELECT count(*) FROM refused_message"
WRITE_ALARM: Final = (
    "INSERT INTO alarm VALUES (:alarm_id, :revision, :condition_id, :state, :document)"
    " ON CONFLICT (alarm_id) DO UPDATE SET"
    " revision = excluded.revision, state = excluded.state, document = excluded.document"
)
WRITE_LIFE: Final = (
    "INSERT INTO condition_life VALUES (:condition_id, :alarm_id, :newest_ns) ON CONFLICT (condition_id) DO UPDATE SET"
    " alarm_id = excluded.alarm_id, newest_ns = excluded.newest_ns"
)
APPEND: Final = (
    'INSERT INTO journal (time_ns, kind, alarm_id, condition_id, "by", detail, event_id, event)'
    " VALUES (:time_ns, :kind, :alarm_id, :condition_id, :by, :detail, :event_id, :event)"
)
KEEP_REFUSED: Final = (
    "INSERT INTO refused_message VALUES (:topic, :part, :message_offset, :written_ms, :time_ns, :reason, :message)"
    " ON CONFLICT (topic, part, message_offset, written_ms) DO NOTHING"
)
