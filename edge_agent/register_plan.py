"""Modbus registers: which requests to send for a set of fields, and how to read values out of the answers.

A field is a typed place in a device's register table. `plan_reads` covers all fields with few requests;
`narrow_read` is what to try when a device refuses a request (exception 2 or 3) of which a part is legal.

Word orders, for a 32-bit value whose big-endian bytes are A B C D:
    ABCD  as the standard says       CDAB  low word first (Geokon 3810A, JUMO)
    BADC  bytes swapped in words     DCBA  little-endian
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_REGISTERS: Final = 125
"""Registers that one answer to function 3 or 4 can carry (MODBUS Application Protocol V1.1b3, 6.3)."""
FIRST_ADDRESS_AFTER_LAST: Final = 0x10000


class RegisterType(StrEnum):
    """How the words of a field are to be read."""

    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    F32 = "f32"
    F64 = "f64"


class WordOrder(StrEnum):
    """Order of the bytes of a value of several words."""

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"


_FORMATS: Final = {
    RegisterType.U16: "H",
    RegisterType.S16: "h",
    RegisterType.U32: "I",
    RegisterType.S32: "i",
    RegisterType.F32: "f",
    RegisterType.F64: "d",
}
_WORD_COUNTS: Final = {kind: struct.calcsize(f">{code}") // 2 for kind, code in _FORMATS.items()}

Words = Sequence[int]
FieldDecoder = Callable[[Words, int], float]
"""Registers of an answer and the index of the field's first one → the number, an int for integer types."""


@dataclass(frozen=True, slots=True)
class Field:
    """A typed place in a register table."""

    function_code: int
    """3 (holding registers) or 4 (input registers)."""
    address: int
    """Protocol address from 0: register 40103 is 102."""
    register_type: RegisterType = RegisterType.U16
    word_order: WordOrder = WordOrder.ABCD
    mask: int | None = None
    """Of an unsigned integer: only these bits, shifted down to bit 0."""

    @property
    def word_count(self) -> int:
        """How many registers it takes."""
        return _WORD_COUNTS[self.register_type]

    @property
    def end(self) -> int:
        """The address after its last register."""
        return self.address + self.word_count


@dataclass(frozen=True, slots=True)
class Read:
    """One request: `count` registers from `address` on, and the fields that its answer holds."""

    function_code: int
    address: int
    count: int
    fields: tuple[Field, ...]


def plan_reads(
    fields: Sequence[Field], max_registers: int = MAX_REGISTERS, max_hole_registers: int = 8
) -> tuple[Read, ...]:
    """Covers all fields with few requests.

    Args:
        fields: in any order; doubles and overlaps are read once.
        max_registers: the most that the device answers at once.
        max_hole_registers: unwanted registers between two fields that are read along rather than asking twice
            (a request costs 8 bytes and a turn-round on the line, a register 2 bytes).
    """
    reads: list[Read] = []
    run: list[Field] = []
    end = 0
    for field in sorted(set(fields), key=lambda one: (one.function_code, one.address, one.end)):
        joins = (
            bool(run)
            and field.function_code == run[0].function_code
            and field.address - end <= max_hole_registers
            and max(end, field.end) - run[0].address <= max_registers
        )
        if not joins:
            reads += _read_of(run)
            run, end = [], 0
        run.append(field)
        end = max(end, field.end)
    return (*reads, *_read_of(run))


def narrow_read(read: Read) -> tuple[Read, ...]:
    """Smaller requests for the same fields: without its holes, else in halves; empty if there is none smaller."""
    parts = plan_reads(read.fields, max_hole_registers=0)
    if len(parts) > 1:
        return parts
    if len(read.fields) == 1:
        return ()
    middle = len(read.fields) // 2
    halves = (*_read_of(read.fields[:middle]), *_read_of(read.fields[middle:]))
    return halves if all(half.count < read.count for half in halves) else ()


def build_decoder(field: Field) -> FieldDecoder:
    """The function that reads `field` out of an answer's registers."""
    if field.mask is not None:
        return _masked(build_decoder(_without_mask(field)), field.mask)
    if field.register_type is RegisterType.U16 and field.word_order in {WordOrder.ABCD, WordOrder.CDAB}:
        return _decode_u16
    return _by_struct(field)


def _decode_u16(words: Words, at: int) -> float:
    return words[at]


def _by_struct(field: Field) -> FieldDecoder:
    count = field.word_count
    swaps_words = field.word_order in {WordOrder.CDAB, WordOrder.DCBA}
    swaps_bytes = field.word_order in {WordOrder.BADC, WordOrder.DCBA}
    pack = struct.Struct(f"{'<' if swaps_bytes else '>'}{count}H").pack
    unpack = struct.Struct(f">{_FORMATS[field.register_type]}").unpack

    def decode(words: Words, at: int) -> float:
        taken = words[at : at + count]
        number: float = unpack(pack(*(taken[::-1] if swaps_words else taken)))[0]
        return number

    return decode


def _masked(decode: FieldDecoder, mask: int) -> FieldDecoder:
    shift = (mask & -mask).bit_length() - 1
    return lambda words, at: (int(decode(words, at)) & mask) >> shift


def _without_mask(field: Field) -> Field:
    return Field(field.function_code, field.address, field.register_type, field.word_order)


def _read_of(fields: Sequence[Field]) -> tuple[Read, ...]:
    if not fields:
        return ()
    first = min(field.address for field in fields)
    last = max(field.end for field in fields)
    return (Read(fields[0].function_code, first, last - first, tuple(fields)),)
