"""A batch as columns, and the octets in which the spool keeps it. Pure.

Readings of one poll share their time, and names are long: so times are runs, and a channel is a number of the
spool's own table. All integers are little-endian:

    version u8 = 1 | flags u8 | run_count u16 | reading_count u16 | reserved u16 = 0 | base_ns i64
    run_count × (time - base_ns, u32 or i64 if WIDE_TIMES)
    run_count × (readings of the run, u16)
    reading_count × (channel_id, u16 or u32 if WIDE_CHANNELS)
    reading_count × (reason code, u8)            only if HAS_REASONS; else all are 0 (good)
    reading_count × (value, IEEE 754 binary64)   NaN: there is no value
    CRC-32 (zlib's, ISO 3309) of epoch i64, batch i64 and everything above

The checksum is there because SQLite has none: a bit that a worn flash card flips inside of a value would otherwise
be sent as a measurement. It covers the identity, so that a body can not turn up under another batch's number.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple
from zlib import crc32

VERSION: Final = 1
READINGS_MAX: Final = 0xFFFF
HAS_REASONS: Final = 1
WIDE_TIMES: Final = 2
WIDE_CHANNELS: Final = 4

_HEADER: Final = struct.Struct("<BBHHHq")
_IDENTITY: Final = struct.Struct("<qq")
_CHECKSUM: Final = struct.Struct("<I")
_NAN: Final = math.nan


class BatchColumns(NamedTuple):
    """The readings of a batch, column by column; all columns are equally long."""

    channel_ids: Sequence[int]
    """Of the spool file's table `channel`, from 0."""
    times_ns: Sequence[int]
    """Phenomenon times."""
    values: Sequence[float | None]
    reasons: Sequence[int]
    """Codes of `contracts.quality.Reason`."""

    def take(self, positions: Sequence[int]) -> BatchColumns:
        """The readings at these positions."""
        channel_ids, times_ns, values, reasons = self
        return BatchColumns(
            [channel_ids[at] for at in positions],
            [times_ns[at] for at in positions],
            [values[at] for at in positions],
            [reasons[at] for at in positions],
        )


NO_READINGS: Final = BatchColumns((), (), (), ())


def encode_columns(epoch: int, batch: int, columns: BatchColumns) -> bytes:
    """The octets of a batch.

    Raises:
        ValueError: more than `READINGS_MAX` readings.
    """
    channel_ids, times_ns, values, reasons = columns
    count = len(times_ns)
    if count > READINGS_MAX:
        raise ValueError(f"batch {epoch}/{batch}: {count} readings, at most {READINGS_MAX} fit")
    runs = [(time_ns, len(list(run))) for time_ns, run in groupby(times_ns)]
    base_ns = min(times_ns, default=0)
    deltas = [time_ns - base_ns for time_ns, _ in runs]
    flags = HAS_REASONS if any(reasons) else 0
    flags |= WIDE_TIMES if max(deltas, default=0) > 0xFFFFFFFF else 0
    flags |= WIDE_CHANNELS if max(channel_ids, default=0) > 0xFFFF else 0
    head = _HEADER.pack(VERSION, flags, len(runs), count, 0, base_ns)
    body = b"".join(
        (
            head,
            struct.pack(_runs_format(flags, len(runs)), *deltas, *(length for _, length in runs)),
            struct.pack(_channels_format(flags, count), *channel_ids),
            bytes(reasons) if flags & HAS_REASONS else b"",
            _pack_values(values),
        )
    )
    return body + _CHECKSUM.pack(crc32(body, crc32(_IDENTITY.pack(epoch, batch))))


def decode_columns(epoch: int, batch: int, octets: bytes) -> BatchColumns:
    """The readings of a batch.

    Raises:
        ValueError: they are not what was stored under this identity (checksum, length or version).
    """
    body, checksum = octets[: -_CHECKSUM.size], octets[-_CHECKSUM.size :]
    if _CHECKSUM.pack(crc32(body, crc32(_IDENTITY.pack(epoch, batch)))) != checksum:
        raise ValueError(f"batch {epoch}/{batch}: wrong checksum over {len(octets)} octets")
    try:
        return _decode_body(body)
    except struct.error as error:
        raise ValueError(f"batch {epoch}/{batch}: {error}") from error


def _decode_body(body: bytes) -> BatchColumns:
    version, flags, run_count, count, _, base_ns = _HEADER.unpack_from(body)
    if version != VERSION:
        raise ValueError(f"version {version} of a batch, known is {VERSION}")
    at = _HEADER.size
    runs_format = _runs_format(flags, run_count)
    runs = struct.unpack_from(runs_format, body, at)
    at += struct.calcsize(runs_format)
    times_ns = [
        base_ns + delta for delta, length in zip(runs[:run_count], runs[run_count:], strict=True) for _ in range(length)
    ]
    channels_format = _channels_format(flags, count)
    channel_ids = struct.unpack_from(channels_format, body, at)
    at += struct.calcsize(channels_format)
    reasons: Sequence[int] = bytes(count)
    if flags & HAS_REASONS:
        reasons = body[at : at + count]
        at += count
    numbers = struct.unpack_from(f"<{count}d", body, at)
    if not len(times_ns) == len(reasons) == count:
        raise ValueError(f"{len(times_ns)} times and {len(reasons)} reasons for {count} readings")
    # A number that is not equal to itself is NaN: no value.
    return BatchColumns(channel_ids, times_ns, [None if x != x else x for x in numbers], reasons)  # noqa: PLR0124


def _runs_format(flags: int, run_count: int) -> str:
    return f"<{run_count}{'q' if flags & WIDE_TIMES else 'I'}{run_count}H"


def _channels_format(flags: int, count: int) -> str:
    return f"<{count}{'I' if flags & WIDE_CHANNELS else 'H'}"


def _pack_values(values: Sequence[float | None]) -> bytes:
    layout = f"<{len(values)}d"
    try:
        return struct.pack(layout, *values)
    except struct.error:
        return struct.pack(layout, *(_NAN if value is None else value for value in values))
