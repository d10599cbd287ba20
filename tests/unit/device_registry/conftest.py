"""Fleet files and stores for the tests of the device registry, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path

import pytest

from device_registry.database import WRITE_LOCK_KEY, PostgresqlAddress
from device_registry.store import Store

PLACES = """
[[district]]
district_id = "north"
name = "North"
[[site]]
site_id = "station"
district_id = "north"
domain = "gas"
name = "Station"
latitude = 30.0
longitude = 114.0
[[gateway]]
gateway_id = "gw"
district_id = "north"
name = "Cabinet"
"""


@pytest.fixture
def example() -> str:
    return files("device_registry").joinpath("example_fleet.toml").read_text(encoding="utf-8")


@pytest.fixture
def make_fleet():
    """`make_fleet({"gas-1": ["methane_lel"]})`: a fleet file; each channel with a condition, if it is methane.

    `scores={"methane_lel": ["score_novelty"]}` gives the channels of a quantity scores of their own.
    """

    def make(
        nodes: dict[str, list[str]],
        set_point: float = 25.0,
        state: str = "active",
        scores: dict[str, list[str]] | None = None,
    ) -> str:
        text = PLACES
        for node_id, quantities in nodes.items():
            text += f'[[node]]\nnode_id = "{node_id}"\ngateway_id = "gw"\nbus_id = "bus"\nsite_id = "station"\n'
            text += f'model = "m"\nstate = "{state}"\n'
            for quantity in quantities:
                text += f'[[node.channel]]\nquantity = "{quantity}"\n'
                if quantity in (scores or {}):
                    text += f"scores = {scores[quantity]}\n"
                if quantity == "methane_lel":
                    text += f'[[node.channel.condition]]\ncondition_id = "{node_id}-high"\nset_point = {set_point}\n'
                    text += 'priority = 1\ncolour = "red"\ntitle = "Methane high"\n'
        return text

    return make


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgresql)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | PostgresqlAddress]:
    """Where a registry may stand, with nothing there yet."""
    if request.param == "sqlite":
        yield tmp_path / "fleet.sqlite"
        return
    server = request.getfixturevalue("postgresql_server")
    yield PostgresqlAddress(server.empty_database("fleet"), server.password_file)


@pytest.fixture
def store(place: Path | PostgresqlAddress) -> Iterator[Store]:
    with Store(place, is_service=True) as store:
        yield store


@pytest.fixture
def intrude(request: pytest.FixtureRequest, place: Path | PostgresqlAddress) -> Callable[[str], None]:
    """`intrude("DELETE FROM audit")`: somebody with a console."""

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
    request: pytest.FixtureRequest, place: Path | PostgresqlAddress, store: Store
) -> Callable[[], AbstractContextManager[None]]:
    """`with in_trouble():` the registry cannot be written, and will be again."""

    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        if isinstance(place, Path):
            ours = store._database._engine.raw_connection()
            ours.driver_connection.execute("PRAGMA busy_timeout = 0")
            ours.close()
            client = sqlite3.connect(place, isolation_level=None)
            client.execute("BEGIN IMMEDIATE")
        else:
            ours = store._database._engine.raw_connection()
            ours.driver_connection.execute("SET lock_timeout = 100")
            ours.driver_connection.commit()
            ours.close()
            client = request.getfixturevalue("postgresql_server").connect(place.url.rpartition("/")[2])
            client.execute("BEGIN")
            client.execute("SELECT pg_advisory_xact_lock(%s)", (WRITE_LOCK_KEY,))
        with contextlib.closing(client):
            yield
            client.execute("ROLLBACK")

    return locked
