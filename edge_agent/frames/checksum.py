"""Checksums of frames: declared by kind and, for a CRC, by its parameters.

    sum8           low byte of the sum                      sum8_negated   two's complement of it (Winsen, Honeywell)
    sum8_inverted  NOT of it (Sensirion SHDLC)              sum16          low 16 bits of the sum (Plantower)
    xor8           exclusive or of all bytes (NMEA 0183)    crc8, crc16, crc32

CRCs follow the Rocksoft model (R. Williams, A painless guide to CRC error detection algorithms, 1993, section 15):
`polynomial` as usually printed (0x8005, not 0xA001), `initial`, `reflected` (both ways), `final_xor`.

The check stands in the frame as bytes, as hexadecimal digits (NMEA 0183: `*5A`), or as the three characters of SDI-12
(SDI-12 specification 1.4, section 4.4.12.2: 0x40 | crc >> 12, 0x40 | crc >> 6 & 0x3F, 0x40 | crc & 0x3F).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from operator import xor
from typing import Final, Literal

from pydantic import Field, model_validator

from contracts.configuration import Settings

ChecksumKind = Literal["sum8", "sum8_negated", "sum8_inverted", "sum16", "xor8", "crc8", "crc16", "crc32"]
ByteOrder = Literal["big", "little"]

_WIDTH_BYTES: Final = {"sum16": 2, "crc16": 2, "crc32": 4}
_SDI12_CHARACTERS: Final = 3


class Checksum(Settings):
    """Which bytes are covered, and where the check stands: offsets in the frame, negative ones from its end."""

    kind: ChecksumKind
    first: int = 0
    last: int
    """The last covered byte, itself included."""
    at: int
    """The first byte of the check."""
    byte_order: ByteOrder = "big"
    encoding: Literal["binary", "hex", "sdi12"] = "binary"
    polynomial: int | None = Field(default=None, ge=1, le=0xFFFFFFFF)
    initial: int = Field(default=0, ge=0, le=0xFFFFFFFF)
    """What the register (or the sum) begins with."""
    reflected: bool = False
    final_xor: int = Field(default=0, ge=0, le=0xFFFFFFFF)

    @model_validator(mode="after")
    def _check(self) -> Checksum:
        if self.kind.startswith("crc") != (self.polynomial is not None):
            raise ValueError("a CRC has a polynomial, and nothing else has one")
        if self.encoding == "sdi12" and self.width_bytes != 2:
            raise ValueError("the three characters of SDI-12 hold a crc16")
        return self

    @property
    def width_bytes(self) -> int:
        """Of the number itself."""
        return _WIDTH_BYTES.get(self.kind, 1)

    @property
    def field_bytes(self) -> int:
        """Of the check as it stands in the frame."""
        if self.encoding == "sdi12":
            return _SDI12_CHARACTERS
        return self.width_bytes * 2 if self.encoding == "hex" else self.width_bytes

    def compute(self, covered: bytes) -> bytes:
        """The check for the covered bytes, as it must stand in the frame (hexadecimal digits in upper case)."""
        number = self.compute_number(covered)
        if self.encoding == "sdi12":
            return bytes((0x40 | number >> 12, 0x40 | number >> 6 & 0x3F, 0x40 | number & 0x3F))
        octets = number.to_bytes(self.width_bytes, self.byte_order)
        return octets.hex().upper().encode() if self.encoding == "hex" else octets

    def compute_number(self, covered: bytes) -> int:
        """The check for the covered bytes."""
        if self.polynomial is not None:
            return _compute_crc(
                covered, self.width_bytes * 8, self.polynomial, self.initial, self.reflected, self.final_xor
            )
        if self.kind == "xor8":
            return reduce(xor, covered, self.initial & 0xFF)
        return _SUMS[self.kind](self.initial + sum(covered))

    def has_room(self, frame: bytes) -> bool:
        """Whether the frame is long enough for what is covered, and for the check itself."""
        first, last, at = self._places(frame)
        return first >= 0 and last >= first and at >= 0 and max(at + self.field_bytes, last + 1) <= len(frame)

    def find_fault(self, frame: bytes) -> str:
        """What is wrong with the check of this frame, which has room for it; empty if it is right."""
        first, last, at = self._places(frame)
        stands = frame[at : at + self.field_bytes]
        wanted = self.compute(frame[first : last + 1])
        if (stands.upper() if self.encoding == "hex" else stands) == wanted:
            return ""
        return f"the check at byte {at} is {_show(self, stands)}, computed {_show(self, wanted)}"

    def _places(self, frame: bytes) -> tuple[int, int, int]:
        first, last, at = (offset + len(frame) if offset < 0 else offset for offset in (self.first, self.last, self.at))
        return first, last, at


_SUMS: Final[Mapping[str, Callable[[int], int]]] = {
    "sum8": lambda total: total & 0xFF,
    "sum8_negated": lambda total: -total & 0xFF,
    "sum8_inverted": lambda total: ~total & 0xFF,
    "sum16": lambda total: total & 0xFFFF,
}


def _show(checksum: Checksum, octets: bytes) -> str:
    return octets.hex().upper() if checksum.encoding == "binary" else repr(octets.decode("latin-1"))


def _compute_crc(octets: bytes, bits: int, polynomial: int, initial: int, reflected: bool, final_xor: int) -> int:
    table = _crc_table(bits, polynomial, reflected)
    mask = (1 << bits) - 1
    register = _reflect(initial & mask, bits) if reflected else initial & mask
    if reflected:
        for octet in octets:
            register = register >> 8 ^ table[(register ^ octet) & 0xFF]
    else:
        for octet in octets:
            register = (register << 8 & mask) ^ table[register >> bits - 8 ^ octet]
    return (register ^ final_xor) & mask


@lru_cache(maxsize=32)
def _crc_table(bits: int, polynomial: int, reflected: bool) -> tuple[int, ...]:
    """The register after each single byte."""
    mask, top = (1 << bits) - 1, 1 << bits - 1
    table = []
    for octet in range(256):
        register = (_reflect(octet, 8) if reflected else octet) << bits - 8
        for _ in range(8):
            register = (register << 1 ^ polynomial if register & top else register << 1) & mask
        table.append(_reflect(register, bits) if reflected else register)
    return tuple(table)


def _reflect(number: int, bits: int) -> int:
    return int(f"{number:0{bits}b}"[::-1], 2)
