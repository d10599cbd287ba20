"""The tables of the registry in SQLite and PostgreSQL, and the statements that both understand. Pure.

One table a kind of record, with foreign keys. `registry` has one row: the fleet's revision, which grows with every
change, and the counter of channel numbers. Triggers refuse to delete or renumber a channel, to turn a counter back,
and to change the audit log.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from device_registry.audit import Kind

SCHEMA_VERSION: Final = 3
"""2: the set-points of scores are between 0 and 1 (`device_registry.score_scale`); the tables are those of 1.
3: a channel has `scores`."""

_TABLES: Final = (
    """CREATE TABLE registry (
    one             {integer} PRIMARY KEY CHECK (one = 1),
    revision        {integer} NOT NULL,
    next_channel_id {integer} NOT NULL
){strict}""",
    "INSERT INTO registry VALUES (1, 0, 1)",
    """CREATE TABLE district (
    district_id TEXT PRIMARY KEY,
    name        TEXT NOT NULL
){strict}""",
    """CREATE TABLE site (
    site_id     TEXT PRIMARY KEY,
    district_id TEXT NOT NULL REFERENCES district,
    domain      TEXT NOT NULL,
    name        TEXT NOT NULL,
    latitude    {real} NOT NULL,
    longitude   {real} NOT NULL
){strict}""",
    """CREATE TABLE gateway (
    gateway_id  TEXT PRIMARY KEY,
    district_id TEXT NOT NULL REFERENCES district,
    name        TEXT NOT NULL
){strict}""",
    """CREATE TABLE node (
    node_id     TEXT PRIMARY KEY,
    gateway_id  TEXT NOT NULL REFERENCES gateway,
    bus_id      TEXT NOT NULL,
    site_id     TEXT NOT NULL REFERENCES site,
    model       TEXT NOT NULL,
    state       TEXT NOT NULL,
    latitude    {real},
    longitude   {real}
){strict}""",
    """CREATE TABLE channel (
    channel_id  {integer} PRIMARY KEY CHECK (channel_id BETWEEN 1 AND 4294967295),
    node_id     TEXT NOT NULL REFERENCES node,
    quantity    TEXT NOT NULL,
    is_retired  {integer} NOT NULL DEFAULT 0,
    scores      TEXT,
    UNIQUE (node_id, quantity)
){strict}""",
    """CREATE VIEW live_channel AS
    SELECT channel_id, node_id, quantity FROM channel JOIN node USING (node_id)
    WHERE is_retired = 0 AND state <> 'retired'""",
    """CREATE TABLE condition (
    condition_id TEXT PRIMARY KEY,
    channel_id   {integer} NOT NULL REFERENCES channel,
    input        TEXT NOT NULL,
    direction    TEXT NOT NULL,
    set_point    {real} NOT NULL,
    deadband     {real} NOT NULL,
    on_delay_s   {real} NOT NULL,
    off_delay_s  {real} NOT NULL,
    priority     {integer} NOT NULL,
    colour       TEXT NOT NULL,
    title        TEXT NOT NULL
){strict}""",
    "CREATE INDEX site_of_district ON site (district_id)",
    "CREATE INDEX gateway_of_district ON gateway (district_id)",
    "CREATE INDEX node_of_gateway ON node (gateway_id)",
    "CREATE INDEX node_of_site ON node (site_id)",
    "CREATE INDEX condition_of_channel ON condition (channel_id)",
    """CREATE TABLE audit (
    entry_id    {counted},
    time_ns     {integer} NOT NULL,
    "by"        TEXT NOT NULL,
    revision    {integer} NOT NULL,
    action      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    key         TEXT NOT NULL,
    detail      TEXT NOT NULL
){strict}""",
)
_SQLITE_TRIGGERS: Final = (
    """CREATE TRIGGER registry_only_grows BEFORE UPDATE ON registry
    WHEN NEW.revision < OLD.revision OR NEW.next_channel_id < OLD.next_channel_id
    BEGIN SELECT RAISE(ABORT, 'revision and channel numbers only grow'); END""",
    """CREATE TRIGGER registry_is_kept BEFORE DELETE ON registry
    BEGIN SELECT RAISE(ABORT, 'revision and channel numbers only grow'); END""",
    """CREATE TRIGGER channel_is_kept BEFORE DELETE ON channel
    BEGIN SELECT RAISE(ABORT, 'a channel keeps its number for ever'); END""",
    """CREATE TRIGGER channel_keeps_its_number BEFORE UPDATE OF channel_id, node_id, quantity ON channel
    BEGIN SELECT RAISE(ABORT, 'a channel keeps its number for ever'); END""",
    """CREATE TRIGGER channel_is_not_replaced BEFORE INSERT ON channel
    WHEN EXISTS (SELECT 1 FROM channel WHERE channel_id = NEW.channel_id
                 OR (node_id = NEW.node_id AND quantity = NEW.quantity))
    BEGIN SELECT RAISE(ABORT, 'a channel keeps its number for ever'); END""",
    """CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    """CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    """CREATE TRIGGER audit_is_never_replaced BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE entry_id = NEW.entry_id)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
)
_POSTGRESQL_TRIGGERS: Final = (
    """CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation'; END $$""",
    """CREATE TRIGGER registry_only_grows BEFORE UPDATE ON registry FOR EACH ROW
    WHEN (NEW.revision < OLD.revision OR NEW.next_channel_id < OLD.next_channel_id)
    EXECUTE FUNCTION refuse('revision and channel numbers only grow')""",
    """CREATE TRIGGER registry_is_kept BEFORE DELETE OR TRUNCATE ON registry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('revision and channel numbers only grow')""",
    """CREATE TRIGGER channel_is_kept BEFORE DELETE OR TRUNCATE ON channel
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a channel keeps its number for ever')""",
    """CREATE TRIGGER channel_keeps_its_number BEFORE UPDATE OF channel_id, node_id, quantity ON channel
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a channel keeps its number for ever')""",
    """CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the audit log is append-only')""",
)
_TYPES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "sqlite": {
            "integer": "INTEGER",
            "real": "REAL",
            "counted": "INTEGER PRIMARY KEY AUTOINCREMENT",
            "strict": " STRICT",
        },
        "postgresql": {
            "integer": "BIGINT",
            "real": "DOUBLE PRECISION",
            "counted": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            "strict": "",
        },
    }
)
_TRIGGERS: Final = {"sqlite": _SQLITE_TRIGGERS, "postgresql": _POSTGRESQL_TRIGGERS}


def new_schema(engine: str) -> tuple[str, ...]:
    """Statements that make an empty store, for `sqlite` or `postgresql`."""
    return tuple(table.format(**_TYPES[engine]) for table in _TABLES) + _TRIGGERS[engine]


ADD_SCORES: Final = "ALTER TABLE channel ADD COLUMN scores TEXT"
"""Makes the tables of versions 1 and 2 those of 3. No statement of theirs means something else afterwards: a service of
before may still be running when an import of today upgrades its store."""
JSON_COLUMNS: Final = frozenset({"scores"})
"""Hold a list as JSON text, or NULL."""

UPSERTS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.DISTRICT: "INSERT INTO district VALUES (:district_id, :name)"
        " ON CONFLICT (district_id) DO UPDATE SET name = excluded.name",
        Kind.SITE: "INSERT INTO site VALUES (:site_id, :district_id, :domain, :name, :latitude, :longitude)"
        " ON CONFLICT (site_id) DO UPDATE SET district_id = excluded.district_id, domain = excluded.domain,"
        " name = excluded.name, latitude = excluded.latitude, longitude = excluded.longitude",
        Kind.GATEWAY: "INSERT INTO gateway VALUES (:gateway_id, :district_id, :name)"
        " ON CONFLICT (gateway_id) DO UPDATE SET district_id = excluded.district_id, name = excluded.name",
        Kind.NODE: "INSERT INTO node VALUES"
        " (:node_id, :gateway_id, :bus_id, :site_id, :model, :state, :latitude, :longitude)"
        " ON CONFLICT (node_id) DO UPDATE SET gateway_id = excluded.gateway_id, bus_id = excluded.bus_id,"
        " site_id = excluded.site_id, model = excluded.model, state = excluded.state,"
        " latitude = excluded.latitude, longitude = excluded.longitude",
        Kind.CHANNEL: "INSERT INTO channel (channel_id, node_id, quantity, scores)"
        " VALUES (:channel_id, :node_id, :quantity, :scores)",
        Kind.CONDITION: "INSERT INTO condition VALUES (:condition_id, :channel_id, :input, :direction, :set_point,"
        " :deadband, :on_delay_s, :off_delay_s, :priority, :colour, :title)"
        " ON CONFLICT (condition_id) DO UPDATE SET channel_id = excluded.channel_id, input = excluded.input,"
        " direction = excluded.direction, set_point = excluded.set_point, deadband = excluded.deadband,"
        " on_delay_s = excluded.on_delay_s, off_delay_s = excluded.off_delay_s, priority = excluded.priority,"
        " colour = excluded.colour, title = excluded.title",
    }
)
REMOVALS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.DISTRICT: "DELETE FROM district WHERE district_id = :district_id",
        Kind.SITE: "DELETE FROM site WHERE site_id = :site_id",
        Kind.GATEWAY: "DELETE FROM gateway WHERE gateway_id = :gateway_id",
        Kind.CONDITION: "DELETE FROM condition WHERE condition_id = :condition_id",
    }
)
CHANGE_CHANNEL: Final = "UPDATE channel SET scores = :scores WHERE channel_id = :channel_id"
"""All of a channel that may change; an upsert would be refused as a replacement."""
RETIRE_CHANNEL: Final = "UPDATE channel SET is_retired = 1 WHERE channel_id = :channel_id"
RESTORE_CHANNEL: Final = "UPDATE channel SET is_retired = 0 WHERE channel_id = :channel_id"

SNAPSHOT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "districts": "SELECT * FROM district ORDER BY district_id",
        "sites": "SELECT * FROM site ORDER BY site_id",
        "gateways": "SELECT * FROM gateway ORDER BY gateway_id",
        "nodes": "SELECT * FROM node ORDER BY node_id",
        "channels": "SELECT live_channel.*, scores FROM live_channel JOIN channel USING (channel_id)"
        " ORDER BY channel_id",
        "conditions": "SELECT * FROM condition WHERE channel_id IN (SELECT channel_id FROM live_channel)"
        " ORDER BY condition_id",
    }
)
"""What processors get: retired nodes by name only, without their channels and conditions."""

REVISION: Final = "SELECT revision FROM registry"
SET_REVISION: Final = "UPDATE registry SET revision = :revision"
NEXT_CHANNEL_ID: Final = "SELECT next_channel_id FROM registry"
SET_NEXT_CHANNEL_ID: Final = "UPDATE registry SET next_channel_id = :next_channel_id"
NODE: Final = "SELECT * FROM node WHERE node_id = :node_id"
CONDITIONS: Final = "SELECT * FROM condition ORDER BY condition_id"
CHANNELS: Final = "SELECT channel_id, node_id, quantity, scores FROM channel"
RETIRED_CHANNELS: Final = "SELECT node_id, quantity FROM channel WHERE is_retired = 1"
AUDIT: Final = "SELECT * FROM audit WHERE entry_id < :before ORDER BY entry_id DESC LIMIT :limit"
APPEND_AUDIT: Final = (
    'INSERT INTO audit (time_ns, "by", revision, action, kind, key, detail)'
    " VALUES (:time_ns, :by, :revision, :action, :kind, :key, :detail)"
)
