"""`alarm-service`: takes alarm conditions, keeps alarms, answers people's pages (shell).

    alarm-service run --config FILE
    alarm-service check-config --config FILE
    alarm-service --version

Exit codes: 0 stopped by SIGTERM or SIGINT, or the configuration is sound; 1 the journal cannot be opened or another
service has it, or the port is taken; 2 the configuration has faults, all of them on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from alarm_service.configuration import AlarmServiceSettings
from alarm_service.database import PostgresqlAddress
from alarm_service.desk import AlarmDesk
from alarm_service.errors import AlarmServiceError
from alarm_service.http_api import create_app
from alarm_service.journal import Journal
from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError, Fault
from contracts.store import StoreSettings

if TYPE_CHECKING:
    from alarm_service.kafka_to_journal import ConditionReader

SHUTDOWN_GRACE_S: Final = 2
"""How long requests under way may take to end after SIGTERM, before they are cut."""

_logger = logging.getLogger("alarm_service")


class _Server(uvicorn.Server):
    """A server that leaves the signals to `_serve`: uvicorn would raise them again and not exit with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main() -> None:
    """Entry point of `alarm-service`."""
    arguments = _parse_arguments()
    try:
        settings = _read_settings(arguments.config)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if arguments.command == "check-config":
        print(f"{arguments.config}: ok")
        return
    _start_logging()
    try:
        _run(settings, arguments.config.parent)
    except (AlarmServiceError, OSError) as error:
        _logger.critical("event=cannot_start error=%r", str(error))
        sys.exit(1)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="alarm-service", description="ISA-18.2 alarms with a durable journal.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_read_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (("run", "serve until SIGTERM"), ("check-config", "name all faults, then exit")):
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML configuration")
    return parser.parse_args()


def _read_version() -> str:
    try:
        return version("citysense")
    except PackageNotFoundError:
        return "0+unknown"


def _read_settings(path: Path) -> AlarmServiceSettings:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), [Fault("$", f"cannot be read: {error}")]) from error
    return parse_settings(AlarmServiceSettings, text, str(path))


def _start_logging() -> None:
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _run(settings: AlarmServiceSettings, folder: Path) -> None:
    place = _find_place(settings.store, folder)
    with (
        Journal(place) as journal,
        contextlib.closing(AlarmDesk(journal, time.time_ns)) as desk,
        _listen(settings.http.host, settings.http.port) as listener,
    ):
        host, port = listener.getsockname()[:2]
        _logger.info("event=listening host=%s port=%d store=%s", host, port, place)
        asyncio.run(_serve(settings, desk, listener))
    _logger.info("event=stopped")


def _find_place(store: StoreSettings, folder: Path) -> Path | PostgresqlAddress:
    if store.path is not None:
        return folder / store.path
    assert store.url is not None, "checked with the configuration"
    return PostgresqlAddress(store.url, folder / store.password_file if store.password_file else None)


def _listen(host: str, port: int) -> socket.socket:
    """Sockets accepted from it send at once: asyncio leaves that to us, and 40 ms a request is what it costs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _serve(settings: AlarmServiceSettings, desk: AlarmDesk, listener: socket.socket) -> None:
    """Serves and reads until SIGTERM or SIGINT, then wakes the long polls so that none delays the end."""
    reader = _make_reader(settings, desk)
    config = uvicorn.Config(
        create_app(desk, settings.principal, reader.health if reader else None),
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
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    reading = asyncio.create_task(reader.run() if reader else stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    reading.cancel()
    await desk.wake_waiters()
    await serving
    await asyncio.gather(reading, return_exceptions=True)


def _make_reader(settings: AlarmServiceSettings, desk: AlarmDesk) -> ConditionReader | None:
    """None, and no Kafka client in memory, where the configuration names no Kafka."""
    if settings.kafka is None:
        return None
    from alarm_service.kafka_to_journal import ConditionReader  # noqa: PLC0415

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a line a second while Kafka is away; the reader says it
    return ConditionReader(settings.kafka, desk)


if __name__ == "__main__":
    main()
