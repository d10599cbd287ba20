"""The registry of drivers: one module and one line each. A driver carries bytes; it decides nothing.

A driver opens a line, exchanges one request for one answer at a time, and closes. What can go wrong with one
device is an answer (a `Reason`); what goes wrong with the line is raised (`LineLostError`).

A listener opens a port that stations call, and hands every line of it to a conversation (`listen_bus`).

A driver's module is imported when the first line of its kind is built: a gateway carries the weight of its own lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, Protocol

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


def _from(module: str, name: str) -> Callable[[Any], Any]:
    """The class of this name, imported when it is first called."""

    def build(settings: object) -> Any:  # noqa: ANN401  # what the registry says of it
        return getattr(import_module(f"edge_agent.drivers.{module}"), name)(settings)

    return build


DRIVERS: Final[Mapping[str, Callable[[Any], Driver]]] = MappingProxyType(
    {
        "modbus_tcp": _from("modbus_tcp", "ModbusTcpDriver"),
        "modbus_rtu": _from("modbus_rtu", "ModbusRtuDriver"),
        "serial_frame": _from("serial_frame", "SerialFrameDriver"),
    }
)
"""By `kind` of the line; each takes the line's settings (`line_settings`)."""

LISTENERS: Final[Mapping[str, Callable[[Any], Listener]]] = MappingProxyType(
    {
        "tcp": _from("listen_tcp", "TcpListener"),
        "serial": _from("listen_serial", "SerialListener"),
    }
)
"""By `kind` of the endpoint; each takes the endpoint's settings."""
