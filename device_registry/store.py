"""The fleet and its audit log in SQLite or PostgreSQL (shell).

`schema` says what stands in it, `database` how durable it is. The service and `device-registry import` may use it at
the same time; each call below is one transaction. Passing troubles (disk full, locked, PostgreSQL away) are raised as
StoreUnavailableError after a rollback.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection, RowMapping, text

from contracts.alarm import ConditionDefinition
from contracts.errors import ConfigurationError
from contracts.fleet import Channel, District, Gateway, LifecycleState, Node, Site
from contracts.identifiers import format_metric_name
from device_registry import schema
from device_registry.audit import Action, AuditEntry, Kind
from device_registry.database import Database, PostgresqlAddress
from device_registry.errors import StoreUnavailableError, StoreVersionError, UnknownNodeError
from device_registry.fleet_file import FleetFile
from device_registry.import_plan import Change, ImportPlan, KnownFleet, format_difference, plan_import
from device_registry.node_life_cycle import check_transition
from device_registry.score_scale import rescale_scores

ROWS_PER_CHUNK: Final = 2_000
"""Records that are made into JSON at once: a few milliseconds, so that the service answers in between."""
_NEWEST_ENTRY: Final = 2**63 - 1

_CHANNEL_STATEMENTS: Final = {
    Action.CHANGED: schema.CHANGE_CHANNEL,
    Action.RETIRED: schema.RETIRE_CHANNEL,
    Action.RESTORED: schema.RESTORE_CHANNEL,
}
"""A channel's number is given once: what stands there already is no upsert."""

RecordT = TypeVar("RecordT", bound=BaseModel)
_compiled = cache(text)
"""A statement's SQL is looked through for parameters once, not at each execution."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Imported:
    """An import that is durable."""

    revision_before: int
    revision: int
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The fleet at one revision, as the JSON of `contracts.fleet.FleetSnapshot`."""

    revision: int
    body: bytes


class Store:
    """The SQLite file or PostgreSQL database, for this process.

    For the service (`is_service`) a PostgreSQL that is away is waited for: calls raise StoreUnavailableError until it
    is there.

    Raises:
        StoreVersionError: it is of another version.
        StoreHeldError: another service has the database.
        StoreUnavailableError: it cannot be opened.
    """

    def __init__(self, place: Path | PostgresqlAddress, *, is_service: bool = False) -> None:
        self._place = place
        self._is_prepared = False
        if isinstance(place, Path):
            _make_folder(place)
        self._database = Database(place, is_service=is_service)
        try:
            self._prepare()
        except StoreUnavailableError as error:
            if isinstance(place, Path) or not is_service:
                self.close()
                raise StoreUnavailableError(f"{place}: {error.cause}") from error
            _logger.warning("event=store_unavailable store=%s error=%r", place, str(error))
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

    def import_fleet(
        self, wanted: FleetFile, source: str, by: str, now_ns: int, *, retire_missing: bool = False
    ) -> Imported:
        """Imports a fleet file, all or nothing; durable when it returns.

        Args:
            wanted: the parsed file.
            source: its name, for faults and the audit log.
            by: who imports.
            now_ns: nanoseconds UTC.
            retire_missing: retire (or remove) what is in the registry and not in the file.

        Raises:
            ConfigurationError: the file and the registry do not fit: every fault.
        """
        self._prepare()
        with self._database.transaction() as connection:
            before = _read_revision(connection)
            plan = plan_import(_read_known_fleet(connection), wanted, retire_missing=retire_missing)
            if plan.faults:
                raise ConfigurationError(source, plan.faults)
            if plan.changes:
                _apply(connection, plan, source, by, now_ns, before + 1)
            return Imported(before, _read_revision(connection), plan.changes)

    def change_state(self, node_id: str, wanted: LifecycleState, by: str, now_ns: int) -> tuple[Node, int]:
        """Moves a node on in its life; gives it back with the fleet's revision. The same state again changes nothing.

        Raises:
            UnknownNodeError: no node has this name.
            TransitionRefusedError: the life cycle does not lead there.
        """
        self._prepare()
        with self._database.transaction() as connection:
            before = _find_node(connection, node_id)
            revision = _read_revision(connection)
            if before.state is wanted:
                return before, revision
            check_transition(node_id, before.state, wanted)
            node = before.model_copy(update={"state": wanted})
            change = Change(Action.CHANGED, Kind.NODE, node_id, node, format_difference(before, node))
            _write(connection, [change])
            _set_revision(connection, revision + 1)
            _append_audit(connection, [change], by, now_ns, revision + 1)
            return node, revision + 1

    def read_node(self, node_id: str) -> Node:
        """One node, retired or not. Raises UnknownNodeError."""
        self._prepare()
        with self._database.transaction(is_read_only=True) as connection:
            return _find_node(connection, node_id)

    def read_revision(self) -> int:
        """The fleet's revision; 0 for an empty registry."""
        self._prepare()
        with self._database.transaction(is_read_only=True) as connection:
            return _read_revision(connection)

    def read_audit(self, limit: int, before_entry: int | None) -> list[AuditEntry]:
        """The newest `limit` entries, newest first; only those before an entry if it is given."""
        before = _NEWEST_ENTRY if before_entry is None else before_entry
        self._prepare()
        with self._database.transaction(is_read_only=True) as connection:
            return list(_records(connection, AuditEntry, schema.AUDIT, before=before, limit=limit))

    def build_snapshot(self) -> Snapshot:
        """The whole fleet as JSON, read in one transaction.

        Written from rows, not from models: 100,000 nodes would be 500,000 objects.
        """
        parts: list[str] = []
        self._prepare()
        with self._database.transaction(is_read_only=True) as connection:
            revision = _read_revision(connection)
            for key, sql in schema.SNAPSHOT.items():
                parts.append(f'"{key}":[{",".join(_json_chunks(connection, sql))}]')
        body = f'{{"revision":{revision},{",".join(parts)}}}'
        return Snapshot(revision, body.encode())

    def _prepare(self) -> None:
        """Makes the tables that are absent, once, as soon as the database is there."""
        if self._is_prepared:
            return
        kind = self._database.kind
        with self._database.transaction() as connection:
            found = _read_version(connection, kind)
            if not 0 <= found <= schema.SCHEMA_VERSION:
                raise StoreVersionError(str(self._place), found, schema.SCHEMA_VERSION)
            if found == 0:
                for statement in schema.new_schema(kind):
                    connection.execute(text(statement))
            elif found < schema.SCHEMA_VERSION:
                _upgrade(connection, found)
            if found != schema.SCHEMA_VERSION:
                _write_version(connection, kind)
        self._is_prepared = True


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailableError(f"{path}: {error}") from error


def _read_version(connection: Connection, kind: str) -> int:
    """0 where there is nothing yet."""
    if kind == "sqlite":
        return int(_rows(connection, "PRAGMA user_version")[0][0])
    connection.execute(text("CREATE TABLE IF NOT EXISTS registry_schema (version BIGINT NOT NULL)"))
    rows = _rows(connection, "SELECT version FROM registry_schema")
    return int(rows[0][0]) if rows else 0


def _write_version(connection: Connection, kind: str) -> None:
    if kind == "sqlite":
        connection.execute(text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))
    else:
        connection.execute(text("DELETE FROM registry_schema"))
        connection.execute(text("INSERT INTO registry_schema VALUES (:version)"), {"version": schema.SCHEMA_VERSION})


def _upgrade(connection: Connection, found: int) -> None:
    """A registry of an older version becomes one of today's."""
    if found == 1:
        _rescale_scores(connection, time.time_ns())
    connection.execute(text(schema.ADD_SCORES))
    _logger.info("event=registry_upgraded version_before=%d version=%d", found, schema.SCHEMA_VERSION)


def _rescale_scores(connection: Connection, now_ns: int) -> None:
    """A registry of version 1 becomes one of version 2: a revision of its own, in the audit log."""
    changes = list(rescale_scores(_records(connection, ConditionDefinition, schema.CONDITIONS)))
    if changes:
        revision = _read_revision(connection) + 1
        _write(connection, changes)
        _set_revision(connection, revision)
        _append_audit(connection, changes, "upgrade", now_ns, revision)
        _logger.info("event=scores_rescaled conditions=%d revision=%d", len(changes), revision)


def _rows(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(_compiled(sql))]


def _records(connection: Connection, model: type[RecordT], sql: str, **values: object) -> Iterator[RecordT]:
    for row in connection.execute(_compiled(sql), values).mappings():
        yield model.model_validate(_parse_row(row))


def _parse_row(row: RowMapping) -> dict[str, Any]:
    """A row's values by column, lists as lists; without a list that is NULL: who knows nothing of it misses nothing."""
    values = dict(row)
    for name in schema.JSON_COLUMNS & values.keys():
        written = values.pop(name)
        if written is not None:
            values[name] = json.loads(written)
    return values


def _format_row(record: BaseModel) -> dict[str, Any]:
    """What `_parse_row` reads."""
    values = record.model_dump(mode="json")
    for name in schema.JSON_COLUMNS & values.keys():
        if values[name] is not None:
            values[name] = json.dumps(values[name])
    return values


def _json_chunks(connection: Connection, sql: str) -> Iterator[str]:
    found = connection.execute(_compiled(sql), execution_options={"stream_results": True})
    for rows in found.mappings().partitions(ROWS_PER_CHUNK):
        chunk = [_parse_row(row) for row in rows]
        yield json.dumps(chunk, ensure_ascii=False, allow_nan=False, separators=(",", ":"))[1:-1]


def _read_revision(connection: Connection) -> int:
    return int(_rows(connection, schema.REVISION)[0][0])


def _set_revision(connection: Connection, revision: int) -> None:
    connection.execute(_compiled(schema.SET_REVISION), {"revision": revision})


def _find_node(connection: Connection, node_id: str) -> Node:
    nodes = list(_records(connection, Node, schema.NODE, node_id=node_id))
    if not nodes:
        raise UnknownNodeError(node_id)
    return nodes[0]


def _read_known_fleet(connection: Connection) -> KnownFleet:
    channels = _records(connection, Channel, schema.CHANNELS)
    conditions = _records(connection, ConditionDefinition, schema.CONDITIONS)
    return KnownFleet(
        districts={row.district_id: row for row in _records(connection, District, "SELECT * FROM district")},
        sites={row.site_id: row for row in _records(connection, Site, "SELECT * FROM site")},
        gateways={row.gateway_id: row for row in _records(connection, Gateway, "SELECT * FROM gateway")},
        nodes={row.node_id: row for row in _records(connection, Node, "SELECT * FROM node")},
        channels={format_metric_name(row.node_id, row.quantity): row for row in channels},
        retired_channels=frozenset(format_metric_name(*row) for row in _rows(connection, schema.RETIRED_CHANNELS)),
        conditions={row.condition_id: row for row in conditions},
        next_channel_id=_rows(connection, schema.NEXT_CHANNEL_ID)[0][0],
    )


def _apply(connection: Connection, plan: ImportPlan, source: str, by: str, now_ns: int, revision: int) -> None:
    _write(connection, plan.changes)
    connection.execute(_compiled(schema.SET_NEXT_CHANNEL_ID), {"next_channel_id": plan.next_channel_id})
    _set_revision(connection, revision)
    _append_audit(connection, plan.changes, by, now_ns, revision)
    whole = _audit_row(Action.IMPORTED, Kind.FLEET, source, f"{len(plan.changes)} changes")
    connection.execute(_compiled(schema.APPEND_AUDIT), whole | {"time_ns": now_ns, "by": by, "revision": revision})


def _write(connection: Connection, changes: Iterable[Change]) -> None:
    """In their order; those of one kind that follow one another in one go."""
    for statement, alike in groupby(changes, key=_statement_of):
        connection.execute(_compiled(statement), [_format_row(change.record) for change in alike])


def _append_audit(connection: Connection, changes: Iterable[Change], by: str, now_ns: int, revision: int) -> None:
    stamp = {"time_ns": now_ns, "by": by, "revision": revision}
    rows = [_audit_row(change.action, change.kind, change.key, change.detail) | stamp for change in changes]
    connection.execute(_compiled(schema.APPEND_AUDIT), rows)


def _audit_row(action: Action, kind: Kind, key: str, detail: str) -> dict[str, object]:
    return {"action": action.value, "kind": kind.value, "key": key, "detail": detail}


def _statement_of(change: Change) -> str:
    if change.action is Action.REMOVED:
        return schema.REMOVALS[change.kind]
    if change.kind is Kind.CHANNEL and change.action in _CHANNEL_STATEMENTS:
        return _CHANNEL_STATEMENTS[change.action]
    return schema.UPSERTS[change.kind]
