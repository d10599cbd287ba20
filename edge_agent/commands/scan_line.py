"""`edge-agent scan` (shell): who is on a line? Walks baud rates, parities and device ids; no configuration."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Final

from edge_agent.commands.scan_plan import (
    describe_effort,
    describe_found,
    is_device,
    is_noise,
    line_settings,
    parse_device_ids,
)
from edge_agent.drivers import DRIVERS, Driver
from edge_agent.lines.device_poll import Answer, ModbusRequest
from edge_agent.settings.line_settings import LineSettings, ModbusRtuLineSettings, ModbusTcpLineSettings

EXIT_FOUND: Final = 0
EXIT_NOBODY: Final = 1
EXIT_USAGE: Final = 2


def scan_command(chosen: argparse.Namespace) -> int:
    """Does what the arguments say; gives the exit code. Raises LineLostError if the line cannot be opened."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    try:
        ids = parse_device_ids(chosen.ids)
        buses = _buses(chosen)
    except ValueError as error:
        print(f"edge-agent scan: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(describe_effort(len(buses), len(ids), chosen.timeout), file=sys.stderr)
    found = asyncio.run(_scan(buses, ids, chosen.all))
    print(f"{found} device{'' if found == 1 else 's'} found", file=sys.stderr)
    return EXIT_FOUND if found else EXIT_NOBODY


def _buses(chosen: argparse.Namespace) -> list[tuple[str, LineSettings]]:
    """Name and settings of each line to open. Raises ValueError."""
    from contracts.configuration import check_settings  # noqa: PLC0415  # no weight on the agent that runs

    common = {"bus_id": "scan", "timeout_s": chosen.timeout}
    if chosen.host is not None:
        where = {"kind": "modbus_tcp", "host": chosen.host, "port": chosen.tcp_port, "framing": chosen.framing or "tcp"}
        endpoint = check_settings(ModbusTcpLineSettings, common | where, "scan")
        return [(f"{chosen.host}:{chosen.tcp_port}", endpoint)]
    if chosen.framing == "tcp":
        raise ValueError("--framing tcp goes with --host")
    baud_rates = [int(one) for one in chosen.baud_rates.split(",")]
    buses: list[tuple[str, LineSettings]] = []
    for setting in line_settings(baud_rates, chosen.parities.split(",")):
        where = {
            "kind": "modbus_rtu",
            "port": chosen.port,
            "baud_rate": setting.baud_rate,
            "parity": setting.parity,
            "stop_bits": setting.stop_bits,
            "framing": chosen.framing or "rtu",
        }
        buses.append((f"{chosen.port} {setting}", check_settings(ModbusRtuLineSettings, common | where, "scan")))
    return buses


async def _scan(buses: Sequence[tuple[str, LineSettings]], ids: Sequence[int], goes_on: bool) -> int:
    """How many devices answered."""
    found = 0
    for name, bus in buses:
        driver = DRIVERS[bus.kind](bus)
        try:
            await driver.open()
            found += await _scan_line(name, driver, ids)
        finally:
            driver.close()
        if found and not goes_on:
            break
    return found


async def _scan_line(name: str, driver: Driver, ids: Sequence[int]) -> int:
    """Asks every id at one setting of the line."""
    found, noises = 0, 0
    for device_id in ids:
        _show_progress(f"{name}  device_id {device_id}")
        answer: Answer = await driver.exchange(ModbusRequest(device_id, 3, 0, 1))
        noises += is_noise(answer)
        if is_device(answer):
            found += 1
            _show_progress("")
            print(describe_found(name, device_id, answer), flush=True)
    _show_progress("")
    if noises and not found:
        print(f"{name}  {noises} answers that are no Modbus at this setting: another speed or parity?", flush=True)
    return found


def _show_progress(text: str) -> None:
    """One line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)
