"""Runs the field devices of a configuration until a signal comes. A shell."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from simulators.configuration import FieldSettings, ModbusRtuSettings, ModbusTcpSettings
from simulators.field import AnyCommand, Field, FieldBus, JsonObject
from simulators.instrument import InstrumentLibrary
from simulators.order import StatusCommand
from simulators.serve_control import ControlServer
from simulators.serve_modbus_tcp import ModbusTcpServer
from simulators.serve_serial import ModbusRtuServer, WinsenServer
from simulators.served_ledger import ServedLedger

_logger = logging.getLogger(__name__)
_OUTAGE_STEP_S: Final = 0.1
"""How late a line may be lost and come back."""


class BusServer(Protocol):
    """What the servers of all kinds of bus have in common."""

    bus: FieldBus

    @property
    def is_open(self) -> bool:
        """Whether the listener or port is there."""

    @property
    def address(self) -> str:
        """Where a client finds it."""

    async def open(self) -> None:
        """Makes it."""

    async def close(self) -> None:
        """Takes it away."""


def make_clock(start_ns: int) -> Callable[[], int]:
    """Nanoseconds since 1970 that go on evenly from `start_ns`, however the system's clock is set."""
    origin_ns = time.monotonic_ns()
    return lambda: start_ns + time.monotonic_ns() - origin_ns


async def run_field(settings: FieldSettings, folder: Path, instruments: InstrumentLibrary) -> None:
    """Serves until SIGTERM or SIGINT. `folder`: where relative paths of the configuration begin."""
    start_ns = time.time_ns()
    clock = make_clock(start_ns)
    field = Field(settings, instruments, start_ns)
    ledger_path = settings.field.served_ledger
    ledger = ServedLedger(folder / ledger_path) if ledger_path is not None else None
    servers = [_build_server(bus, folder, clock, ledger) for bus in field.buses]
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    control = _build_control(settings, folder, field, servers, clock)
    try:
        for server in servers:
            await server.open()
            _logger.info("bus_open bus=%s kind=%s at=%s", server.bus.bus_id, server.bus.settings.kind, server.address)
        if control is not None:
            await control.open()
        _log_scenario(field)
        _logger.info("field_ready nodes=%d", sum(len(bus.settings.node) for bus in field.buses))
        await _watch_lines(field, servers, clock, stopped)
    finally:
        for server in servers:
            await server.close()
        if control is not None:
            await control.close()
        if ledger is not None:
            ledger.close()
        _logger.info("field_stopped")


def _build_server(bus: FieldBus, folder: Path, clock: Callable[[], int], ledger: ServedLedger | None) -> BusServer:
    settings = bus.settings
    if isinstance(settings, ModbusTcpSettings):
        return ModbusTcpServer(bus, clock, ledger)
    if isinstance(settings, ModbusRtuSettings):
        return ModbusRtuServer(bus, folder / settings.link, clock, ledger)
    return WinsenServer(bus, folder / settings.link, clock, ledger)


def _build_control(
    settings: FieldSettings, folder: Path, field: Field, servers: Sequence[BusServer], clock: Callable[[], int]
) -> ControlServer | None:
    if settings.field.control is None:
        return None

    def execute(command: AnyCommand) -> JsonObject:
        answer = field.execute(command, clock())
        if isinstance(command, StatusCommand):
            answer["addresses"] = {server.bus.bus_id: server.address for server in servers}
        return answer

    return ControlServer(folder / settings.field.control, execute)


async def _watch_lines(
    field: Field, servers: Sequence[BusServer], clock: Callable[[], int], stopped: asyncio.Event
) -> None:
    while not stopped.is_set():
        for server in servers:
            is_lost = field.is_line_lost(server.bus.bus_id, clock())
            if is_lost == server.is_open:
                _logger.info("line_%s bus=%s", "lost" if is_lost else "back", server.bus.bus_id)
                await (server.close() if is_lost else server.open())
        try:
            await asyncio.wait_for(stopped.wait(), _OUTAGE_STEP_S)
        except TimeoutError:
            continue


def _log_scenario(field: Field) -> None:
    for event in field.settings.event:
        _logger.info("scheduled kind=%s node=%s at_s=%g", event.kind, event.node, event.at_s)
    for order in field.settings.fault:
        _logger.info(
            "scheduled kind=%s subject=%s at_s=%g for_s=%g", order.kind, order.subject_id, order.at_s, order.for_s
        )
