"""A serial port in the configuration, whoever speaks on it. Pure."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from contracts.plain_settings import Limits, plain_settings

BAUD_RATES: Final = (1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 115200, 230400, 460800, 921600)


@plain_settings
class SerialPortSettings:
    """Where it is, and how its characters are sent."""

    port: Annotated[str, Limits(min_length=1)]
    """Device path (a relative one is relative to this file); /dev/serial/by-path/… survives replugging."""
    baud_rate: Annotated[int, Limits(one_of=BAUD_RATES)] = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
