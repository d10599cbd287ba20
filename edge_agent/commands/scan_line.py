"""`edge-agent scan` (shell): who is on a line? Walks baud rates, parities and device ids; no configuration."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Any, Final

from edge_agent.commands.scan_plan import (
    PARITIES,
    USUAL_BAUD_RATES,
    describe_effort,
    describe_found,
    is_device,
    is_noise,
    line_settings,
    parse_device_ids,
)
from edge_agent.drivers import DRIVERS, Driver
from edge_agent.lines.device_poll import Answer, ModbusRequest
from edge_agent.settings.configuration import ModbusRtuBusSettings, ModbusTcpBusSettings

EXIT_FOUND: Final = 0
EXIT_NOBODY: Final = 1
EXIT_USAGE: Final = 2
_NOBODY: Final = {"node_id": "scan", "profile": "scan", "device_id": 1}
"""The settings of a bus want a node; a scan looks for them."""


def add_scan_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describes the command to argparse."""
    text = "find Modbus devices: walks baud rates, parities and device ids; exit code 1 if nobody answers"
    parser = commands.add_parser("scan", help=text, description=text)
    parser.set_defaults(config="")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", metavar="PATH", help="a serial port")
    where.add_argument("--host", metavar="HOST", help="a Modbus TCP endpoint")
    parser.add_argument("--tcp-port", type=int, default=502, metavar="N", help="its port (502)")
    parser.add_argument("--framing", choices=["tcp", "rtu", "ascii"], help="tcp with --host, rtu with --port")
    parser.add_argument("--baud-rates", default=",".join(map(str, USUAL_BAUD_RATES)), metavar="LIST")
    parser.add_argument("--parities", default=",".join(PARITIES), metavar="LIST", help="of N, E and O")
    parser.add_argument("--ids", default="1-247", metavar="LIST", help="device ids: 1-20,31")
    parser.add_argument("--timeout", type=float, default=0.1, metavar="SECONDS", help="for one device (0.1)")
    parser.add_argument("--all", action="store_true", help="go on after the first setting with a device")


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


def _buses(chosen: argparse.Namespace) -> list[tuple[str, str, Any]]:
    """Name, kind and settings of each line to open. Raises ValueError."""
    common = {"bus_id": "scan", "timeout_s": chosen.timeout, "node": [_NOBODY]}
    if chosen.host is not None:
        where = {"kind": "modbus_tcp", "host": chosen.host, "port": chosen.tcp_port, "framing": chosen.framing or "tcp"}
        bus = ModbusTcpBusSettings.model_validate(common | where)
        return [(f"{chosen.host}:{chosen.tcp_port}", "modbus_tcp", bus)]
    if chosen.framing == "tcp":
        raise ValueError("--framing tcp goes with --host")
    baud_rates = [int(one) for one in chosen.baud_rates.split(",")]
    buses = []
    for setting in line_settings(baud_rates, chosen.parities.split(",")):
        where = {
            "kind": "modbus_rtu",
            "port": chosen.port,
            "baud_rate": setting.baud_rate,
            "parity": setting.parity,
            "stop_bits": setting.stop_bits,
            "framing": chosen.framing or "rtu",
        }
        buses.append((f"{chosen.port} {setting}", "modbus_rtu", ModbusRtuBusSettings.model_validate(common | where)))
    return buses


async def _scan(buses: Sequence[tuple[str, str, Any]], ids: Sequence[int], goes_on: bool) -> int:
    """How many devices answered."""
    found = 0
    for name, kind, bus in buses:
        driver = DRIVERS[kind](bus)
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
