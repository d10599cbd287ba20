"""Makes a run directory ready for the servers, and the servers ready for their users (a shell)."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import pwd
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy import prepare_run
from deploy.configuration_text import GATEWAY_IDS, HOST, HOST_ID, City, render_broker
from deploy.errors import StartError
from deploy.layout import RunDirectory
from deploy.plan import Program, plan_write_demo
from deploy.ports import PREFERRED_PORTS as CITY_PORTS
from deploy.ports import choose_ports
from deploy.stack import recipe
from deploy.stack.addresses import BROKER, INFLUXDB, POSTGRESQL
from deploy.stack.recipe import Executables, Facts
from deploy.supervise import Supervisor

POSTGRESQL_SYSTEM_USER: Final = "postgres"
READY_PATIENCE_S: Final = 30.0
READY_INTERVAL_S: Final = 0.2
_TRAVERSABLE: Final = 0o711


async def prepare_broker(run: RunDirectory, ports: Mapping[str, int], python: str, supervisor: Supervisor) -> None:
    """Renders Mosquitto's files, with accounts for the stream processor and the demonstration's gateways."""
    for user_name in (HOST_ID, *GATEWAY_IDS):
        prepare_run.read_or_make_secret(run.password(user_name))
    city_ports = {**choose_ports(CITY_PORTS, prepare_run.is_free), "broker": ports[BROKER]}
    await supervisor.run_task(plan_write_demo(run, python, city_ports))
    _write_broker(City(run, city_ports, {}, prepare_run.read_gateways(run), getpass.getuser()))
    command = (python, "-m", "broker_config.cli", "render", "--kind", "mosquitto")
    files = ("--config", run.config("broker"), "--out", run.broker())
    await supervisor.run_task(Program("broker-config", (*command, *files), is_task=True))


def prepare_kafka(run: RunDirectory, ports: Mapping[str, int]) -> None:
    """Writes Kafka's configuration."""
    Path(run.root, "config/kafka.properties").write_text(recipe.render_kafka(run, ports))
    Path(run.root, "config/kafka-log4j2.properties").write_text(recipe.render_kafka_logging())


def prepare_influxdb(run: RunDirectory) -> None:
    """Makes InfluxDB's folder, token and password."""
    Path(run.data(INFLUXDB)).mkdir(mode=0o700, exist_ok=True)
    prepare_run.read_or_make_secret(run.token(INFLUXDB))
    prepare_run.read_or_make_secret(recipe.secret_file(run, INFLUXDB))


def prepare_postgresql(run: RunDirectory, ports: Mapping[str, int]) -> None:
    """Makes PostgreSQL's folder and password. Raises ValueError if its system user cannot get there."""
    password = prepare_run.read_or_make_secret(recipe.secret_file(run, POSTGRESQL))
    _write_private(recipe.password_file_of_libpq(run), recipe.render_libpq_password(ports[POSTGRESQL], password))
    Path(run.root, "config/databases.sql").write_text(recipe.render_databases())
    folder = Path(recipe.postgresql_folder(run))
    if is_postgresql_initialised(run):
        Path(f"{folder}.password").unlink(missing_ok=True)
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    _write_private(f"{folder}.password", password)
    if os.geteuid() == 0:
        _give_to_postgresql(run, folder)


def read_facts(run: RunDirectory) -> Facts:
    """What earlier runs left, and who runs this one."""
    return Facts(
        is_kafka_formatted=Path(recipe.kafka_folder(run), "meta.properties").exists(),
        kafka_cluster_id=secrets.token_urlsafe(16).replace("-", "0"),  # Kafka refuses one that begins with a dash
        is_postgresql_initialised=is_postgresql_initialised(run),
        as_postgresql_user=_as_postgresql_user() if os.geteuid() == 0 else (),
    )


def is_postgresql_initialised(run: RunDirectory) -> bool:
    """Whether `initdb` has run."""
    return Path(recipe.postgresql_folder(run), "PG_VERSION").exists()


async def finish_postgresql(run: RunDirectory, port: int, found: Executables, supervisor: Supervisor) -> None:
    """Waits until PostgreSQL takes connections, then makes the databases that are absent."""
    assert found.postgresql is not None
    await _until_done(recipe.plan_ready_postgresql(port, found.postgresql), supervisor)
    await supervisor.run_task(recipe.plan_databases(run, port, found.postgresql))


def set_up_influxdb(run: RunDirectory, port: int) -> None:
    """Makes organisation, user and token unless that was done. Raises StartError."""
    url = f"http://{HOST}:{port}/api/v2/setup"
    with urllib.request.urlopen(url, timeout=READY_PATIENCE_S) as answer:
        is_new = json.load(answer)["allowed"]
    if not is_new:
        return
    wish = {
        "username": recipe.ORGANISATION,
        "password": Path(recipe.secret_file(run, INFLUXDB)).read_text(),
        "org": recipe.ORGANISATION,
        "bucket": recipe.BUCKET,
        "token": Path(run.token(INFLUXDB)).read_text(),
    }
    request = urllib.request.Request(url, json.dumps(wish).encode(), {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=READY_PATIENCE_S).close()  # noqa: S310 - http, loopback
    except urllib.error.HTTPError as error:
        reason = f"refused its set-up: {error.code} {error.read().decode(errors='replace')}"
        raise StartError(INFLUXDB, reason, run.log(INFLUXDB), "") from None


def _write_broker(city: City) -> None:
    Path(city.run.config("broker")).write_text(render_broker(city))


async def _until_done(program: Program, supervisor: Supervisor) -> None:
    deadline_s = time.monotonic() + READY_PATIENCE_S
    while True:
        try:
            await supervisor.run_task(program)
        except StartError:
            if time.monotonic() > deadline_s:
                raise
            await asyncio.sleep(READY_INTERVAL_S)
        else:
            return


def _as_postgresql_user() -> tuple[str, ...]:
    """PostgreSQL refuses to run as root. A change of user clears the tether's request, hence `--pdeathsig`."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ValueError(
            "PostgreSQL does not run as root, and setpriv is not installed: start the stack as another user"
        )
    user = POSTGRESQL_SYSTEM_USER
    return (setpriv, "--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", "KILL")


def _give_to_postgresql(run: RunDirectory, folder: Path) -> None:
    user = pwd.getpwnam(POSTGRESQL_SYSTEM_USER)
    for path in (folder, Path(f"{folder}.password")):
        os.chown(path, user.pw_uid, user.pw_gid)
    for path in (Path(run.root), folder.parent):
        path.chmod(_TRAVERSABLE)  # names in it stay unreadable; secrets/ stays closed
    command = (*_as_postgresql_user(), "test", "-x", str(folder))
    if subprocess.run(command, check=False, cwd="/").returncode != 0:
        raise ValueError(
            f"root starts PostgreSQL as the user {POSTGRESQL_SYSTEM_USER}, who may not enter {folder}: "
            'name a directory that he may (make stack ARGS="--dir /var/tmp/citysense-stack")'
        )


def _write_private(path: str, text: str) -> None:
    Path(path).unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
