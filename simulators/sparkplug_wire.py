"""Sparkplug B payloads as protocol-buffer bytes, of this package's own: no codec of ours takes part. Pure.

What tests our bridge must not lean on the bridge's decoder, nor on the agent's encoder. Layout, by the wire table of
Sparkplug 3.0, section 6.4 (field number and wire type; the order is that of the numbers):

    payload   timestamp 1 · metric 2 (repeated) · seq 3
    metric    name 1 · alias 2 · timestamp 3 · datatype 4 · is_historical 5 · is_null 7 · properties 9 · value:
              int 10 · long 11 · float 12 · double 13 · boolean 14 · string 15 · bytes 16
    property  keys 1 (repeated) · values 2 (repeated): type 1 · int 3 · string 8

Source of the encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from simulators.errors import WireError

INT32: Final = 3
UINT64: Final = 8
FLOAT: Final = 9
DOUBLE: Final = 10
BOOLEAN: Final = 11
STRING: Final = 12
UINT64_ARRAY: Final = 29
"""Sparkplug data types (Sparkplug 3.0, section 6.4.16)."""

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2
_FIXED32: Final = 5
_VARINT_OCTETS_MAX: Final = 10

PropertyValue = int | str
"""An Int32 or a String."""
MetricValue = float | int | bool | str | Sequence[int] | None


@dataclass(frozen=True, slots=True)
class CommandMetric:
    """A metric of a received NCMD: only what commands need."""

    name: str
    long_value: int | None = None
    boolean_value: bool | None = None
    numbers: tuple[int, ...] | None = None
    """Of a UInt64Array."""


def encode_varint(number: int) -> bytes:
    """A non-negative integer in groups of seven bits, the lowest first."""
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def encode_metric(
    value: MetricValue,
    datatype: int,
    *,
    timestamp_ms: int,
    name: str | None = None,
    alias: int | None = None,
    has_datatype: bool = True,
    is_historical: bool = False,
    properties: Mapping[str, PropertyValue] | None = None,
) -> bytes:
    """A metric as it stands in a payload, with tag and length.

    Args:
        value: None is sent as is_null.
        datatype: decides how the value is written.
        timestamp_ms: milliseconds since 1970, UTC.
        name: in births, and of metrics without alias.
        alias: the number that a birth gave.
        has_datatype: births say the type; data by alias need not.
        is_historical: not live.
        properties: Int32 or String by key.
    """
    parts = [
        b"" if name is None else _octets(1, name.encode()),
        b"" if alias is None else _number(2, alias),
        _number(3, timestamp_ms),
        _number(4, datatype) if has_datatype else b"",
        _number(5, 1) if is_historical else b"",
        _number(7, 1) if value is None else b"",
        b"" if not properties else _octets(9, _encode_properties(properties)),
        b"" if value is None else _encode_value(value, datatype),
    ]
    return _octets(2, b"".join(parts))


def encode_payload(metrics: Sequence[bytes], timestamp_ms: int, seq: int | None) -> bytes:
    """A payload of encoded metrics; an NDEATH has no `seq`."""
    return b"".join((_number(1, timestamp_ms), *metrics, b"" if seq is None else _number(3, seq)))


def decode_command(octets: bytes) -> list[CommandMetric]:
    """The metrics of an NCMD. Raises WireError if it is no payload."""
    return [_decode_metric(body) for field, body in _fields(octets) if field == 2 and isinstance(body, bytes)]


def _encode_value(value: MetricValue, datatype: int) -> bytes:
    if isinstance(value, str):
        return _octets(15, value.encode())
    if datatype == UINT64_ARRAY and not isinstance(value, int | float | None):
        return _octets(16, struct.pack(f"<{len(value)}Q", *value))
    assert isinstance(value, int | float)  # the other types were taken above
    if datatype == BOOLEAN:
        return _number(14, int(value))
    if datatype == UINT64:
        return _number(11, int(value))
    if datatype == FLOAT:
        return b"\x65" + struct.pack("<f", value)
    if datatype == DOUBLE:
        return b"\x69" + struct.pack("<d", value)
    raise ValueError(f"data type {datatype} is not written here")


def _encode_properties(properties: Mapping[str, PropertyValue]) -> bytes:
    keys = b"".join(_octets(1, key.encode()) for key in properties)
    return keys + b"".join(_octets(2, _encode_property(value)) for value in properties.values())


def _encode_property(value: PropertyValue) -> bytes:
    if isinstance(value, str):
        return _number(1, STRING) + _octets(8, value.encode())
    return _number(1, INT32) + _number(3, value)


def _number(field: int, number: int) -> bytes:
    return encode_varint(field << 3 | _VARINT) + encode_varint(number)


def _octets(field: int, octets: bytes) -> bytes:
    return encode_varint(field << 3 | _LENGTH) + encode_varint(len(octets)) + octets


def _decode_metric(octets: bytes) -> CommandMetric:
    name, long_value, boolean_value, numbers = "", None, None, None
    for field, body in _fields(octets):
        if field == 1 and isinstance(body, bytes):
            name = body.decode(errors="replace")
        elif field == 11 and isinstance(body, int):
            long_value = body
        elif field == 14 and isinstance(body, int):
            boolean_value = bool(body)
        elif field == 16 and isinstance(body, bytes):
            if len(body) % 8:
                raise WireError(f"{name}: {len(body)} octets are no array of 64-bit numbers")
            numbers = struct.unpack(f"<{len(body) // 8}Q", body)
    return CommandMetric(name, long_value, boolean_value, numbers)


def _fields(octets: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with what they hold: a number, or octets."""
    position = 0
    while position < len(octets):
        key, position = _read_varint(octets, position)
        wire_type = key & 7
        if wire_type == _VARINT:
            number, position = _read_varint(octets, position)
            yield key >> 3, number
            continue
        if wire_type == _LENGTH:
            length, position = _read_varint(octets, position)
        elif wire_type in {_FIXED64, _FIXED32}:
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise WireError(f"wire type {wire_type} at octet {position}")
        if position + length > len(octets):
            raise WireError(f"a field of {length} octets at octet {position} of {len(octets)}")
        yield key >> 3, octets[position : position + length]
        position += length


def _read_varint(octets: bytes, position: int) -> tuple[int, int]:
    number = 0
    for index, octet in enumerate(octets[position : position + _VARINT_OCTETS_MAX]):
        number |= (octet & 0x7F) << 7 * index
        if octet < 0x80:
            return number, position + index + 1
    raise WireError(f"a number without end at octet {position}")
