"""Events and journals for the tests of the alarm service; each test with a journal runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from alarm_service.database import PostgresqlAddress
from alarm_service.journal import Journal
from contracts.alarm import ConditionEvent
from contracts.condition import ConditionState

SECOND_NS = 1_000_000_000
START_NS = 1_790_000_000 * SECOND_NS


@pytest.fixture
def at() -> Callable[[float], int]:
    """Seconds of the test's story → nanoseconds UTC."""
    return lambda second: START_NS + round(second * SECOND_NS)


@pytest.fixture
def make_event(at: Callable[[float], int]) -> Callable[..., ConditionEvent]:
    """`make_event("active", 5.0)`: the condition became active in second 5; any field by keyword."""

    def make(state: str, second: float, **fields: object) -> ConditionEvent:
        condition_id = str(fields.get("condition_id", "gas-1-high"))
        told = {
            "event_id": hashlib.md5(f"{condition_id} {state} {second}".encode()).hexdigest(),
            "condition_id": condition_id,
            "channel_id": 7,
            "state": ConditionState(state),
            "phenomenon_ns": at(second),
            "detected_ns": at(second + 0.1),
            "value": 26.5 if state == "active" else 18.0,
            "input_value": 26.5 if state == "active" else 18.0,
            "set_point": 25.0,
            "priority": 1,
            "colour": "red",
            "title": "Methane above 25 %LEL",
            "gateway_id": "gw-1",
            "node_id": "gas-1",
            "site_id": "station-1",
            "district_id": "north",
            "quantity": "methane_lel",
            "unit": "%{LEL}",
        }
        return ConditionEvent.model_validate(told | fields)

    return make


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgresql)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | PostgresqlAddress]:
    """Where a journal may stand, with nothing there yet."""
    if request.param == "sqlite":
        yield tmp_path / "alarms.sqlite"
        return
    server = request.getfixturevalue("postgresql_server")
    yield PostgresqlAddress(server.empty_database("alarms"), server.password_file)


@pytest.fixture
def journal(place: Path | PostgresqlAddress) -> Iterator[Journal]:
    with Journal(place) as journal:
        yield journal


@pytest.fixture
def intrude(request: pytest.FixtureRequest, place: Path | PostgresqlAddress) -> Callable[[str], None]:
    """`intrude("DELETE FROM journal")`: somebody with a console."""

    def execute(*statements: str) -> None:
        if isinstance(place, Path):
            client: object = sqlite3.connect(place, isolation_level=None)
        else:
            client = request.getfixturevalue("postgresql_server").connect(place.url.rpartition("/")[2])
        with contextlib.closing(client):
            for statement in statements:
                client.execute(statement)

    return execute


@pytest.fixture
def in_trouble(
    request: pytest.FixtureRequest, place: Path | PostgresqlAddress, journal: Journal
) -> Callable[[], AbstractContextManager[None]]:
    """`with in_trouble():` the journal cannot be written, and will be again."""

    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        if isinstance(place, Path):
            ours = journal._database._engine.raw_connection()
            ours.driver_connection.execute("PRAGMA busy_timeout = 0")
            ours.close()
            client = sqlite3.connect(place, isolation_level=None)
            client.execute("BEGIN IMMEDIATE")
        else:
            client = request.getfixturevalue("postgresql_server").connect(place.url.rpartition("/")[2])
            client.execute("BEGIN")
            client.execute("LOCK TABLE alarm")
        with contextlib.closing(client):
            yield
            client.execute("ROLLBACK")

    return locked
