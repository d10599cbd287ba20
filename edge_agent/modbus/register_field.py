"""Modbus registers: typed places in a device's table, and how to read numbers out of the words of an answer. Pure.

Word orders, for a 32-bit value whose big-endian bytes are A B C D (a 64-bit value likewise):
    ABCD  as the standard says       CDAB  low word first (Geokon 3810A, JUMO)
    BADC  bytes swapped in words     DCBA  little-endian

A 64-bit integer becomes a float: beyond 2^53 its last digits are rounded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

MAX_REGISTERS: Final = 125
"""Registers that one answer to function 3 or 4 can carry (MODBUS Application Protocol V1.1b3, 6.3)."""
MAX_BITS: Final = 2000
"""Coils or discrete inputs that one answer to function 1 or 2 can carry (the same, 6.1)."""
BITS_PER_REGISTER: Final = 16
BIT_FUNCTION_CODES: Final = frozenset({1, 2})
"""Read coils, read discrete inputs: an address is one bit."""


class RegisterType(StrEnum):
    """How the words of a field are to be read."""

    BIT = "bit"
    """A coil or a discrete input."""
    U8_HIGH = "u8_high"
    """The upper byte of a register, which is the first on the wire."""
    U8_LOW = "u8_low"
    S8_HIGH = "s8_high"
    S8_LOW = "s8_low"
    U8_TENTHS = "u8_tenths"
    """Upper byte: whole units; lower byte: tenths. Chinese gas transmitters print 0x1409 for 20.9."""
    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    U64 = "u64"
    S64 = "s64"
    F32 = "f32"
    F64 = "f64"


class WordOrder(StrEnum):
    """Order of the bytes of a value of several words."""

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"


_FORMATS: Final = {
    RegisterType.BIT: "H",
    RegisterType.U8_HIGH: "Bx",
    RegisterType.U8_LOW: "xB",
    RegisterType.S8_HIGH: "bx",
    RegisterType.S8_LOW: "xb",
    RegisterType.U8_TENTHS: "H",
    RegisterType.U16: "H",
    RegisterType.S16: "h",
    RegisterType.U32: "I",
    RegisterType.S32: "i",
    RegisterType.U64: "Q",
    RegisterType.S64: "q",
    RegisterType.F32: "f",
    RegisterType.F64: "d",
}
_WORD_COUNTS: Final = {kind: struct.calcsize(f">{code}") // 2 for kind, code in _FORMATS.items()}
UNSIGNED_TYPES: Final = frozenset(
    {
        RegisterType.U8_HIGH,
        RegisterType.U8_LOW,
        RegisterType.U16,
        RegisterType.U32,
        RegisterType.U64,
    }
)
"""Types of which single bits can be taken."""
_BYTE_SWAPPED: Final = frozenset({WordOrder.BADC, WordOrder.DCBA})
_WORD_SWAPPED: Final = frozenset({WordOrder.CDAB, WordOrder.DCBA})

Words = Sequence[int]
FieldDecoder = Callable[[Words, int], float]
"""Registers of an answer and the index of the field's first one → the number, an int for integer types."""
BlockDecoder = Callable[[Words], Sequence[float]]
"""All registers of an answer → the numbers of all fields, in their order."""


@dataclass(frozen=True, slots=True)
class Field:
    """A typed place in a register table."""

    function_code: int
    """1 (coils), 2 (discrete inputs), 3 (holding registers) or 4 (input registers)."""
    address: int
    """Protocol address from 0: register 40103 is 102."""
    register_type: RegisterType = RegisterType.U16
    word_order: WordOrder = WordOrder.ABCD
    mask: int | None = None
    """Of an unsigned integer: only these bits, shifted down to bit 0."""

    @property
    def word_count(self) -> int:
        """How many registers (or bits, for function codes 1 and 2) it takes."""
        return _WORD_COUNTS[self.register_type]

    @property
    def end(self) -> int:
        """The address after its last register."""
        return self.address + self.word_count


def count_limit(function_code: int) -> int:
    """The most that one request with this function code may ask for, by the standard."""
    return MAX_BITS if function_code in BIT_FUNCTION_CODES else MAX_REGISTERS


def build_decoder(field: Field) -> FieldDecoder:
    """The function that reads `field` out of an answer's registers."""
    if field.mask is not None:
        return _masked(build_decoder(replace(field, mask=None)), field.mask)
    if field.register_type is RegisterType.BIT:
        return _decode_word
    if field.register_type is RegisterType.U8_TENTHS:
        return _decode_tenths
    if field.register_type is RegisterType.U16 and field.word_order not in _BYTE_SWAPPED:
        return _decode_word
    return _by_struct(field)


def build_block_decoder(places: Sequence[tuple[Field, int]], count: int) -> BlockDecoder:
    """The function that reads all fields out of an answer of `count` words at once.

    Args:
        places: each field with the index of its first word.
        count: words of the answer.
    """
    if _is_words(places, count):
        return lambda words: words
    layout = _struct_of(places, count)
    if layout is not None:
        pack, unpack = struct.Struct(f">{count}H").pack, layout.unpack
        return lambda words: unpack(pack(*words))
    decoders = [(build_decoder(field), at) for field, at in places]
    return lambda words: [decode(words, at) for decode, at in decoders]


def decode_text(words: Words, word_order: WordOrder = WordOrder.ABCD) -> str:
    """Characters of a text register, two to a word; what follows a NUL and blanks at the end are left out.

    Only the swap of bytes within words is known to exist in texts. Bytes beyond ASCII show as escapes.
    """
    endian = "<" if word_order in _BYTE_SWAPPED else ">"
    octets = struct.pack(f"{endian}{len(words)}H", *words)
    return octets.split(b"\0", 1)[0].decode("ascii", "backslashreplace").rstrip()


def encode_number(number: float, register_type: RegisterType, word_order: WordOrder = WordOrder.ABCD) -> list[int]:
    """Registers that hold `number`.

    Raises:
        ValueError: the type cannot hold it (too large, negative, or a fraction in an integer).
    """
    code = _FORMATS[register_type]
    is_float = code in {"f", "d"}
    if not is_float and number != int(number):
        raise ValueError(f"{number} is no whole number, as {register_type} must be")
    try:
        octets = struct.pack(f">{code}", number if is_float else int(number))
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{number} does not fit into {register_type}: {error}") from error
    words = list(struct.unpack(f"{'<' if word_order in _BYTE_SWAPPED else '>'}{len(octets) // 2}H", octets))
    return words[::-1] if word_order in _WORD_SWAPPED else words


def _struct_of(places: Sequence[tuple[Field, int]], count: int) -> struct.Struct | None:
    """One layout for all fields; None if they overlap, are out of order, or are more than plain numbers."""
    codes, end = [">"], 0
    for field, at in places:
        is_plain = field.mask is None and field.word_order is WordOrder.ABCD
        if not is_plain or at < end or field.register_type is RegisterType.U8_TENTHS:
            return None
        codes.append("2x" * (at - end) + _FORMATS[field.register_type])
        end = at + field.word_count
    return struct.Struct("".join(codes) + "2x" * (count - end))


def _is_words(places: Sequence[tuple[Field, int]], count: int) -> bool:
    """Whether each word of the answer is a field, and nothing else is."""
    is_plain = all(
        field.register_type is RegisterType.U16 and field.mask is None and field.word_order not in _BYTE_SWAPPED
        for field, _ in places
    )
    return is_plain and [at for _, at in places] == list(range(count))


def _decode_word(words: Words, at: int) -> float:
    return words[at]


def _decode_tenths(words: Words, at: int) -> float:
    return (words[at] >> 8) + (words[at] & 0xFF) / 10.0


def _by_struct(field: Field) -> FieldDecoder:
    count = field.word_count
    swaps_words = field.word_order in _WORD_SWAPPED
    pack = struct.Struct(f"{'<' if field.word_order in _BYTE_SWAPPED else '>'}{count}H").pack
    unpack = struct.Struct(f">{_FORMATS[field.register_type]}").unpack

    def decode(words: Words, at: int) -> float:
        taken = words[at : at + count]
        number: float = unpack(pack(*(taken[::-1] if swaps_words else taken)))[0]
        return number

    return decode


def _masked(decode: FieldDecoder, mask: int) -> FieldDecoder:
    shift = (mask & -mask).bit_length() - 1
    return lambda words, at: (int(decode(words, at)) & mask) >> shift
