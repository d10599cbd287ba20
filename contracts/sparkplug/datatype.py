"""Sparkplug B data types: how a Python value stands in the wire's fields (Sparkplug 3.0, section 6.4.16).

Integers of up to 32 bits travel in `int_value`, of 64 bits in `long_value`, negative ones as two's complement
of the field's width. Arrays travel in `bytes_value`, little-endian; booleans packed, most significant bit
first, behind a 4-byte count; strings each ended by NUL.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final, TypeVar

from contracts.errors import PayloadError


class DataType(IntEnum):
    """The numbers of the data types."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTY_SET = 20
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATETIME_ARRAY = 34


_SIGNED_BITS: Final = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_UNSIGNED_BITS: Final = {
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.DATETIME: 64,
}
_TEXTS: Final = frozenset({DataType.STRING, DataType.TEXT, DataType.UUID})
_BLOBS: Final = frozenset({DataType.BYTES, DataType.FILE})
_ARRAY_FORMATS: Final = {
    DataType.INT8_ARRAY: "b",
    DataType.INT16_ARRAY: "h",
    DataType.INT32_ARRAY: "i",
    DataType.INT64_ARRAY: "q",
    DataType.UINT8_ARRAY: "B",
    DataType.UINT16_ARRAY: "H",
    DataType.UINT32_ARRAY: "I",
    DataType.UINT64_ARRAY: "Q",
    DataType.FLOAT_ARRAY: "f",
    DataType.DOUBLE_ARRAY: "d",
    DataType.DATETIME_ARRAY: "Q",
}

INTEGER_TYPES: Final = frozenset(_SIGNED_BITS) | frozenset(_UNSIGNED_BITS)
"""Data types whose Python value is an int."""
MAX_BOOLEANS: Final = 1 << 20
"""Packed booleans unpack 64-fold: 4 MiB of them would take 3 s and 260 MB."""
REAL_TYPES: Final = frozenset({DataType.FLOAT, DataType.DOUBLE})
"""Data types whose Python value is a float."""

_T = TypeVar("_T", bool, str, bytes)
WireValue = int | float | bool | str | bytes
WIRE_FIELDS: Final[Mapping[DataType, str]] = MappingProxyType(
    {
        **{kind: "int_value" if bits <= 32 else "long_value" for kind, bits in _SIGNED_BITS.items()},
        **{kind: "int_value" if bits <= 32 else "long_value" for kind, bits in _UNSIGNED_BITS.items()},
        DataType.FLOAT: "float_value",
        DataType.DOUBLE: "double_value",
        DataType.BOOLEAN: "boolean_value",
        **dict.fromkeys(_TEXTS, "string_value"),
        **dict.fromkeys(_BLOBS, "bytes_value"),
        **dict.fromkeys(_ARRAY_FORMATS, "bytes_value"),
        DataType.BOOLEAN_ARRAY: "bytes_value",
        DataType.STRING_ARRAY: "bytes_value",
    }
)
"""The field of Metric that carries a scalar or array of this type. Structured types have fields of their own."""


def to_wire(datatype: DataType, value: object) -> WireValue:
    """The wire form of a scalar or array. Raises PayloadError if `value` is none of this type."""
    try:
        return _to_wire(datatype, value)
    except (TypeError, ValueError, OverflowError, struct.error, UnicodeError) as error:
        raise PayloadError(f"{_short(value)} is no {datatype.name}: {error}") from error


def from_wire(datatype: DataType, field: str, wire: WireValue) -> object:
    """The Python value of a scalar or array that came in `field`. Raises PayloadError if it cannot be one.

    An integer may come in either integer field and sign-extended to any width: implementations differ.
    """
    if datatype in INTEGER_TYPES:
        return _integer_from_wire(datatype, field, wire)
    expected = WIRE_FIELDS.get(datatype)
    if expected is None:
        raise PayloadError(f"{datatype.name} is not a scalar nor an array")
    if field != expected:
        raise PayloadError(f"a {datatype.name} came as {field}, not as {expected}")
    decode = _ARRAY_DECODERS.get(datatype)
    if decode is None:
        if datatype in _TEXTS and not isinstance(wire, str):  # protobuf gives a text that is not UTF-8 as bytes
            raise PayloadError(f"the {datatype.name} {_short(wire)} is not UTF-8")
        return wire
    assert isinstance(wire, bytes)
    try:
        return decode(wire)
    except (struct.error, ValueError) as error:
        raise PayloadError(f"{len(wire)} bytes are no {datatype.name}: {error}") from error


def _to_wire(datatype: DataType, value: object) -> WireValue:
    if datatype in INTEGER_TYPES:
        return _integer_to_wire(datatype, value)
    if datatype in REAL_TYPES:
        return _real_to_wire(datatype, value)
    if datatype is DataType.BOOLEAN:
        return _of_type(value, bool)
    if datatype in _TEXTS:
        return _of_type(value, str)
    if datatype in _BLOBS:
        return _of_type(value, bytes)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise TypeError("not a list")
    if datatype is DataType.BOOLEAN_ARRAY:
        return _pack_booleans(value)
    if datatype is DataType.STRING_ARRAY:
        return _pack_strings(value)
    if datatype in _ARRAY_FORMATS:
        return struct.pack(f"<{len(value)}{_ARRAY_FORMATS[datatype]}", *value)
    raise TypeError("not a scalar nor an array")


def _of_type(value: object, wanted: type[_T]) -> _T:
    if not isinstance(value, wanted):
        raise TypeError(f"not a {wanted.__name__}")
    return value


def _integer_to_wire(datatype: DataType, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not an integer")
    low, high = _bounds(datatype)
    if not low <= value <= high:
        raise ValueError(f"not within {low}..{high}")
    width = 32 if WIRE_FIELDS[datatype] == "int_value" else 64
    return value & ((1 << width) - 1)


def _real_to_wire(datatype: DataType, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    if datatype is DataType.FLOAT and math.isfinite(value):
        struct.pack("<f", value)  # raises OverflowError where protobuf would silently send an infinity
    return float(value)


def _bounds(datatype: DataType) -> tuple[int, int]:
    if datatype in _SIGNED_BITS:
        half = 1 << (_SIGNED_BITS[datatype] - 1)
        return -half, half - 1
    return 0, (1 << _UNSIGNED_BITS[datatype]) - 1


def _integer_from_wire(datatype: DataType, field: str, wire: WireValue) -> int:
    if field not in {"int_value", "long_value"} or isinstance(wire, bool) or not isinstance(wire, int):
        raise PayloadError(f"an {datatype.name} came as {field}")
    low, high = _bounds(datatype)
    if wire <= high:
        return wire
    if low < 0:
        for bits in (_SIGNED_BITS[datatype], 32, 64):
            signed = wire - (1 << bits)
            if low <= signed < 0:
                return signed
    raise PayloadError(f"{wire} is no {datatype.name}: not within {low}..{high}")


def _pack_booleans(values: Sequence[object]) -> bytes:
    packed = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        if _of_type(value, bool):
            packed[index // 8] |= 0x80 >> (index % 8)
    return struct.pack("<I", len(values)) + bytes(packed)


def _unpack_booleans(wire: bytes) -> list[bool]:
    (count,) = struct.unpack_from("<I", wire)
    if len(wire) != 4 + (count + 7) // 8:
        raise ValueError(f"its count is {count}")
    if count > MAX_BOOLEANS:
        raise ValueError(f"its count is {count}, and more than {MAX_BOOLEANS} are not taken")
    return [bool(wire[4 + index // 8] & (0x80 >> (index % 8))) for index in range(count)]


def _pack_strings(values: Sequence[object]) -> bytes:
    texts = [_of_type(value, str) for value in values]
    if any("\0" in text for text in texts):
        raise ValueError("a string of an array must not hold NUL")
    return b"".join(text.encode() + b"\0" for text in texts)


def _unpack_strings(wire: bytes) -> list[str]:
    if not wire:
        return []
    if wire[-1] != 0:
        raise ValueError("the last string is not ended by NUL")
    return wire[:-1].decode().split("\0")


def _unpacker(item_format: str) -> Callable[[bytes], list[int | float]]:
    size = struct.calcsize(f"<{item_format}")

    def unpack(wire: bytes) -> list[int | float]:
        if len(wire) % size:
            raise ValueError(f"not a multiple of {size}")
        return list(struct.unpack(f"<{len(wire) // size}{item_format}", wire))

    return unpack


_ARRAY_DECODERS: Final[Mapping[DataType, Callable[[bytes], object]]] = MappingProxyType(
    {
        **{kind: _unpacker(item_format) for kind, item_format in _ARRAY_FORMATS.items()},
        DataType.BOOLEAN_ARRAY: _unpack_booleans,
        DataType.STRING_ARRAY: _unpack_strings,
    }
)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
