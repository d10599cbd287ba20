"""One poll of one device: which requests, and what the answers mean. Pure; time is passed in.

`ModbusDevice` (modbus_device.py) reads registers, `FrameDevice` asks a serial sensor for a frame; poll_step.py has
the words that both share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.quality import Reason
from edge_agent.frames.frame_answer import FrameAnswer, read_answer
from edge_agent.lines.poll_step import (
    VALUELESS,
    Answer,
    FrameRequest,
    ModbusRequest,
    Outcome,
    Poll,
    Request,
    bounds_of,
    conversion_of,
    judge_number,
)
from edge_agent.modbus.modbus_device import NARROW_AGAIN_S, ModbusDevice
from edge_agent.modbus.modbus_write import ModbusWrite
from edge_agent.settings.configuration import NodeSettings
from edge_agent.settings.profile import SerialFrameProfile

__all__ = [
    "NARROW_AGAIN_S",
    "VALUELESS",
    "Answer",
    "Device",
    "FrameDevice",
    "FrameRequest",
    "ModbusDevice",
    "ModbusRequest",
    "ModbusWrite",
    "Outcome",
    "Poll",
    "Request",
]


@dataclass(slots=True)
class FrameDevice:
    """One sensor on a serial port that sends frames, asked or by itself."""

    settings: NodeSettings
    profile: SerialFrameProfile
    alias_of: Mapping[str, int]
    _request: FrameRequest = field(init=False)

    def __post_init__(self) -> None:
        self._request = FrameRequest(self.profile.question, self.profile)

    @property
    def aliases(self) -> tuple[int, ...]:
        """The channels that a poll gives an outcome for."""
        return tuple(self.alias_of[channel.quantity] for channel in self.profile.channel)

    def poll(self, now_s: float) -> Poll:  # noqa: ARG002  # the same shape as ModbusDevice.poll
        """Asks once."""
        answer = yield self._request
        if isinstance(answer, Reason):
            return [(alias, None, answer) for alias in self.aliases]
        heard = read_answer(self.profile, bytes(answer))
        return [self._judge(channel.quantity, heard) for channel in self.profile.channel]

    def _judge(self, quantity: str, heard: FrameAnswer) -> Outcome:
        alias = self.alias_of[quantity]
        found = heard.numbers.get(quantity)
        if found is None:
            return alias, None, heard.missing
        if found.number is None:
            return alias, None, found.reason
        convert = conversion_of(self.settings.calibration, found.channel)
        return judge_number(alias, found.number, convert, *bounds_of(found.channel), found.reason)


Device = ModbusDevice | FrameDevice
