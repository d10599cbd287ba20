"""Where bytes stop being a Sparkplug B payload: the first fault of the protocol-buffer encoding, with its offset.

A protocol buffer is a row of fields, each `tag varint = field number << 3 | wire type` and then: a varint (wire type
0), 8 bytes (1), a varint length and so many bytes (2), or 4 bytes (5). Messages, strings and packed lists travel as
wire type 2. Source: protobuf.dev/programming-guides/encoding; field names from Sparkplug's sparkplug_b.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from contracts.sparkplug import sparkplug_b_pb2 as wire

VARINT_MAX_BYTES: Final = 10
NESTING_MAX: Final = 100
"""The depth at which protobuf itself gives up."""
_VARINT, _EIGHT_BYTES, _LENGTH, _GROUP_START, _GROUP_END, _FOUR_BYTES = range(6)
_PAYLOAD: Final = cast("Descriptor", wire.Payload.DESCRIPTOR)
_FIXED_BYTES: Final = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where."""

    path: str
    """`$.metrics[2].name`: a place in the JSON that `decode` writes."""
    what: str
    offset: int | None = None
    """Byte of the payload, from 0."""

    def __str__(self) -> str:
        place = self.path if self.offset is None else f"{self.path} at byte {self.offset}"
        return f"{place}: {self.what}"


def find_wire_fault(payload: bytes) -> Fault | None:
    """The first place at which these bytes are no payload, or None if the encoding holds."""
    try:
        _walk(_Cursor(payload, 0, len(payload)), _PAYLOAD, "$", 0)
    except _WireFaultError as error:
        return error.fault
    return None


class _WireFaultError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class _Cursor:
    """A reader of one message's bytes."""

    def __init__(self, octets: bytes, start: int, end: int) -> None:
        self.octets = octets
        self.position = start
        self.end = end

    def read_varint(self, path: str, what: str) -> int:
        start, value = self.position, 0
        for index in range(VARINT_MAX_BYTES):
            if self.position >= self.end:
                raise _WireFaultError(Fault(path, f"the bytes end within {what}", start))
            octet = self.octets[self.position]
            self.position += 1
            value |= (octet & 0x7F) << (7 * index)
            if octet < 0x80:
                return value
        raise _WireFaultError(Fault(path, f"{what} is longer than {VARINT_MAX_BYTES} bytes", start))

    def take(self, count: int, path: str, start: int) -> _Cursor:
        left = self.end - self.position
        if count > left:
            raise _WireFaultError(Fault(path, f"{count} bytes are announced and {left} are left", start))
        inner = _Cursor(self.octets, self.position, self.position + count)
        self.position += count
        return inner


def _walk(cursor: _Cursor, message: Descriptor, path: str, depth: int) -> None:
    if depth > NESTING_MAX:
        raise _WireFaultError(Fault(path, f"nested deeper than {NESTING_MAX}", cursor.position))
    counts: dict[int, int] = {}
    while cursor.position < cursor.end:
        start = cursor.position
        tag = cursor.read_varint(path, "a field's tag")
        number, wire_type = tag >> 3, tag & 7
        if number == 0 or tag >= 1 << 32:
            raise _WireFaultError(Fault(path, f"a field with the number {number}", start))
        if wire_type not in {_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES}:
            raise _WireFaultError(Fault(path, f"field {number} has wire type {wire_type}, which no payload has", start))
        field = message.fields_by_number.get(number)
        counts[number] = counts.get(number, 0) + 1
        _walk_field(cursor, wire_type, field, f"{path}.{_name(field, number, counts[number] - 1)}", depth)


def _walk_field(cursor: _Cursor, wire_type: int, field: FieldDescriptor | None, path: str, depth: int) -> None:
    start = cursor.position
    if wire_type == _VARINT:
        cursor.read_varint(path, "a number")
    elif wire_type in _FIXED_BYTES:
        cursor.take(_FIXED_BYTES[wire_type], path, start)
    else:
        inner = cursor.take(cursor.read_varint(path, "a length"), path, start)
        if field is None:
            return
        if field.message_type is not None:
            _walk(inner, field.message_type, path, depth + 1)
        elif field.type == FieldDescriptor.TYPE_STRING:
            _check_text(inner, path)


def _check_text(inner: _Cursor, path: str) -> None:
    try:
        inner.octets[inner.position : inner.end].decode()
    except UnicodeDecodeError as error:
        offset = inner.position + error.start
        raise _WireFaultError(Fault(path, f"the text is not UTF-8: {error.reason}", offset)) from None


def _name(field: FieldDescriptor | None, number: int, index: int) -> str:
    if field is None:
        return f"field {number}"
    return f"{field.name}[{index}]" if field.is_repeated else field.name
