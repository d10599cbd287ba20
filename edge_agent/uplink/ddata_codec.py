"""DDATA payloads, written straight to protocol-buffer bytes: readings are many, objects are dear.

The result is an ordinary Sparkplug B payload (`contracts.sparkplug.payload` decodes it; tests hold the two
together). Layout, by the wire table of Sparkplug 3.0, section 6.4:

    payload  timestamp 1 · metrics 2 (repeated) · seq 3
    metric   alias 2 · timestamp 3 · is_historical 5 · is_null 7 · properties 9 · double_value 13

Two metrics by name come first, which identify the batch: `Uplink/Epoch` and `Uplink/Batch`, both UInt64 by their birth.
Then channels by alias: a channel is a Double; `Quality` and `Reason` stand beside a value that is not good.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby, repeat
from typing import Final

from contracts import uplink
from contracts.observation import NANOSECONDS_PER_MILLISECOND
from contracts.quality import REASONS, Reason
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.datatype import DataType
from edge_agent.channel_table import Reading
from edge_agent.uplink.waveform_codec import encode_waveform_metric
from edge_agent.waveform.waveform_block import WaveformBlock

_PAYLOAD_TIMESTAMP: Final = b"\x08"
_PAYLOAD_METRIC: Final = b"\x12"
_PAYLOAD_SEQ: Final = b"\x18"
_METRIC_NAME: Final = b"\x0a"
_METRIC_ALIAS: Final = b"\x10"
_METRIC_TIMESTAMP: Final = b"\x18"
_METRIC_IS_HISTORICAL: Final = b"\x28\x01"
_METRIC_IS_NULL: Final = b"\x38\x01"
_METRIC_PROPERTIES: Final = b"\x4a"
_METRIC_LONG_VALUE: Final = b"\x58"
_METRIC_DOUBLE_VALUE: Final = b"\x69"

_VALUE_BYTES: Final = 9
"""A double with its tag. A metric that is good is always shorter than 128 bytes, so its length is one byte."""

_pack_double = struct.Struct("<d").pack


def encode_varint(number: int) -> bytes:
    """A protocol-buffer varint of a non-negative integer."""
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def encode_ddata(
    readings: Sequence[Reading],
    *,
    now_ms: int,
    seq: int,
    epoch: int,
    batch: int,
    is_historical: bool,
    thinned_count: int = 0,
    waveforms: Iterable[WaveformBlock] = (),
) -> bytes:
    """The payload of one batch.

    Args:
        readings: of one bus, in order of time.
        now_ms: when it is sent.
        seq: Sparkplug sequence number, 0 to 255.
        epoch: of the batch's identity, not necessarily this start's.
        batch: of the batch's identity.
        is_historical: the readings are sent late or again.
        thinned_count: readings that were taken out of the batch before, for want of room.
        waveforms: of a batch of them, which has no readings.
    """
    parts = [_PAYLOAD_TIMESTAMP, encode_varint(now_ms)]
    identity = ((uplink.EPOCH, epoch), (uplink.BATCH, batch), (uplink.THINNED, thinned_count))
    for name, number in identity if thinned_count else identity[:2]:
        body = _encode_identity(name, now_ms, number)
        parts += (_PAYLOAD_METRIC, encode_varint(len(body)), body)
    parts += _encode_readings(readings, _METRIC_IS_HISTORICAL if is_historical else b"")
    for block in waveforms:
        body = encode_waveform_metric(block, is_historical=is_historical)
        parts += (_PAYLOAD_METRIC, encode_varint(len(body)), body)
    parts += (_PAYLOAD_SEQ, encode_varint(seq))
    return b"".join(parts)


def _encode_readings(readings: Sequence[Reading], history: bytes) -> Iterator[bytes]:
    """The metrics of a batch: all at once if all are alike, as nearly always; else run by run."""
    if not readings:
        return
    aliases, times_ns, values, reasons = zip(*readings, strict=True)
    middles = {time_ns: _encode_middle(time_ns, history) for time_ns in set(times_ns)}
    is_alike = len(_alias_octets(min(aliases))) == len(_alias_octets(max(aliases)))
    if is_alike and not any(reasons) and None not in values:
        yield _encode_good(aliases, times_ns, values, middles)
        return
    for kind, run in groupby(readings, key=_kind_of):
        if kind is True:
            yield from (
                _encode_reading(alias, value, middles[time_ns], _PROPERTIES[reason])
                for alias, time_ns, value, reason in run
            )
        else:
            aliases, times_ns, values, _ = zip(*run, strict=True)
            yield _encode_good(aliases, times_ns, values, middles)


def _kind_of(reading: Reading) -> bool | int:
    """True if it is not good, else how many bytes its alias takes (they change at 128 and 16,384)."""
    alias, _, value, reason = reading
    return True if reason or value is None else len(_alias_octets(alias))


def _encode_good(
    aliases: Sequence[int], times_ns: Sequence[int], values: Sequence[float | None], middles: Mapping[int, bytes]
) -> bytes:
    """Metrics of good readings whose aliases are equally long: all parts have one length, so one layout does."""
    middle_bytes, alias_bytes = len(middles[times_ns[0]]), len(_alias_octets(aliases[0]))
    head = _PAYLOAD_METRIC + bytes([alias_bytes + middle_bytes + _VALUE_BYTES])
    parts = zip(aliases, times_ns, values, strict=True)
    if len(set(map(len, middles.values()))) > 1:  # of 1970 and of today
        return b"".join(_encode_reading(alias, value, middles[time_ns]) for alias, time_ns, value in parts)
    pack = _metric_layout(alias_bytes, middle_bytes).pack
    tag = repeat(_METRIC_DOUBLE_VALUE)
    return b"".join(
        map(pack, repeat(head), map(_ALIASES.__getitem__, aliases), map(middles.__getitem__, times_ns), tag, values)
    )


@cache
def _metric_layout(alias_bytes: int, middle_bytes: int) -> struct.Struct:
    """Tag and length · alias · timestamp with what follows it · tag of the value · value."""
    return struct.Struct(f"<2s{alias_bytes}s{middle_bytes}scd")


def _encode_middle(time_ns: int, history: bytes) -> bytes:
    """What stands between alias and value."""
    return _METRIC_TIMESTAMP + encode_varint(time_ns // NANOSECONDS_PER_MILLISECOND) + history


def _encode_reading(alias: int, value: float | None, middle: bytes, quality: bytes = b"") -> bytes:
    """One metric; `quality` says why it is not good."""
    body = _alias_octets(alias) + middle
    body += _METRIC_IS_NULL + quality if value is None else quality + _METRIC_DOUBLE_VALUE + _pack_double(value)
    return _PAYLOAD_METRIC + encode_varint(len(body)) + body


def _encode_identity(name: str, now_ms: int, number: int) -> bytes:
    octets = name.encode()
    return b"".join(
        (
            _METRIC_NAME,
            encode_varint(len(octets)),
            octets,
            _METRIC_TIMESTAMP,
            encode_varint(now_ms),
            _METRIC_LONG_VALUE,
            encode_varint(number),
        )
    )


def _encode_properties(reason: Reason) -> bytes:
    properties = wire.PropertySet(keys=["Quality", "Reason"])
    properties.values.add(type=DataType.INT32, int_value=REASONS[reason].sparkplug)
    properties.values.add(type=DataType.STRING, string_value=reason.wire_name)
    octets = properties.SerializeToString(deterministic=True)
    return _METRIC_PROPERTIES + encode_varint(len(octets)) + octets


_PROPERTIES: Final = {reason.value: _encode_properties(reason) for reason in Reason}
_ALIASES: Final[list[bytes]] = []


def _alias_octets(alias: int) -> bytes:
    """Field `alias`, from a table that grows as needed."""
    while alias >= len(_ALIASES):
        _ALIASES.append(_METRIC_ALIAS + encode_varint(len(_ALIASES)))
    return _ALIASES[alias]
