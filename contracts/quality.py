"""Quality of an observation: a level and a reason, always together.

The reason decides the level: each reason stands in one row of the table below with its level. A reason has a
name (Sparkplug property `Reason`, JSON, pages), a code (u8, Arrow and stores) and a text for people. On the
Sparkplug wire the property `Quality` (Sparkplug 3.0, section 6.4.13: 0 bad, 192 good, 500 stale) is sent only
when it is not good; an uncertain value is good for a host that knows no `Reason`.

Codes are stored for ever: a row may be added, never renumbered and never removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class Level(StrEnum):
    """How far a value may be trusted."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class SparkplugQuality(IntEnum):
    """Values of the Sparkplug property `Quality`."""

    BAD = 0
    GOOD = 192
    STALE = 500


class Reason(IntEnum):
    """Why an observation has its level. The integer is the stored code."""

    OK = 0
    # uncertain, 1..63
    CLOCK_SUSPECT = 1
    STEP_SUSPECT = 2
    FLAT_LINE = 3
    INCOMPLETE = 4
    # bad, 64..: the device or the line
    NO_ANSWER = 64
    CRC_ERROR = 65
    MALFORMED_FRAME = 66
    LINE_LOST = 67
    MODBUS_ILLEGAL_FUNCTION = 70
    MODBUS_ILLEGAL_ADDRESS = 71
    MODBUS_ILLEGAL_VALUE = 72
    MODBUS_DEVICE_FAILURE = 73
    MODBUS_DEVICE_BUSY = 74
    MODBUS_GATEWAY_UNAVAILABLE = 75
    MODBUS_EXCEPTION = 76
    # bad, 80..: the device says that its value is none
    WARM_UP = 80
    INHIBITED = 81
    CALIBRATION = 82
    DEVICE_FAULT = 83
    NOT_INSTALLED = 84
    # bad, 96..: the value itself
    OUT_OF_RANGE = 96
    NOT_A_NUMBER = 97
    # bad and stale, 128..: nobody speaks for the device any more
    BUS_LOST = 128
    GATEWAY_LOST = 129
    STALE = 130

    @property
    def wire_name(self) -> str:
        """The reason's name on wires: `no_answer`."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """What a reason means."""

    level: Level
    sparkplug: SparkplugQuality
    text: str
    """For people: what happened, and where to look."""


def _bad(text: str) -> ReasonRow:
    return ReasonRow(Level.BAD, SparkplugQuality.BAD, text)


def _stale(text: str) -> ReasonRow:
    return ReasonRow(Level.BAD, SparkplugQuality.STALE, text)


REASONS: Final[Mapping[Reason, ReasonRow]] = MappingProxyType(
    {
        Reason.OK: ReasonRow(Level.GOOD, SparkplugQuality.GOOD, "good"),
        Reason.CLOCK_SUSPECT: ReasonRow(
            Level.UNCERTAIN, SparkplugQuality.GOOD, "the gateway's clock was not synchronised"
        ),
        Reason.STEP_SUSPECT: ReasonRow(
            Level.UNCERTAIN, SparkplugQuality.GOOD, "jumped faster than the quantity can move: look at neighbours"
        ),
        Reason.FLAT_LINE: ReasonRow(
            Level.UNCERTAIN, SparkplugQuality.GOOD, "has not moved for longer than the quantity rests: stuck sensor?"
        ),
        Reason.INCOMPLETE: ReasonRow(
            Level.UNCERTAIN,
            SparkplugQuality.GOOD,
            "computed from a second of which samples are missing: look at the line",
        ),
        Reason.NO_ANSWER: _bad("no answer: check the device's power, its address and the wiring"),
        Reason.CRC_ERROR: _bad("corrupt on the line (wrong checksum): check termination, shield and baud rate"),
        Reason.MALFORMED_FRAME: _bad("the answer is not a frame of this protocol"),
        Reason.LINE_LOST: _bad("the line could not be opened: port missing or connection refused"),
        Reason.MODBUS_ILLEGAL_FUNCTION: _bad("Modbus exception 1: unknown function code"),
        Reason.MODBUS_ILLEGAL_ADDRESS: _bad("Modbus exception 2: the device has no such register"),
        Reason.MODBUS_ILLEGAL_VALUE: _bad("Modbus exception 3: length or value refused"),
        Reason.MODBUS_DEVICE_FAILURE: _bad("Modbus exception 4: the device failed while answering"),
        Reason.MODBUS_DEVICE_BUSY: _bad("Modbus exception 6: the device is busy"),
        Reason.MODBUS_GATEWAY_UNAVAILABLE: _bad("Modbus exception 10 or 11: no path to the device"),
        Reason.MODBUS_EXCEPTION: _bad("Modbus exception outside of the standard's table"),
        Reason.WARM_UP: _bad("the device is warming up"),
        Reason.INHIBITED: _bad("the device is inhibited"),
        Reason.CALIBRATION: _bad("the device is being calibrated"),
        Reason.DEVICE_FAULT: _bad("the device reports a fault of its own"),
        Reason.NOT_INSTALLED: _bad("the device says that nothing is installed at this place"),
        Reason.OUT_OF_RANGE: _bad("outside of what the instrument or the quantity can show"),
        Reason.NOT_A_NUMBER: _bad("the device sent NaN or an infinity"),
        Reason.BUS_LOST: _stale("the gateway lost this line (DDEATH)"),
        Reason.GATEWAY_LOST: _stale("the gateway is offline (NDEATH)"),
        Reason.STALE: _stale("nothing was heard for longer than the channel's limit"),
    }
)

_BY_WIRE_NAME: Final = {reason.wire_name: reason for reason in Reason}


def parse_reason(wire_name: str) -> Reason | None:
    """The reason with this wire name, or None if there is none such."""
    return _BY_WIRE_NAME.get(wire_name)


def level_of(reason: Reason) -> Level:
    """The level that a reason gives to an observation."""
    return REASONS[reason].level


_MODBUS_EXCEPTIONS: Final = {
    1: Reason.MODBUS_ILLEGAL_FUNCTION,
    2: Reason.MODBUS_ILLEGAL_ADDRESS,
    3: Reason.MODBUS_ILLEGAL_VALUE,
    4: Reason.MODBUS_DEVICE_FAILURE,
    6: Reason.MODBUS_DEVICE_BUSY,
    10: Reason.MODBUS_GATEWAY_UNAVAILABLE,
    11: Reason.MODBUS_GATEWAY_UNAVAILABLE,
}


def reason_of_modbus_exception(exception_code: int) -> Reason:
    """The reason for a Modbus exception code (MODBUS Application Protocol V1.1b3, section 7)."""
    return _MODBUS_EXCEPTIONS.get(exception_code, Reason.MODBUS_EXCEPTION)


def reason_of_sparkplug(quality: int | None, reason_name: str | None) -> Reason:
    """The reason of a received metric from its properties `Quality` and `Reason`.

    A third-party edge node sends no `Reason`, or one that we do not know: then `Quality` alone decides, and a
    value of it outside of the standard's three is bad. A `Reason` that contradicts `Quality` loses to it.
    """
    reason = parse_reason(reason_name) if reason_name is not None else None
    wire = SparkplugQuality.GOOD if quality is None else quality
    if reason is not None and REASONS[reason].sparkplug == wire:
        return reason
    if wire == SparkplugQuality.GOOD:
        return Reason.OK
    return Reason.STALE if wire == SparkplugQuality.STALE else Reason.DEVICE_FAULT
