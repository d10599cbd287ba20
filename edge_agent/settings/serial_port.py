"""A serial port in the configuration, whoever speaks on it. Pure."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, field_validator

from contracts.configuration import Settings

BAUD_RATES: Final = (1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 115200, 230400, 460800, 921600)


class SerialPortSettings(Settings):
    """Where it is, and how its characters are sent."""

    port: str = Field(min_length=1)
    """Device path (a relative one is relative to this file); /dev/serial/by-path/… survives replugging."""
    baud_rate: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1

    @field_validator("baud_rate")
    @classmethod
    def _check_baud_rate(cls, baud_rate: int) -> int:
        if baud_rate not in BAUD_RATES:
            raise ValueError(f"not one of {', '.join(map(str, BAUD_RATES))}")
        return baud_rate
