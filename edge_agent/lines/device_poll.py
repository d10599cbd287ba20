"""One poll of one device: what every device has, and the words that polls are made of. Pure; time is passed in.

`ModbusDevice` (modbus_device.py) reads registers, `FrameDevice` (frame_device.py) asks a serial sensor for a frame;
poll_step.py has the words that both share.
"""

from __future__ import annotations

from typing import Protocol

from edge_agent.lines.poll_step import VALUELESS, Answer, FrameRequest, ModbusRequest, Outcome, Poll, Request
from edge_agent.modbus.modbus_device import NARROW_AGAIN_S, ModbusDevice
from edge_agent.modbus.modbus_write import ModbusWrite

__all__ = [
    "NARROW_AGAIN_S",
    "VALUELESS",
    "Answer",
    "Device",
    "FrameRequest",
    "ModbusDevice",
    "ModbusRequest",
    "ModbusWrite",
    "Outcome",
    "Poll",
    "Request",
]


class Device(Protocol):
    """Something that is polled."""

    @property
    def aliases(self) -> tuple[int, ...]:
        """The channels that a poll gives an outcome for."""

    def poll(self, now_s: float) -> Poll:
        """Asks for everything; `now_s` is a monotonic clock."""
