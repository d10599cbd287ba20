"""The registry of drivers: one module and one line each. A driver carries bytes; it decides nothing.

A driver opens a line, exchanges one request for one answer at a time, and closes. What can go wrong with one
device is an answer (a `Reason`); what goes wrong with the line is raised (`LineLostError`).

A listener opens a port that stations call, and hands every line of it to a conversation (`listen_bus`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from edge_agent.drivers.listen_serial import SerialListener
from edge_agent.drivers.listen_tcp import TcpListener
from edge_agent.drivers.modbus_rtu import ModbusRtuDriver
from edge_agent.drivers.modbus_tcp import ModbusTcpDriver
from edge_agent.drivers.serial_frame import SerialFrameDriver
from edge_agent.lines.device_poll import Answer, Request
from edge_agent.lines.listen_bus import Listener


class Driver(Protocol):
    """What `poll_bus` needs of a line."""

    async def open(self) -> None:
        """Opens the line. Raises LineLostError."""

    async def exchange(self, request: Request) -> Answer:
        """Asks one device. Raises LineLostError if the line is gone."""

    def close(self) -> None:
        """Closes the line; harmless if it is closed already."""


DRIVERS: Final[Mapping[str, Callable[[Any], Driver]]] = MappingProxyType(
    {
        "modbus_tcp": ModbusTcpDriver,
        "modbus_rtu": ModbusRtuDriver,
        "serial_frame": SerialFrameDriver,
    }
)
"""By `kind` of the bus; each takes the bus settings of that kind."""

LISTENERS: Final[Mapping[str, Callable[[Any], Listener]]] = MappingProxyType(
    {
        "tcp": TcpListener,
        "serial": SerialListener,
    }
)
"""By `kind` of the endpoint; each takes the endpoint's settings."""
