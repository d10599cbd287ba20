"""Runs of plain values in a data payload, read by column straight from the bytes. Pure.

A gateway's readings are hundreds of metrics of one shape. To decode each into an object of its own costs five
microseconds; by column (`plain_metric`) it is a fraction of one. What has another shape (a name, properties, metadata,
null, a value in another field, a wrong length) is no part of a run and goes through `contracts.sparkplug.payload`,
which has the last word on everything.

    payload  timestamp 0x08 · metric 0x12 (repeated) · seq 0x18 · uuid 0x22 · body 0x2a

Source: Sparkplug 3.0, section 6.4; https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from contracts.record import Floats, Int64s
from stream_processor.plain_metric import PATTERNS, Pattern, Shape, read_columns

_VARINT_OCTETS_MAX: Final = 10
_METRIC: Final = 0x12
_SPANS_JUDGED: Final = 2
_SPAN_OCTETS_MIN: Final = 100
"""Four or five metrics."""
_TIMESTAMP, _SEQ, _UUID, _BODY = 0x08, 0x18, 0x22, 0x2A


class Stretch(NamedTuple):
    """Metrics of a run that nothing stands between."""

    others_before: int
    """How many metrics of `SplitPayload.rest` came before it."""
    readings: int


class ValueRun(NamedTuple):
    """Plain metrics of one shape, with no plain ones of another shape between them."""

    shape: Shape
    aliases: Int64s
    times_ms: Int64s
    values: Floats
    stretches: Sequence[Stretch]


@dataclass(frozen=True, slots=True)
class SplitPayload:
    """A payload in two parts that together say the same."""

    runs: list[ValueRun]
    rest: bytes
    """A payload of all that is in no run."""

    def __len__(self) -> int:
        return sum(len(run.values) for run in self.runs)


def split_payload(payload: bytes) -> SplitPayload | None:
    """Finds the runs; None if they are not worth it, or if the payload is not of the fields above from end to end."""
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
    runs = _read_runs(payload, spans)
    return SplitPayload(runs, b"".join(rest)) if runs else None


class _Span(NamedTuple):
    """Where a stretch stands."""

    pattern: Pattern
    begin: int
    end: int
    others_before: int


def _find_span(payload: bytes, position: int, others_before: int) -> _Span | None:
    """The stretch that begins here."""
    if payload[position + 2 : position + 3] != b"\x10":
        return None
    for pattern in PATTERNS:
        found = pattern.metrics.match(payload, position)
        if found is not None:
            return _Span(pattern, position, found.end(), others_before)
    return None


def _are_short(spans: list[_Span]) -> bool:
    """Whether shapes change so often that a metric by itself is decoded faster."""
    return len(spans) >= _SPANS_JUDGED and sum(span.end - span.begin for span in spans) < _SPAN_OCTETS_MIN * len(spans)


def _read_runs(payload: bytes, spans: Sequence[_Span]) -> list[ValueRun] | None:
    """None if the length of a metric is wrong."""
    runs = []
    for shape, group in groupby(spans, lambda span: span.pattern.shape):
        run = _read_run(payload, shape, list(group))
        if run is None:
            return None
        runs.append(run)
    return runs


def _read_run(payload: bytes, shape: Shape, spans: Sequence[_Span]) -> ValueRun | None:
    octets = [payload[span.begin : span.end] for span in spans]
    columns = read_columns(shape, b"".join(octets))
    if columns is None:
        return None
    places = [0]
    end = 0
    for each in octets:
        end += len(each)
        places.append(bisect_left(columns.starts, end))
    stretches = [
        Stretch(span.others_before, last - first) for span, (first, last) in zip(spans, pairwise(places), strict=True)
    ]
    return ValueRun(shape, columns.aliases, columns.times_ms, columns.values, stretches)


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
