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
from collections.abc import Iterable
from typing import Final

from contracts import uplink
from contracts.observation import NANOSECONDS_PER_MILLISECOND
from contracts.quality import REASONS, Reason
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.datatype import DataType
from edge_agent.channel_table import Reading

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

_DOUBLE_BYTES: Final = 8
_HEADERS: Final = [_PAYLOAD_METRIC + bytes([length]) for length in range(128)]
"""Tag and length of a metric; one that is good is always shorter than 128 bytes."""

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
    readings: Iterable[Reading],
    *,
    now_ms: int,
    seq: int,
    epoch: int,
    batch: int,
    is_historical: bool,
    thinned_count: int = 0,
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
    """
    parts = [_PAYLOAD_TIMESTAMP, encode_varint(now_ms)]
    identity = ((uplink.EPOCH, epoch), (uplink.BATCH, batch), (uplink.THINNED, thinned_count))
    for name, number in identity if thinned_count else identity[:2]:
        body = _encode_identity(name, now_ms, number)
        parts += (_PAYLOAD_METRIC, encode_varint(len(body)), body)
    append = parts.append
    history = _METRIC_IS_HISTORICAL if is_historical else b""
    last_ns, middle, middle_good = -1, b"", b""
    for alias, phenomenon_ns, value, reason in readings:
        if phenomenon_ns != last_ns:
            last_ns = phenomenon_ns
            middle = _METRIC_TIMESTAMP + encode_varint(phenomenon_ns // NANOSECONDS_PER_MILLISECOND) + history
            middle_good = middle + _METRIC_DOUBLE_VALUE
        named = _ALIASES[alias] if alias < len(_ALIASES) else _alias_octets(alias)
        if reason == 0 and value is not None:
            append(_HEADERS[len(named) + len(middle_good) + _DOUBLE_BYTES] + named + middle_good + _pack_double(value))
        else:
            body = named + middle + _encode_bad(value, reason)
            append(_PAYLOAD_METRIC + encode_varint(len(body)) + body)
    parts += (_PAYLOAD_SEQ, encode_varint(seq))
    return b"".join(parts)


def _encode_bad(value: float | None, reason: int) -> bytes:
    """Everything of a metric after its timestamp, for a reading that is not good."""
    properties = _PROPERTIES[reason]
    if value is None:
        return _METRIC_IS_NULL + properties
    return properties + _METRIC_DOUBLE_VALUE + _pack_double(value)


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
