"""The payload of an NCMD that tells a gateway of batches, as octets. Pure.

    payload  timestamp 0x08 · metric 0x12 · metric 0x12
    metric   name 0x0a · timestamp 0x18 · datatype 0x20 · long_value 0x58, or bytes_value 0x82 0x01

One is due for nearly every payload that comes in, and the codec needs 15 microseconds for it, this 3. They say the same
(tests/unit/stream_processor/test_ranges_payload.py).

Source: Sparkplug 3.0, section 6.4; https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from contracts.sparkplug.datatype import DataType


def encode_ranges_payload(
    time_ms: int, epoch_name: str, epoch: int, ranges_name: str, flat_ranges: Sequence[int]
) -> bytes:
    """A UInt64 metric with the epoch, and a UInt64Array metric with the ranges.

    Args:
        time_ms: when it is made, also of both metrics.
        epoch_name: of the first metric.
        epoch: of the batches, 0 to 2^64 - 1 as the ranges' numbers.
        ranges_name: of the second metric.
        flat_ranges: batch numbers: from, to, from, to, …
    """
    time = _varint(time_ms)
    numbers = struct.pack(f"<{len(flat_ranges)}Q", *flat_ranges)
    return b"".join(
        (
            b"\x08",
            time,
            _metric(epoch_name, time, DataType.UINT64, b"\x58" + _varint(epoch)),
            _metric(ranges_name, time, DataType.UINT64_ARRAY, b"\x82\x01" + _varint(len(numbers)) + numbers),
        )
    )


def _metric(name: str, time: bytes, datatype: DataType, value: bytes) -> bytes:
    octets = name.encode()
    body = b"".join((b"\x0a", _varint(len(octets)), octets, b"\x18", time, b"\x20", _varint(datatype), value))
    return b"\x12" + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)
