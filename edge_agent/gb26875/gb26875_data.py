"""Data units of GB/T 26875.3-2011 (sections 7 and 8): every type that the standard defines, both ways. Pure.

    type (1 byte) | number of objects (1 byte) | objects, each with its time (6 bytes) where the type has one

What an object of each type is made of stands in `LAYOUTS`. Integers are low byte first; texts are GB 18030; a time is
second, minute, hour, day, month, year - 2000 in plain binary, China standard time. Types 9 to 127 that the standard
reserves and 128 to 254 that users define are not taken apart: their bytes are kept.

Dialect: some senders give component states (type 2) of 48 bytes in place of 46, with a text of 33 bytes (frame
`type2-water` in shared/vectors/gb26875_3.json). Bytes after the last object are kept as `extra`: section 5.3 lets
systems add content, and an alarm must not be lost for it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from edge_agent.lines.local_time import CHINA_STANDARD_TIME, china_time, nanoseconds_of

TIME_BYTES: Final = 6
TEXT_BYTES: Final = 31
_ENCODING: Final = "gb18030"
_FIRST_YEAR: Final = 2000
_FIRST_NS: Final = nanoseconds_of(datetime(_FIRST_YEAR, 1, 1, tzinfo=CHINA_STANDARD_TIME))
_HEAD_BYTES: Final = 2

Content = int | str | None
"""An integer, a text, or a time in nanoseconds since 1970 (None: no time that exists)."""


class UnitType(IntEnum):
    """Type byte of a data unit (table 3)."""

    SYSTEM_STATE = 1
    COMPONENT_STATE = 2
    ANALOGUE_VALUE = 3
    SYSTEM_OPERATION = 4
    SYSTEM_VERSION = 5
    SYSTEM_CONFIGURATION = 6
    COMPONENT_CONFIGURATION = 7
    SYSTEM_TIME = 8
    TRANSMITTER_STATE = 21
    TRANSMITTER_OPERATION = 24
    TRANSMITTER_VERSION = 25
    TRANSMITTER_CONFIGURATION = 26
    TRANSMITTER_TIME = 28
    READ_SYSTEM_STATE = 61
    READ_COMPONENT_STATE = 62
    READ_ANALOGUE_VALUE = 63
    READ_SYSTEM_OPERATION = 64
    READ_SYSTEM_VERSION = 65
    READ_SYSTEM_CONFIGURATION = 66
    READ_COMPONENT_CONFIGURATION = 67
    READ_SYSTEM_TIME = 68
    READ_TRANSMITTER_STATE = 81
    READ_TRANSMITTER_OPERATION = 84
    READ_TRANSMITTER_VERSION = 85
    READ_TRANSMITTER_CONFIGURATION = 86
    READ_TRANSMITTER_TIME = 88
    INITIALISE_TRANSMITTER = 89
    SET_TRANSMITTER_CLOCK = 90
    DUTY_CHECK = 91


@dataclass(frozen=True, slots=True)
class Layout:
    """What an object is made of."""

    count_max: int
    """Objects in one data unit."""
    names: tuple[str, ...] = ()
    format: str = "<"
    """Of `struct`, for the names in order; `s` is a text."""
    has_text: bool = False
    """A byte with a length, and a text of so many bytes."""
    has_time: bool = False

    @property
    def size(self) -> int:
        """Bytes of an object without its text of variable length."""
        return struct.calcsize(self.format) + self.has_text + TIME_BYTES * self.has_time


_SYSTEM: Final = ("system_type", "system_address")
_COMPONENT: Final = (*_SYSTEM, "component_type", "component_address")
_PLACE: Final = (*_SYSTEM, "component_address")
_RESERVED: Final = Layout(1, ("reserved",), "<B")

LAYOUTS: Final[Mapping[int, Layout]] = MappingProxyType(
    {
        UnitType.SYSTEM_STATE: Layout(102, (*_SYSTEM, "state"), "<BBH", has_time=True),
        UnitType.COMPONENT_STATE: Layout(22, (*_COMPONENT, "state", "text"), f"<BBBIH{TEXT_BYTES}s", has_time=True),
        UnitType.ANALOGUE_VALUE: Layout(63, (*_COMPONENT, "analogue_type", "count"), "<BBBIBh", has_time=True),
        UnitType.SYSTEM_OPERATION: Layout(102, (*_SYSTEM, "operation", "operator"), "<BBBB", has_time=True),
        UnitType.SYSTEM_VERSION: Layout(1, (*_SYSTEM, "major", "minor"), "<BBBB"),
        UnitType.SYSTEM_CONFIGURATION: Layout(3, _SYSTEM, "<BB", has_text=True),
        UnitType.COMPONENT_CONFIGURATION: Layout(26, (*_COMPONENT, "text"), f"<BBBI{TEXT_BYTES}s"),
        UnitType.SYSTEM_TIME: Layout(1, _SYSTEM, "<BB", has_time=True),
        UnitType.TRANSMITTER_STATE: Layout(1, ("state",), "<B", has_time=True),
        UnitType.TRANSMITTER_OPERATION: Layout(127, ("operation", "operator"), "<BB", has_time=True),
        UnitType.TRANSMITTER_VERSION: Layout(1, ("major", "minor"), "<BB"),
        UnitType.TRANSMITTER_CONFIGURATION: Layout(1, has_text=True),
        UnitType.TRANSMITTER_TIME: Layout(1, has_time=True),
        UnitType.READ_SYSTEM_STATE: Layout(102, _SYSTEM, "<BB"),
        UnitType.READ_COMPONENT_STATE: Layout(22, _PLACE, "<BBI"),
        UnitType.READ_ANALOGUE_VALUE: Layout(63, _PLACE, "<BBI"),
        UnitType.READ_SYSTEM_OPERATION: Layout(1, (*_SYSTEM, "records"), "<BBB", has_time=True),
        UnitType.READ_SYSTEM_VERSION: Layout(1, _SYSTEM, "<BB"),
        UnitType.READ_SYSTEM_CONFIGURATION: Layout(3, _SYSTEM, "<BB"),
        UnitType.READ_COMPONENT_CONFIGURATION: Layout(26, _PLACE, "<BBI"),
        UnitType.READ_SYSTEM_TIME: Layout(1, _SYSTEM, "<BB"),
        UnitType.READ_TRANSMITTER_STATE: _RESERVED,
        UnitType.READ_TRANSMITTER_OPERATION: Layout(1, ("records",), "<B", has_time=True),
        UnitType.READ_TRANSMITTER_VERSION: _RESERVED,
        UnitType.READ_TRANSMITTER_CONFIGURATION: _RESERVED,
        UnitType.READ_TRANSMITTER_TIME: _RESERVED,
        UnitType.INITIALISE_TRANSMITTER: _RESERVED,
        UnitType.SET_TRANSMITTER_CLOCK: Layout(1, has_time=True),
        UnitType.DUTY_CHECK: Layout(1, ("answer_min",), "<B"),
    }
)
"""By type. An object's time is `time_ns`, its variable text `text`."""
_LONG_TEXT: Final = Layout(22, (*_COMPONENT, "state", "text"), f"<BBBIH{TEXT_BYTES + 2}s", has_time=True)
"""The dialect of type 2."""


class DataUnitError(Exception):
    """A data unit that is shorter than its objects, or has more of them than the standard allows."""


@dataclass(frozen=True, slots=True)
class DataUnit:
    """A data unit, taken apart."""

    type: int
    objects: Sequence[Mapping[str, Content]]
    extra: bytes = b""
    """Bytes behind the objects; all of them for a type that is not taken apart."""
    count: int = field(default=0)
    """As the unit says it."""


def decode_data_unit(octets: bytes) -> DataUnit:
    """Takes a data unit apart. Raises DataUnitError."""
    if len(octets) < _HEAD_BYTES:
        raise DataUnitError(f"a data unit of {len(octets)} bytes has no type and number of objects")
    kind, count = octets[0], octets[1]
    layout = LAYOUTS.get(kind)
    if layout is None:
        return DataUnit(kind, (), octets[_HEAD_BYTES:], count)
    if count > layout.count_max:
        raise DataUnitError(f"type {kind} has {count} objects, more than {layout.count_max}")
    if kind == UnitType.COMPONENT_STATE and len(octets) == _HEAD_BYTES + count * _LONG_TEXT.size:
        layout = _LONG_TEXT
    objects: list[Mapping[str, Content]] = []
    at = _HEAD_BYTES
    for number in range(1, count + 1):
        try:
            one, at = _decode_object(layout, octets, at)
        except (struct.error, IndexError):
            detail = f"type {kind} ends in object {number} of {count}, after {len(octets)} bytes"
            raise DataUnitError(detail) from None
        objects.append(one)
    return DataUnit(kind, objects, octets[at:], count)


def encode_data_unit(kind: UnitType, objects: Sequence[Mapping[str, Content]]) -> bytes:
    """Puts a data unit together.

    Args:
        kind: its type.
        objects: with the names of the type's layout, texts shorter than their field, `time_ns` where it has a time.

    Raises:
        ValueError: more objects than the standard allows, or a text that is too long.
        KeyError: a part is missing.
    """
    layout = LAYOUTS[kind]
    if len(objects) > layout.count_max:
        raise ValueError(f"type {int(kind)} has {len(objects)} objects, more than {layout.count_max}")
    return bytes((kind, len(objects))) + b"".join(_encode_object(layout, one) for one in objects)


def decode_time(octets: bytes) -> int | None:
    """Nanoseconds since 1970 of a time tag; None if there is no such time (a clock that was never set)."""
    second, minute, hour, day, month, year = octets[:TIME_BYTES]
    try:
        local = datetime(_FIRST_YEAR + year, month, day, hour, minute, second, tzinfo=CHINA_STANDARD_TIME)
    except ValueError:
        return None
    return nanoseconds_of(local)


def encode_time(time_ns: int) -> bytes:
    """The time tag of a time; of a clock that was never set, the first that there is (2000-01-01)."""
    local = china_time(max(time_ns, _FIRST_NS))
    return bytes((local.second, local.minute, local.hour, local.day, local.month, local.year - _FIRST_YEAR))


def _decode_object(layout: Layout, octets: bytes, at: int) -> tuple[Mapping[str, Content], int]:
    """One object, and where it ends. Raises struct.error or IndexError if it is not all there."""
    parts = struct.unpack_from(layout.format, octets, at)
    at += struct.calcsize(layout.format)
    one: dict[str, Content] = {
        name: _decode_text(part) if isinstance(part, bytes) else part
        for name, part in zip(layout.names, parts, strict=True)
    }
    if layout.has_text:
        end = at + 1 + octets[at]
        if end > len(octets):
            raise IndexError(end)
        one["text"] = _decode_text(octets[at + 1 : end])
        at = end
    if layout.has_time:
        (tag,) = struct.unpack_from(f"{TIME_BYTES}s", octets, at)
        one["time_ns"] = decode_time(tag)
        at += TIME_BYTES
    return one, at


def _encode_object(layout: Layout, one: Mapping[str, Content]) -> bytes:
    parts = [_encode_part(one[name]) for name in layout.names]
    octets = struct.pack(layout.format, *parts)
    if layout.has_text:
        text = _encode_text(one["text"])
        octets += bytes((len(text),)) + text
    if layout.has_time:
        time_ns = one["time_ns"]
        octets += bytes(TIME_BYTES) if not isinstance(time_ns, int) else encode_time(time_ns)
    return octets


def _encode_part(content: Content) -> int | bytes:
    if not isinstance(content, str):
        return content or 0
    text = _encode_text(content)
    if len(text) > TEXT_BYTES:
        raise ValueError(f"{content!r} has {len(text)} bytes in GB 18030, more than {TEXT_BYTES}")
    return text


def _decode_text(octets: bytes) -> str:
    """The text without its padding. Bytes that are no GB 18030 are shown as U+FFFD: a text is for people."""
    return "".join(character for character in octets.decode(_ENCODING, errors="replace") if character.isprintable())


def _encode_text(content: Content) -> bytes:
    return str(content).encode(_ENCODING)
