"""A block of a waveform, and the octets in which the spool keeps a batch of them. Pure.

A batch of blocks stands in the spool beside batches of readings, under an identity of the same kind; its octets say by
their version what they are. All integers are little-endian:

    version u8 = 87 | reserved u8 = 0 | block_count u16 | sample_count u32
    block_count × (channel_id u32 | sample_count u32 | first_ns i64 | sample_rate_hz f64 | reason u8 | reserved 3 × u8)
    samples of all blocks, IEEE 754 binary32
    CRC-32 (zlib's, ISO 3309) of epoch i64, batch i64 and everything above
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from zlib import crc32

VERSION: Final = 87
"""Of a batch of blocks, ASCII `W`; batches of readings (spool.batch_columns) count from 1."""
SAMPLE_BYTES: Final = 4

_IS_LITTLE_ENDIAN: Final = array("H", [1]).tobytes() == b"\x01\x00"
"""This machine."""
_HEADER: Final = struct.Struct("<BBHI")
_BLOCK: Final = struct.Struct("<IIqdB3x")
_IDENTITY: Final = struct.Struct("<qq")
_CHECKSUM: Final = struct.Struct("<I")


class WaveformBlock(NamedTuple):
    """Samples of one channel that follow each other, of one second at most (contracts.waveform)."""

    alias: int
    """Of the waveform's metric; in the spool's octets the file's own channel_id."""
    first_ns: int
    """When the first sample was taken."""
    sample_rate_hz: float
    reason: int
    """Code of `contracts.quality.Reason`, of all its samples."""
    samples: array[float]
    """binary32, in the quantity's unit; NaN: the logger gave no number."""


KeepBlocks = Callable[[list[WaveformBlock]], None]
"""Takes the blocks of one line."""


def little_endian(samples: array[float]) -> bytes:
    """The octets of samples as Sparkplug and the spool have them."""
    if _IS_LITTLE_ENDIAN:
        return samples.tobytes()
    turned = samples[:]
    turned.byteswap()
    return turned.tobytes()


def encode_blocks(epoch: int, batch: int, blocks: Sequence[WaveformBlock]) -> bytes:
    """The octets of a batch of blocks, whose aliases are channel_ids of the spool file."""
    total = sum(len(block.samples) for block in blocks)
    heads = [
        _BLOCK.pack(block.alias, len(block.samples), block.first_ns, block.sample_rate_hz, block.reason)
        for block in blocks
    ]
    samples = [little_endian(block.samples) for block in blocks]
    body = b"".join((_HEADER.pack(VERSION, 0, len(blocks), total), *heads, *samples))
    return body + _CHECKSUM.pack(crc32(body, crc32(_IDENTITY.pack(epoch, batch))))


def is_waveform_body(octets: bytes) -> bool:
    """Whether the octets of a batch are those of blocks."""
    return octets[:1] == bytes((VERSION,))


def sample_count(octets: bytes) -> int:
    """How many samples a batch holds, by its head; 0 if it holds none."""
    if not is_waveform_body(octets) or len(octets) < _HEADER.size:
        return 0
    count: int = _HEADER.unpack_from(octets)[3]
    return count


def decode_blocks(epoch: int, batch: int, octets: bytes) -> list[WaveformBlock]:
    """The blocks of a batch.

    Raises:
        ValueError: they are not what was stored under this identity (checksum, length or version).
    """
    body, checksum = octets[: -_CHECKSUM.size], octets[-_CHECKSUM.size :]
    if _CHECKSUM.pack(crc32(body, crc32(_IDENTITY.pack(epoch, batch)))) != checksum:
        raise ValueError(f"batch {epoch}/{batch}: wrong checksum over {len(octets)} octets")
    try:
        return list(_decode_body(body))
    except struct.error as error:
        raise ValueError(f"batch {epoch}/{batch}: {error}") from error


def _decode_body(body: bytes) -> list[WaveformBlock]:
    version, _, block_count, total = _HEADER.unpack_from(body)
    if version != VERSION:
        raise ValueError(f"version {version} of a batch of blocks, known is {VERSION}")
    at = _HEADER.size + block_count * _BLOCK.size
    if len(body) - at != SAMPLE_BYTES * total:
        raise ValueError(f"{len(body) - at} octets of samples for {total} samples")
    blocks = []
    for number in range(block_count):
        channel_id, count, first_ns, rate_hz, reason = _BLOCK.unpack_from(body, _HEADER.size + number * _BLOCK.size)
        samples = array("f", body[at : at + SAMPLE_BYTES * count])
        if not _IS_LITTLE_ENDIAN:
            samples.byteswap()
        if len(samples) != count:
            raise ValueError(f"{len(samples)} samples of a block of {count}")
        blocks.append(WaveformBlock(channel_id, first_ns, rate_hz, reason, samples))
        at += SAMPLE_BYTES * count
    return blocks
