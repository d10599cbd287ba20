"""Fields of a frame of bytes: how a number is read out of it.

    value = raw · multiplier / divisor + addend

where `raw` is the number under `mask`, shifted right by `shift`.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

from pydantic import Field, FiniteFloat, model_validator

from contracts.configuration import Settings
from edge_agent.frames.checksum import ByteOrder

FieldType = Literal["u8", "s8", "u16", "s16", "u24", "s24", "u32", "s32", "u64", "s64", "f32", "f64"]

MAX_DECIMALS: Final = 9
"""More decimals than this are no instrument's: the byte that says so is corrupt."""

HEX_BYTES: Final = r"^(?:[0-9a-fA-F]{2}(?: ?))+$"
_FLOATS: Final = {"f32": "f", "f64": "d"}


class FieldError(Exception):
    """A field cannot be read: the frame is shorter, or holds no number there."""


class UnitConversion(Settings):
    """From the device's unit to the quantity's."""

    multiplier: FiniteFloat = 1.0
    divisor: FiniteFloat = Field(default=1.0, gt=0.0)
    """10 for tenths: divided, not multiplied by 0.1, so that 241 becomes 24.1 and not 24.100000000000001."""
    addend: FiniteFloat = 0.0

    def convert(self, raw: float) -> float:
        """The value in the quantity's unit."""
        return raw * self.multiplier / self.divisor + self.addend


class NumberField(UnitConversion):
    """A number at a fixed place in a frame of bytes."""

    offset: int
    """Of its first byte, from 0; negative: from the frame's end."""
    type: FieldType = "u16"
    byte_order: ByteOrder = "big"
    mask: int | None = Field(default=None, ge=1, le=0xFFFFFFFFFFFFFFFF)
    shift: int = Field(default=0, ge=0, le=63)
    decimals_at: int | None = None
    """The offset of a byte that says how many decimals the number has."""

    @model_validator(mode="after")
    def _check(self) -> NumberField:
        if self.type in _FLOATS and (self.mask is not None or self.shift):
            raise ValueError(f"{self.type} has no bits to mask or shift")
        return self

    @property
    def width_bytes(self) -> int:
        """Of the number as it stands in the frame."""
        return int(self.type[1:]) // 8

    def decode_raw(self, frame: bytes) -> float:
        """The number as the device sent it, before any conversion. Raises FieldError."""
        octets = _slice(frame, self.offset, self.width_bytes)
        if self.type in _FLOATS:
            number: float = struct.unpack(("<" if self.byte_order == "little" else ">") + _FLOATS[self.type], octets)[0]
            return number
        raw = int.from_bytes(octets, self.byte_order, signed=self.type[0] == "s")
        return (raw if self.mask is None else raw & self.mask) >> self.shift

    def decode(self, frame: bytes) -> float:
        """The value. Raises FieldError."""
        value = self.convert(self.decode_raw(frame))
        if self.decimals_at is None:
            return value
        decimals = _slice(frame, self.decimals_at, 1)[0]
        if decimals > MAX_DECIMALS:
            raise FieldError(f"byte {self.decimals_at} says {decimals} decimals")
        return value / 10.0**decimals


class ByteSpan(Settings):
    """Bytes of a frame from `first` to `last`, both included; negative offsets count from the frame's end."""

    first: int
    last: int

    def cut(self, frame: bytes) -> bytes:
        """The bytes; empty where the frame does not have all of them."""
        first, last = (offset + len(frame) if offset < 0 else offset for offset in (self.first, self.last))
        return frame[first : last + 1] if first >= 0 and last < len(frame) else b""


class ByteConstant(Settings):
    """Bytes that are always the same; where they are not, the frame is malformed."""

    offset: int
    hex: str = Field(pattern=HEX_BYTES)

    def find_fault(self, frame: bytes) -> str:
        """What is wrong; empty if nothing is."""
        wanted = bytes.fromhex(self.hex)
        at = self.offset + len(frame) if self.offset < 0 else self.offset
        stands = frame[at : at + len(wanted)] if at >= 0 else b""
        return "" if stands == wanted else f"byte {at} is {stands.hex().upper()}, not {wanted.hex().upper()}"


def _slice(frame: bytes, offset: int, count: int) -> bytes:
    at = offset + len(frame) if offset < 0 else offset
    if at < 0 or at + count > len(frame):
        raise FieldError(f"bytes {at} to {at + count - 1} are not within the {len(frame)} bytes of the frame")
    return frame[at : at + count]
