"""Finds the servers: installed, in the cache, or to be made with the tools that are here (a shell)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from deploy.errors import MissingToolsError
from deploy.prepare_run import find_tools
from deploy.stack.addresses import BROKER, INFLUXDB, KAFKA, POSTGRESQL, VARIABLES
from deploy.stack.build_influxdb import build_influxdb, influxdb_entry
from deploy.stack.fetch_kafka import fetch_kafka, kafka_entry
from deploy.stack.recipe import Executables

PACKAGES: Final = {
    "mosquitto": "mosquitto",
    "java": "openjdk-17-jre-headless",
    "mvn": "maven",
    "go": "golang",
    "cargo": "rustup",
    "cc": "gcc",
    "postgres": "postgresql",
}
"""Debian's package of each tool."""
POSTGRESQL_PROGRAMS: Final = ("postgres", "initdb", "psql", "pg_isready")


def find_servers(wanted: Collection[str], say: Callable[[str], None], *, may_make: bool = True) -> Executables:
    """What to start for these servers.

    Args:
        wanted: names of servers.
        say: told what is fetched or built.
        may_make: fetch or build what is absent; otherwise it counts as missing.

    Raises:
        MissingToolsError: one line for each server that cannot be had. Nothing was fetched or built.
        BuildError: fetching or building failed.
    """
    lines = tuple(line for name in wanted if (line := why_not(name, may_make=may_make)))
    if lines:
        raise MissingToolsError(lines)
    found = Executables()
    if BROKER in wanted:
        found = replace(found, mosquitto=find_tools("auto").mosquitto)
    if POSTGRESQL in wanted:
        found = replace(found, postgresql=_installed_postgresql())
    if KAFKA in wanted:
        jars = _installed_kafka() or str(fetch_kafka("mvn", say))
        found = replace(found, java=shutil.which("java"), kafka_jars=jars)
    if INFLUXDB in wanted:
        influxd = _installed_influxd() or str(build_influxdb("go", say))
        found = replace(found, influxd=influxd)
    return found


def why_not(server: str, *, may_make: bool) -> str | None:
    """Why a server cannot be started here, in one line; None if it can."""
    if not may_make and server in {KAFKA, INFLUXDB} and not _is_at_hand(server):
        return f"{server}: not in the cache of this machine (make stack fetches or builds it)"
    absent = _missing_tools(server)
    if not absent:
        return None
    packages = " ".join(PACKAGES[name] for name in absent)
    return (
        f"{server}: {', '.join(absent)} not installed (Debian: apt install {packages}); "
        f"or name a server of yours in {VARIABLES[server]}"
    )


def _missing_tools(server: str) -> list[str]:
    if server == BROKER:
        return [] if find_tools("auto").mosquitto else ["mosquitto"]
    if server == POSTGRESQL:
        return [] if _installed_postgresql() else ["postgres"]
    making = () if _is_at_hand(server) else {KAFKA: ("mvn",), INFLUXDB: ("go", "cargo", "cc")}[server]
    running = ("java",) if server == KAFKA else ()
    return [name for name in (*running, *making) if shutil.which(name) is None]


def _is_at_hand(server: str) -> bool:
    if server == KAFKA:
        return _installed_kafka() is not None or kafka_entry().is_dir()
    return _installed_influxd() is not None or influxdb_entry().is_dir()


def _installed_kafka() -> str | None:
    """The folder of the jars of an installed Kafka 4, by KAFKA_HOME or by its start script on the PATH."""
    script = shutil.which("kafka-server-start.sh")
    homes = [Path(os.environ["KAFKA_HOME"])] if os.environ.get("KAFKA_HOME") else []
    homes += [Path(script).resolve().parents[1]] if script else []
    return next((str(home / "libs") for home in homes if any((home / "libs").glob("kafka_2.13-4.*.jar"))), None)


def _installed_influxd() -> str | None:
    """`influxd` of the PATH if it is a 2.x: 1.8 and 3 are started otherwise (name their address instead)."""
    influxd = shutil.which("influxd")
    if influxd is None:
        return None
    told = subprocess.run((influxd, "version"), capture_output=True, text=True, check=False, timeout=20).stdout
    return influxd if re.search(r"InfluxDB v?2\.", told) else None


def _installed_postgresql() -> str | None:
    """The folder of PostgreSQL's programs: of the PATH, else the newest of Debian's."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    folders += sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    return next(
        (str(folder) for folder in folders if all((folder / name).exists() for name in POSTGRESQL_PROGRAMS)), None
    )
