"""What an agent of ours writes beside its readings, read without the codec: timestamp, epoch, batch, seq. Pure.

    payload  [timestamp 0x08] · metric Uplink/Epoch · metric Uplink/Batch · [seq 0x18]
    metric   0x12 len · name 0x0a · timestamp 0x18 · datatype 0x20 = UInt64 · long_value 0x58

The codec needs 15 microseconds for these two metrics, a quarter of what a payload may cost beside its readings.
Whatever does not look exactly like this is for the codec: it has the last word.

Source: Sparkplug 3.0, section 6.4; https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import re
from typing import Final

from contracts import uplink
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload

_VARINT: Final = rb"([\x80-\xff]{0,8}[\x00-\x7f])"
"""At most nine octets: 63 bits."""
_NAME_OCTETS: Final = 12
assert len(uplink.EPOCH) == len(uplink.BATCH) == _NAME_OCTETS
_METRIC_OCTETS: Final = 2 + _NAME_OCTETS + 1 + 2 + 1
"""Without its two varints."""


def _metric(name: str) -> bytes:
    header = rb"\x12(.)\x0a" + bytes([_NAME_OCTETS])
    return header + re.escape(name.encode()) + rb"\x18" + _VARINT + rb"\x20\x08\x58" + _VARINT


_REST: Final = re.compile(
    rb"(?:\x08" + _VARINT + rb")?" + _metric(uplink.EPOCH) + _metric(uplink.BATCH) + rb"(?:\x18" + _VARINT + rb")?",
    re.DOTALL,
)


def read_batch_identity(payload: bytes) -> Payload | None:
    """What `decode_payload` says of a payload of this form; None of any other."""
    found = _REST.fullmatch(payload)
    if found is None:
        return None
    made, epoch_length, epoch_time, epoch, batch_length, batch_time, batch, seq = found.groups()
    if epoch_length[0] != _METRIC_OCTETS + len(epoch_time) + len(epoch):
        return None
    if batch_length[0] != _METRIC_OCTETS + len(batch_time) + len(batch):
        return None
    return Payload(
        timestamp_ms=None if made is None else _number(made),
        metrics=[_identity(uplink.EPOCH, epoch_time, epoch), _identity(uplink.BATCH, batch_time, batch)],
        seq=None if seq is None else _number(seq),
    )


def _identity(name: str, time_octets: bytes, octets: bytes) -> Metric:
    return Metric(name=name, timestamp_ms=_number(time_octets), datatype=DataType.UINT64, value=_number(octets))


def _number(varint: bytes) -> int:
    number = 0
    for octet in reversed(varint):
        number = number << 7 | octet & 0x7F
    return number
