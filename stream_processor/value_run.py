"""Runs of plain values in a data payload, read by column straight from the bytes. Pure.

A gateway's readings are hundreds of metrics of one shape: alias, timestamp, perhaps data type and is_historical, and a
Double or a Float. To decode each into an object of its own costs five microseconds; here a regular expression that
admits exactly that shape, field after field in ascending order as protobuf writes them, finds a run of them, and numpy
reads its columns. What has another shape (a name, properties, metadata, null, a value in another field, a wrong length)
is no part of a run and goes through `contracts.sparkplug.payload`, which has the last word on everything.

    payload  timestamp 0x08 · metric 0x12 (repeated) · seq 0x18 · uuid 0x22 · body 0x2a
    metric   alias 0x10 · timestamp 0x18 · datatype 0x20 · is_historical 0x28 · float 0x65 · double 0x69

Times are six octets of varint: 1971 to 2109. Source: Sparkplug 3.0, section 6.4;
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from contracts.record import Floats, Int64s
from contracts.sparkplug.datatype import DataType

_TIME_OCTETS: Final = 6
_VARINT_OCTETS_MAX: Final = 10
_METRIC: Final = 0x12
_SPANS_JUDGED: Final = 2
_SPAN_OCTETS_MIN: Final = 100
"""Four or five metrics."""
_TIMESTAMP, _SEQ, _UUID, _BODY = 0x08, 0x18, 0x22, 0x2A


class Shape(NamedTuple):
    """What the metrics of a run have in common."""

    datatype: DataType
    """Of the value's field; the birth must have named the same."""
    is_typed: bool
    """Each metric repeats its data type."""
    is_historical: bool

    @property
    def octets_after_alias(self) -> int:
        """Of a metric, behind its alias."""
        value = 9 if self.datatype is DataType.DOUBLE else 5
        return 1 + _TIME_OCTETS + 2 * self.is_typed + 2 * self.is_historical + value

    def key(self, alias: int) -> bytes:
        """The octets with which a metric of this alias begins, after its tag: a wrong length has no such key."""
        octets = _varint(alias)
        return bytes([1 + len(octets) + self.octets_after_alias, 0x10]) + octets


class ValueRun(NamedTuple):
    """Consecutive plain metrics."""

    shape: Shape
    keys: list[bytes]
    """`Shape.key` of each one's alias, if its length is right."""
    times_ms: Int64s
    values: Floats
    others_before: int
    """How many metrics of `SplitPayload.rest` came before it."""


@dataclass(frozen=True, slots=True)
class SplitPayload:
    """A payload in two parts that together say the same."""

    runs: list[ValueRun]
    rest: bytes
    """A payload of all that is in no run."""

    def __len__(self) -> int:
        return sum(len(run.keys) for run in self.runs)


def split_payload(payload: bytes) -> SplitPayload | None:
    """Finds the runs; None if they are not worth it, or if the payload is not of the fields above from end to end.

    That each metric's length is right is for the caller to see, who knows the aliases: `ValueRun.keys`.
    """
    spans: list[_Span] = []
    rest: list[bytes] = []
    position = others = 0
    while position < len(payload):
        if payload[position] == _METRIC:
            span = _find_span(payload, position, others)
            if span is not None:
                spans.append(span)
                position = span.end
                if _are_short(spans):
                    return None
                continue
            others += 1
        end = _skip_field(payload, position)
        if end is None:
            return None
        rest.append(payload[position:end])
        position = end
    return SplitPayload([_read_span(payload, span) for span in spans], b"".join(rest)) if spans else None


class _Pattern(NamedTuple):
    shape: Shape
    run: re.Pattern[bytes]
    """All of a run at once, without going back."""
    metric: re.Pattern[bytes]
    """One of it: its key, and its time and value with what is between."""
    row: np.dtype[np.void]
    """Of the second group."""


def _pattern(shape: Shape) -> _Pattern:
    is_double = shape.datatype is DataType.DOUBLE
    between = b""
    if shape.is_typed:
        between += b"\\x20" + b"\\x%02x" % shape.datatype
    if shape.is_historical:
        between += b"\\x28\\x01"
    between += b"\\x69" if is_double else b"\\x65"
    key = rb"[\x00-\x7f]\x10[\x80-\xff]{0,4}[\x00-\x7f]"
    row = rb"[\x80-\xff]{5}[\x00-\x7f]" + between + (b".{8}" if is_double else b".{4}")
    gap = 2 * shape.is_typed + 2 * shape.is_historical + 1
    return _Pattern(
        shape,
        re.compile(rb"(?:\x12" + key + rb"\x18" + row + b")++", re.DOTALL),
        re.compile(rb"\x12(" + key + rb")\x18(" + row + b")", re.DOTALL),
        np.dtype([("time", np.uint8, _TIME_OCTETS), ("gap", np.uint8, gap), ("value", "<f8" if is_double else "<f4")]),
    )


_PATTERNS: Final = tuple(
    _pattern(Shape(datatype, is_typed, is_historical))
    for datatype in (DataType.DOUBLE, DataType.FLOAT)
    for is_typed in (False, True)
    for is_historical in (False, True)
)
_SHIFTS: Final = np.array([1 << (7 * place) for place in range(_TIME_OCTETS)], dtype=np.int64)


class _Span(NamedTuple):
    """Where a run stands."""

    pattern: _Pattern
    begin: int
    end: int
    others_before: int


def _find_span(payload: bytes, position: int, others_before: int) -> _Span | None:
    """The run that begins here."""
    if payload[position + 2 : position + 3] != b"\x10":
        return None
    for pattern in _PATTERNS:
        found = pattern.run.match(payload, position)
        if found is not None:
            return _Span(pattern, position, found.end(), others_before)
    return None


def _are_short(spans: list[_Span]) -> bool:
    """Whether shapes change so often that a metric by itself is decoded faster."""
    return len(spans) >= _SPANS_JUDGED and sum(span.end - span.begin for span in spans) < _SPAN_OCTETS_MIN * len(spans)


def _read_span(payload: bytes, span: _Span) -> ValueRun:
    pattern = span.pattern
    keys, rows = zip(*pattern.metric.findall(payload, span.begin, span.end), strict=True)
    columns = np.frombuffer(b"".join(rows), dtype=pattern.row)
    times_ms = (columns["time"] & 0x7F) @ _SHIFTS
    return ValueRun(pattern.shape, list(keys), times_ms, columns["value"].astype(np.float64), span.others_before)


def _skip_field(payload: bytes, position: int) -> int | None:
    """Where the field ends that begins here; None if there is none such, or not all of it."""
    tag = payload[position]
    found = _read_varint(payload, position + 1)
    if found is None:
        return None
    number, end = found
    if tag in {_METRIC, _UUID, _BODY}:
        end += number
    elif tag not in {_TIMESTAMP, _SEQ}:
        return None
    return end if end <= len(payload) else None


def _read_varint(payload: bytes, position: int) -> tuple[int, int] | None:
    """The number, and where it ends."""
    number = 0
    for place, octet in enumerate(payload[position : position + _VARINT_OCTETS_MAX]):
        number |= (octet & 0x7F) << (7 * place)
        if octet < 0x80:  # the varint's last octet
            return number, position + place + 1
    return None


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)
