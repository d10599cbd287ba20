"""Serial frames that are declared, not programmed: a start, a length, a checksum, fields at fixed places.

`FrameParser` takes bytes as they come and gives whole frames and rejects in order. Garbage between frames is
skipped and reported; after a wrong checksum the search goes on one byte later, so that a start sequence inside
of a corrupt frame is not missed. A frame that is not yet whole is never judged before `finish`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from pydantic import Field, model_validator

from contracts.configuration import Settings
from contracts.quality import Reason

HEX_BYTES = r"^(?:[0-9a-fA-F]{2}(?: ?))+$"


class ChecksumKind(StrEnum):
    """How the check byte follows from the bytes that it covers."""

    SUM8_NEGATED = "sum8_negated"
    """Two's complement of the low byte of the sum (Winsen)."""
    SUM8 = "sum8"
    """Low byte of the sum."""
    XOR8 = "xor8"


class Checksum(Settings):
    """Which bytes are covered, and where the check byte stands (offsets in the frame, from 0)."""

    kind: ChecksumKind
    first: int = Field(ge=0)
    last: int = Field(ge=0)
    """The last covered byte, itself included."""
    at: int = Field(ge=0)


class FrameFormat(Settings):
    """What a frame looks like."""

    start_hex: str = Field(pattern=HEX_BYTES)
    length: int = Field(ge=2, le=256)
    """Bytes of the whole frame."""
    checksum: Checksum

    @model_validator(mode="after")
    def _check_offsets(self) -> FrameFormat:
        checksum = self.checksum
        if not checksum.first <= checksum.last < self.length or checksum.at >= self.length:
            raise ValueError(f"the checksum's offsets do not lie within {self.length} bytes")
        if len(self.start) >= self.length:
            raise ValueError(f"the start is not shorter than the {self.length} bytes of the frame")
        return self

    @property
    def start(self) -> bytes:
        """The bytes that each frame begins with."""
        return bytes.fromhex(self.start_hex)


class FrameField(Settings):
    """A number in a frame."""

    offset: int = Field(ge=0)
    type: Literal["u8", "s8", "u16", "s16", "u32", "s32", "f32"] = "u16"
    byte_order: Literal["big", "little"] = "big"


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame with the right checksum."""

    offset: int
    """Where it began in all bytes fed so far."""
    octets: bytes


@dataclass(frozen=True, slots=True)
class Reject:
    """Bytes that are no frame, and why."""

    offset: int
    octets: bytes
    reason: Reason


_TYPE_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {"u8": "B", "s8": "b", "u16": "H", "s16": "h", "u32": "I", "s32": "i", "f32": "f"}
)


def compute_checksum(kind: ChecksumKind, covered: bytes) -> int:
    """The check byte for the covered bytes."""
    if kind is ChecksumKind.XOR8:
        result = 0
        for octet in covered:
            result ^= octet
        return result
    total = sum(covered)
    return (-total if kind is ChecksumKind.SUM8_NEGATED else total) & 0xFF


def field_end(field: FrameField) -> int:
    """The offset after the field's last byte."""
    return field.offset + struct.calcsize(_TYPE_FORMATS[field.type])


def build_field_decoder(field: FrameField) -> Callable[[bytes], float]:
    """The function that reads the field out of a whole frame."""
    layout = struct.Struct(("<" if field.byte_order == "little" else ">") + _TYPE_FORMATS[field.type])
    offset = field.offset

    def decode(octets: bytes) -> float:
        number: float = layout.unpack_from(octets, offset)[0]
        return number

    return decode


class FrameParser:
    """Finds frames in a stream of bytes."""

    def __init__(self, frame_format: FrameFormat) -> None:
        self._format = frame_format
        self._start = frame_format.start
        self._pending = b""
        self._offset = 0

    def feed(self, octets: bytes) -> list[Frame | Reject]:
        """Takes the next bytes; gives what is complete now."""
        self._pending += octets
        found: list[Frame | Reject] = []
        while (step := self._take_next()) is not None:
            found += step
        return found

    def finish(self) -> list[Reject]:
        """Nothing more comes: what is left is a truncated frame, in which a shorter start may hide nothing whole."""
        return self._skip(len(self._pending))

    def _take_next(self) -> list[Frame | Reject] | None:
        """The next step of the search, or None if more bytes are needed."""
        at = self._find_start()
        if at > 0:
            return list(self._skip(at))
        if len(self._pending) < self._format.length:
            return None
        octets = self._pending[: self._format.length]
        checksum = self._format.checksum
        covered = octets[checksum.first : checksum.last + 1]
        if compute_checksum(checksum.kind, covered) != octets[checksum.at]:
            return [*self._advance(1, Reject(self._offset, octets, Reason.CRC_ERROR))]
        return [*self._advance(self._format.length, Frame(self._offset, octets))]

    def _find_start(self) -> int:
        """Where a start, or the beginning of one at the very end, stands in the pending bytes."""
        at = self._pending.find(self._start)
        if at >= 0:
            return at
        for length in range(min(len(self._start) - 1, len(self._pending)), 0, -1):
            if self._start.startswith(self._pending[-length:]):
                return len(self._pending) - length
        return len(self._pending)

    def _skip(self, count: int) -> list[Reject]:
        if not count:
            return []
        garbage = Reject(self._offset, self._pending[:count], Reason.MALFORMED_FRAME)
        self._advance(count, garbage)
        return [garbage]

    def _advance(self, count: int, found: Frame | Reject) -> list[Frame | Reject]:
        self._pending = self._pending[count:]
        self._offset += count
        return [found]
