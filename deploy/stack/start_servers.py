"""Starts the servers that `citysense run --stack` needs beside the broker, and makes them ready (a shell)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from deploy.layout import RunDirectory
from deploy.plan import Program
from deploy.stack import prepare_servers, recipe
from deploy.stack.addresses import INFLUXDB, KAFKA, POSTGRESQL
from deploy.stack.find_servers import find_servers
from deploy.stack.recipe import Executables
from deploy.supervise import Supervisor

WANTED: Final = (KAFKA, INFLUXDB, POSTGRESQL)
PORTS: Final[Mapping[str, int]] = {
    name: recipe.PREFERRED_PORTS[name] for name in (KAFKA, "kafka-controller", INFLUXDB, POSTGRESQL)
}


def find(say: Callable[[str], None]) -> Executables:
    """The executables, fetched or built if they are absent. Raises MissingToolsError, BuildError."""
    return find_servers(WANTED, say)


async def start_servers(
    run: RunDirectory, ports: Mapping[str, int], found: Executables, supervisor: Supervisor
) -> tuple[Program, ...]:
    """Returns when all take connections, with databases, organisation and token made. Raises StartError."""
    assert found.postgresql is not None  # it was wanted
    prepare_servers.prepare_kafka(run, ports)
    prepare_servers.prepare_influxdb(run)
    prepare_servers.prepare_postgresql(run, ports)
    programs = recipe.plan_servers(run, ports, found, prepare_servers.read_facts(run))
    await supervisor.start(programs)
    await prepare_servers.finish_postgresql(run, ports[POSTGRESQL], found, supervisor)
    await asyncio.to_thread(prepare_servers.set_up_influxdb, run, ports[INFLUXDB])
    return programs
