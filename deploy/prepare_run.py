"""Makes a run directory ready: its lock, folders, secrets, ports and configuration files (a shell)."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import secrets
import shutil
import socket
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from deploy import configuration_text, layout
from deploy.announcement import Happening, read_happenings
from deploy.configuration_text import HOST, City, GatewayAccount
from deploy.errors import DirectoryInUseError
from deploy.layout import RunDirectory
from deploy.plan import FieldFacts, Tools

TOKEN_BYTES: Final = 32
_SYSTEM_FOLDERS: Final = os.pathsep.join(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"])


@contextlib.contextmanager
def held(run: RunDirectory) -> Iterator[None]:
    """Holds the run directory, made if absent. Raises DirectoryInUseError if somebody else does."""
    Path(run.root).mkdir(mode=0o700, parents=True, exist_ok=True)
    with Path(run.lock).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DirectoryInUseError(run.root, lock.read().strip() or "unknown") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def move_away(run: RunDirectory) -> str | None:
    """Moves all that earlier runs left beside the run directory; returns where to, or None if there was nothing."""
    left = [path for path in Path(run.root).iterdir() if path != Path(run.lock)]
    if not left:
        return None
    target = Path(f"{run.root}.before-{time.strftime('%Y%m%d-%H%M%S')}")
    target.mkdir(mode=0o700)
    for path in left:
        path.rename(target / path.name)
    return str(target)


def make_folders(run: RunDirectory) -> None:
    """Folders of the layout, and an empty place for the logs of this run."""
    for folder in (*layout.FOLDERS, "data/broker", "data/spool"):
        Path(run.root, folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    for log in Path(run.root, "log").glob("*.log"):
        log.replace(log.with_suffix(".log.1"))
    Path(run.state).unlink(missing_ok=True)


def find_tools(broker: str) -> Tools:
    """The executables.

    Args:
        broker: auto, mosquitto or rumqttd.

    Raises:
        FileNotFoundError: mosquitto is wanted and absent.
    """
    if broker == "rumqttd":
        return Tools(sys.executable, None)
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SYSTEM_FOLDERS)
    if broker == "mosquitto" and mosquitto is None:
        raise FileNotFoundError("mosquitto is not installed (Debian: apt install mosquitto)")
    return Tools(sys.executable, mosquitto)


def is_free(port: int) -> bool:
    """Whether a program could listen there now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def read_or_make_secret(path: str) -> str:
    """The secret in a file; a new random one if the file is absent."""
    with contextlib.suppress(FileNotFoundError):
        return Path(path).read_text().strip()
    secret = secrets.token_urlsafe(TOKEN_BYTES)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
    return secret


def read_gateways(run: RunDirectory) -> tuple[GatewayAccount, ...]:
    """The gateways of the fleet that `write-demo` wrote."""
    fleet = _read_toml(run.demo("fleet.toml"))
    return tuple(GatewayAccount(row["gateway_id"], row["district_id"]) for row in fleet["gateway"])


def read_field(run: RunDirectory) -> tuple[FieldFacts, tuple[Happening, ...]]:
    """Where the simulated devices will answer, and what will happen to them."""
    document = _read_toml(run.demo("field.toml"))
    happenings = read_happenings(document, _read_toml(run.demo("fleet.toml")))
    buses = document["bus"]
    ports = tuple(bus["port"] for bus in buses if isinstance(bus.get("port"), int))
    links = tuple(str(Path(run.demo(), bus["link"])) for bus in buses if "link" in bus)
    return FieldFacts(ports, links), happenings


def write_configurations(
    run: RunDirectory, ports: Mapping[str, int], renderers: Mapping[str, Callable[[City], str]]
) -> City:
    """Makes the secrets and writes every program's file; `write-demo` must have run."""
    tokens = {name: read_or_make_secret(run.token(name)) for name in configuration_text.PRINCIPALS}
    for user_name in (configuration_text.HOST_ID, *configuration_text.GATEWAY_IDS):
        read_or_make_secret(run.password(user_name))
    city = City(run, ports, tokens, read_gateways(run), getpass.getuser())
    for name, render in renderers.items():
        Path(run.config(name)).write_text(render(city))
    return city


def _read_toml(path: str) -> dict[str, Any]:
    return tomllib.loads(Path(path).read_text())
