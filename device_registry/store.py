"""The fleet and its audit log in one SQLite file (shell).

`schema` says what stands in it. WAL with synchronous=FULL. The service and `device-registry import` may have the file
open at the same time; each call below is one transaction. SQLite's passing troubles (full, locked, I/O) are raised as
StoreUnavailableError after a rollback.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel

from contracts.alarm import ConditionDefinition
from contracts.errors import ConfigurationError
from contracts.fleet import Channel, District, Gateway, LifecycleState, Node, Site
from contracts.identifiers import format_metric_name
from device_registry.audit import Action, AuditEntry, Kind
from device_registry.errors import StoreUnavailableError, StoreVersionError, UnknownNodeError
from device_registry.fleet_file import FleetFile
from device_registry.import_plan import Change, ImportPlan, KnownFleet, format_difference, plan_import
from device_registry.node_life_cycle import check_transition
from device_registry.schema import (
    REMOVALS,
    RESTORE_CHANNEL,
    RETIRE_CHANNEL,
    SCHEMA,
    SCHEMA_VERSION,
    SNAPSHOT,
    UPSERTS,
)

BUSY_TIMEOUT_S: Final = 5.0
"""How long a transaction waits for another process (an import, a backup) before it is given up."""
ROWS_PER_CHUNK: Final = 2_000
"""Records that are made into JSON at once: a few milliseconds, so that the service answers in between."""

RecordT = TypeVar("RecordT", bound=BaseModel)


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
    """The owner of the SQLite file in this process.

    Raises:
        StoreVersionError: the file is of another version.
        StoreUnavailableError: it cannot be opened.
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
            raise StoreUnavailableError(f"{path}: {error}") from error

    def close(self) -> None:
        """Checkpoints the WAL and closes the file."""
        self._connection.close()

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
        with self._transaction():
            before = self._read_revision()
            plan = plan_import(self._read_known_fleet(), wanted, retire_missing=retire_missing)
            if plan.faults:
                raise ConfigurationError(source, plan.faults)
            if plan.changes:
                self._apply(plan, source, by, now_ns, before + 1)
            return Imported(before, self._read_revision(), plan.changes)

    def change_state(self, node_id: str, wanted: LifecycleState, by: str, now_ns: int) -> tuple[Node, int]:
        """Moves a node on in its life; gives it back with the fleet's revision. The same state again changes nothing.

        Raises:
            UnknownNodeError: no node has this name.
            TransitionRefusedError: the life cycle does not lead there.
        """
        with self._transaction():
            before = self._find_node(node_id)
            revision = self._read_revision()
            if before.state is wanted:
                return before, revision
            check_transition(node_id, before.state, wanted)
            node = before.model_copy(update={"state": wanted})
            change = Change(Action.CHANGED, Kind.NODE, node_id, node, format_difference(before, node))
            self._write(change)
            self._set_revision(revision + 1)
            self._append_audit([change], by, now_ns, revision + 1)
            return node, revision + 1

    def read_node(self, node_id: str) -> Node:
        """One node, retired or not. Raises UnknownNodeError."""
        with self._transaction("DEFERRED"):
            return self._find_node(node_id)

    def read_revision(self) -> int:
        """The fleet's revision; 0 for an empty registry."""
        with self._transaction("DEFERRED"):
            return self._read_revision()

    def read_audit(self, limit: int, before_entry: int | None) -> list[AuditEntry]:
        """The newest `limit` entries, newest first; only those before an entry if it is given."""
        newest = 2**63 - 1 if before_entry is None else before_entry
        with self._transaction("DEFERRED"):
            rows = list(
                self._tables("SELECT * FROM audit WHERE entry_id < ? ORDER BY entry_id DESC LIMIT ?", newest, limit)
            )
        return [AuditEntry.model_validate(row) for row in rows]

    def build_snapshot(self) -> Snapshot:
        """The whole fleet as JSON, read in one transaction.

        Written from rows, not from models: 100,000 nodes would be 500,000 objects.
        """
        parts: list[str] = []
        with self._transaction("DEFERRED"):
            revision = self._read_revision()
            for key, sql in SNAPSHOT.items():
                parts.append(f'"{key}":[{",".join(self._json_chunks(sql))}]')
        body = f'{{"revision":{revision},{",".join(parts)}}}'
        return Snapshot(revision, body.encode())

    def _create_schema(self, path: Path) -> None:
        with self._transaction():
            ((found,),) = self._rows("PRAGMA user_version")
            if found == 0:
                for statement in _split_statements(SCHEMA):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif found != SCHEMA_VERSION:
                raise StoreVersionError(str(path), found, SCHEMA_VERSION)

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
            raise StoreUnavailableError(str(error)) from error

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def _tables(self, sql: str, *values: object) -> Iterator[dict[str, Any]]:
        """Rows with their column names."""
        cursor = self._connection.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def _json_chunks(self, sql: str) -> Iterator[str]:
        tables = self._tables(sql)
        while chunk := list(islice(tables, ROWS_PER_CHUNK)):
            yield json.dumps(chunk, ensure_ascii=False, allow_nan=False, separators=(",", ":"))[1:-1]

    def _read_revision(self) -> int:
        ((revision,),) = self._rows("SELECT revision FROM registry")
        return int(revision)

    def _set_revision(self, revision: int) -> None:
        self._connection.execute("UPDATE registry SET revision = ?", (revision,))

    def _find_node(self, node_id: str) -> Node:
        rows = list(self._tables("SELECT * FROM node WHERE node_id = ?", node_id))
        if not rows:
            raise UnknownNodeError(node_id)
        return Node.model_validate(rows[0])

    def _read_known_fleet(self) -> KnownFleet:
        ((next_channel_id,),) = self._rows("SELECT next_channel_id FROM registry")
        channels = self._records(Channel, "SELECT channel_id, node_id, quantity FROM channel")
        retired = self._rows("SELECT node_id, quantity FROM channel WHERE is_retired")
        return KnownFleet(
            districts={row.district_id: row for row in self._records(District, "SELECT * FROM district")},
            sites={row.site_id: row for row in self._records(Site, "SELECT * FROM site")},
            gateways={row.gateway_id: row for row in self._records(Gateway, "SELECT * FROM gateway")},
            nodes={row.node_id: row for row in self._records(Node, "SELECT * FROM node")},
            channels={format_metric_name(row.node_id, row.quantity): row for row in channels},
            retired_channels=frozenset(format_metric_name(*row) for row in retired),
            conditions={row.condition_id: row for row in self._records(ConditionDefinition, "SELECT * FROM condition")},
            next_channel_id=next_channel_id,
        )

    def _records(self, model: type[RecordT], sql: str) -> Iterator[RecordT]:
        return (model.model_validate(row) for row in self._tables(sql))

    def _apply(self, plan: ImportPlan, source: str, by: str, now_ns: int, revision: int) -> None:
        for change in plan.changes:
            self._write(change)
        self._connection.execute("UPDATE registry SET next_channel_id = ?", (plan.next_channel_id,))
        self._set_revision(revision)
        self._append_audit(plan.changes, by, now_ns, revision)
        self._connection.execute(
            "INSERT INTO audit VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            (now_ns, by, revision, Action.IMPORTED.value, Kind.FLEET.value, source, f"{len(plan.changes)} changes"),
        )

    def _write(self, change: Change) -> None:
        self._connection.execute(_statement_of(change), change.record.model_dump(mode="json"))

    def _append_audit(self, changes: Iterable[Change], by: str, now_ns: int, revision: int) -> None:
        self._connection.executemany(
            "INSERT INTO audit VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            (
                (now_ns, by, revision, change.action.value, change.kind.value, change.key, change.detail)
                for change in changes
            ),
        )


def _statement_of(change: Change) -> str:
    if change.action is Action.REMOVED:
        return REMOVALS[change.kind]
    if change.kind is Kind.CHANNEL and change.action is Action.RETIRED:
        return RETIRE_CHANNEL
    if change.action is Action.RESTORED:
        return RESTORE_CHANNEL
    return UPSERTS[change.kind]


def _split_statements(script: str) -> Iterator[str]:
    """One statement at a time: `executescript` would commit the transaction that it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
