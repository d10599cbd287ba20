"""`device-registry`: imports a fleet file, serves the fleet (shell).

    device-registry import --config FILE [--retire-missing] FLEET.toml
    device-registry run --config FILE
    device-registry check-config --config FILE
    device-registry --version

Exit codes: 0 done, or stopped by SIGTERM or SIGINT; 1 the store cannot be opened or written, or another service has it,
or the port is taken; 2 the configuration or the fleet file has faults, all of them on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import logging
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import uvicorn

from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError, Fault
from contracts.store import StoreSettings
from device_registry.configuration import RegistrySettings
from device_registry.database import PostgresqlAddress
from device_registry.errors import RegistryError
from device_registry.fleet_file import parse_fleet_file
from device_registry.http_api import create_app
from device_registry.snapshot_feed import SnapshotFeed
from device_registry.store import Imported, Store

SHUTDOWN_GRACE_S: Final = 2
"""How long requests under way may take to end after SIGTERM, before they are cut."""

_logger = logging.getLogger("device_registry")


class _Server(uvicorn.Server):
    """A server that leaves the signals to `_serve`: uvicorn would raise them again and not exit with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main() -> None:
    """Entry point of `device-registry`."""
    arguments = _parse_arguments()
    try:
        settings = _read_settings(arguments.config)
        place = _find_place(settings.store, arguments.config.parent)
        if arguments.command == "check-config":
            print(f"{arguments.config}: ok")
        elif arguments.command == "import":
            _import(place, arguments.fleet, retire_missing=arguments.retire_missing)
        else:
            _start_logging()
            _run(settings, place)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except (RegistryError, OSError) as error:
        print(f"device-registry: {error}", file=sys.stderr)
        sys.exit(1)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="device-registry", description="What stands where in the city.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_read_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    purposes = {
        "run": "serve until SIGTERM",
        "check-config": "name all faults, then exit",
        "import": "make the registry what a fleet file says",
    }
    for name, purpose in purposes.items():
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML configuration")
    command.add_argument("fleet", type=Path, metavar="FLEET.toml", help="the fleet file")
    command.add_argument(
        "--retire-missing",
        action="store_true",
        help="retire nodes and channels that are no longer in the file, and remove such conditions and places",
    )
    return parser.parse_args()


def _read_version() -> str:
    try:
        return version("citysense")
    except PackageNotFoundError:
        return "0+unknown"


def _read_settings(path: Path) -> RegistrySettings:
    return parse_settings(RegistrySettings, _read_text(path), str(path))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), [Fault("$", f"cannot be read: {error}")]) from error


def _start_logging() -> None:
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _find_place(store: StoreSettings, folder: Path) -> Path | PostgresqlAddress:
    if store.path is not None:
        return folder / store.path
    assert store.url is not None, "checked with the configuration"
    return PostgresqlAddress(store.url, folder / store.password_file if store.password_file else None)


def _import(place: Path | PostgresqlAddress, fleet_path: Path, *, retire_missing: bool) -> None:
    wanted = parse_fleet_file(_read_text(fleet_path), str(fleet_path))
    with Store(place) as store:
        imported = store.import_fleet(
            wanted, str(fleet_path), f"cli:{_find_user()}", time.time_ns(), retire_missing=retire_missing
        )
    print(f"{fleet_path}: {_format_import(imported)}")


def _find_user() -> str:
    """Who runs this, for the audit log; the number where the system has no name for it (a container)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _format_import(imported: Imported) -> str:
    """`revision 1 → 2: node added 200, channel added 600`."""
    if not imported.changes:
        return f"revision {imported.revision}: nothing to change"
    counts = Counter(f"{change.kind.value} {change.action.value}" for change in imported.changes)
    listed = ", ".join(f"{what} {count}" for what, count in counts.items())
    return f"revision {imported.revision_before} → {imported.revision}: {listed}"


def _run(settings: RegistrySettings, place: Path | PostgresqlAddress) -> None:
    with (
        Store(place, is_service=True) as store,
        contextlib.closing(SnapshotFeed(store, time.time_ns)) as feed,
        _listen(settings.http.host, settings.http.port) as listener,
    ):
        host, port = listener.getsockname()[:2]
        _logger.info("event=listening host=%s port=%d store=%s", host, port, place)
        asyncio.run(_serve(settings, feed, listener))
    _logger.info("event=stopped")


def _listen(host: str, port: int) -> socket.socket:
    """Sockets accepted from it send at once: asyncio leaves that to us, and 40 ms a request is what it costs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _serve(settings: RegistrySettings, feed: SnapshotFeed, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT (or a broken store), then wakes the long polls so that none delays the end."""
    config = uvicorn.Config(
        create_app(feed, settings.principal),
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )
    server = _Server(config)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    watching = asyncio.create_task(feed.watch_store())
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopping, watching), return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await feed.wake_waiters()
    await serving
    await watching
    stopping.cancel()


if __name__ == "__main__":
    main()
