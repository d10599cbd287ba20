"""What a driver must know of a line whose devices we ask: a `[[bus]]` of the configuration without its nodes."""

from __future__ import annotations

from typing import Annotated, Literal

from contracts.identifiers import Identifier
from contracts.plain_settings import Limits, plain_settings
from edge_agent.settings.serial_port import SerialPortSettings
from edge_agent.settings.uplink_settings import Port, Text

Seconds = Annotated[float, Limits(gt=0.0, le=3600.0)]


@plain_settings
class _LineSettings:
    bus_id: Identifier
    """Sparkplug device id."""
    probe_max_s: Annotated[float, Limits(ge=0.1, le=3600.0)] = 10.0
    """A device that does not answer is tried ever more rarely, but at least this often."""


@plain_settings
class ModbusTcpLineSettings(_LineSettings):
    """A Modbus TCP endpoint, possibly a gateway with many device ids behind it."""

    kind: Literal["modbus_tcp"]
    host: Text
    port: Port = 502
    framing: Literal["tcp", "rtu", "ascii"] = "tcp"
    """`rtu` and `ascii`: a converter that passes the frames of its serial line through as they are."""
    timeout_s: Seconds = 0.5


@plain_settings
class ModbusRtuLineSettings(_LineSettings, SerialPortSettings):
    """An RS-485 line."""

    kind: Literal["modbus_rtu"]
    framing: Literal["rtu", "ascii"] = "rtu"
    data_bits: Literal[7, 8] = 8
    """7 is usual with ASCII frames, impossible with RTU."""
    timeout_s: Seconds = 0.3

    def __post_init__(self) -> None:
        if self.framing == "rtu" and self.data_bits == 7:
            raise ValueError("data_bits: 7 cannot carry RTU frames: 8 is allowed, or framing = 'ascii'")


@plain_settings
class SerialFrameLineSettings(_LineSettings, SerialPortSettings):
    """A serial port with one sensor that speaks frames."""

    kind: Literal["serial_frame"]
    timeout_s: Seconds = 0.5


LineSettings = ModbusTcpLineSettings | ModbusRtuLineSettings | SerialFrameLineSettings
