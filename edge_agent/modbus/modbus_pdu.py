"""What a Modbus message says: questions and answers by function code, without their frames. Pure.

    function code   question                                  answer
    1, 2            address, count                            byte count, bits (first in the lowest)
    3, 4            address, count                            byte count, registers
    5, 6            address, value                            the same again
    15              address, count, byte count, bits          address, count
    16              address, count, byte count, registers     address, count
    22              address, and-mask, or-mask                the same again
    23              read address, count, write address,       byte count, registers
                    count, byte count, registers
    code + 128      —                                         exception code

Source: MODBUS Application Protocol V1.1b3, section 6. Other function codes are known by their length only, or not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

EXCEPTION_BIT: Final = 0x80
_READS_BITS: Final = frozenset({1, 2})
_READS_REGISTERS: Final = frozenset({3, 4, 23})
_ECHOES: Final = frozenset({5, 6, 8, 22})
_WRITES_MANY: Final = frozenset({15, 16})
_FIXED_QUESTION_BYTES: Final = {1: 5, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 7: 1, 8: 5, 11: 1, 12: 1, 17: 1, 22: 7, 24: 3}
_COUNTED_QUESTION: Final = {15: (5, 6), 16: (5, 6), 20: (1, 2), 21: (1, 2), 23: (9, 10)}
"""Function code → where the byte count stands, and the bytes before what it counts."""
_FIXED_ANSWER_BYTES: Final = {5: 5, 6: 5, 7: 2, 8: 5, 11: 5, 15: 5, 16: 5, 22: 7}
_COUNTED_ANSWER: Final = dict.fromkeys((1, 2, 3, 4, 12, 17, 20, 21, 23), (1, 2))
_EXCEPTION_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks."""

    function_code: int
    address: int | None = None
    """Of the first coil or register; None for function codes that have none."""
    count: int = 0
    """Coils or registers that are read or written."""
    written: tuple[int, ...] = ()
    """Values that are written: coils 0 or 1; function 5 as sent, 0xFF00 or 0."""


def question_bytes(pdu_head: bytes) -> int | None:
    """How long the question is that begins so; None if that cannot be said (yet)."""
    return _length(pdu_head, _FIXED_QUESTION_BYTES, _COUNTED_QUESTION)


def answer_bytes(pdu_head: bytes) -> int | None:
    """How long the answer is that begins so; None if that cannot be said (yet)."""
    if pdu_head and pdu_head[0] & EXCEPTION_BIT:
        return _EXCEPTION_BYTES
    return _length(pdu_head, _FIXED_ANSWER_BYTES, _COUNTED_ANSWER)


def is_length_open(pdu_head: bytes) -> bool:
    """Whether more bytes would tell how long the message is."""
    if not pdu_head:
        return True
    places = (_COUNTED_QUESTION.get(pdu_head[0]), _COUNTED_ANSWER.get(pdu_head[0]))
    return any(place is not None and len(pdu_head) <= place[0] for place in places)


def parse_question(pdu: bytes) -> Question | None:
    """The question, or None if these bytes are none."""
    if not pdu or question_bytes(pdu) != len(pdu):
        return None
    parse = _QUESTIONS.get(pdu[0])
    return Question(pdu[0]) if parse is None else parse(pdu)


def parse_numbers(pdu: bytes, question: Question | None) -> tuple[int, ...] | None:
    """The bits or registers of an answer to a read; None if it is none, or does not fit its question.

    Without a question, bits are as many as the bytes hold.
    """
    if len(pdu) < 2 or answer_bytes(pdu) != len(pdu):
        return None
    octets = pdu[2:]
    if pdu[0] in _READS_BITS:
        bits = tuple(octet >> at & 1 for octet in octets for at in range(8))
        if question is None:
            return bits
        return bits[: question.count] if len(octets) == -(-question.count // 8) else None
    if pdu[0] not in _READS_REGISTERS or len(octets) % 2:
        return None
    return _registers(octets) if question is None or len(octets) == 2 * question.count else None


def is_echo_of(pdu: bytes, question: Question) -> bool:
    """Whether an answer confirms a write as the standard says."""
    if not pdu or pdu[0] != question.function_code or len(pdu) != answer_bytes(pdu):
        return False
    if pdu[0] in _WRITES_MANY:
        return struct.unpack_from(">HH", pdu, 1) == (question.address, question.count)
    if pdu[0] in {5, 6, 22}:
        return struct.unpack_from(f">{(len(pdu) - 1) // 2}H", pdu, 1) == (question.address, *question.written)
    return pdu[0] in _ECHOES


def _length(pdu: bytes, fixed: dict[int, int], counted: dict[int, tuple[int, int]]) -> int | None:
    if not pdu:
        return None
    if pdu[0] in fixed:
        return fixed[pdu[0]]
    place = counted.get(pdu[0])
    return None if place is None or len(pdu) <= place[0] else place[1] + pdu[place[0]]


def _parse_read(pdu: bytes) -> Question | None:
    code, address, count = struct.unpack(">BHH", pdu)
    return Question(code, address, count) if count else None


def _parse_single_write(pdu: bytes) -> Question | None:
    code, address, value = struct.unpack(">BHH", pdu)
    return Question(code, address, 1, (value,))


def _parse_coils(pdu: bytes) -> Question | None:
    code, address, count, byte_count = struct.unpack_from(">BHHB", pdu)
    if byte_count != -(-count // 8):
        return None
    return Question(code, address, count, tuple(octet >> at & 1 for octet in pdu[6:] for at in range(8))[:count])


def _parse_registers(pdu: bytes) -> Question | None:
    code, address, count, byte_count = struct.unpack_from(">BHHB", pdu)
    return Question(code, address, count, _registers(pdu[6:])) if byte_count == 2 * count else None


def _parse_mask(pdu: bytes) -> Question | None:
    code, address, and_mask, or_mask = struct.unpack(">BHHH", pdu)
    return Question(code, address, 1, (and_mask, or_mask))


def _parse_read_write(pdu: bytes) -> Question | None:
    code, address, count = struct.unpack_from(">BHH", pdu)
    return Question(code, address, count, _registers(pdu[10:]))


def _registers(octets: bytes) -> tuple[int, ...]:
    registers: Sequence[int] = struct.unpack(f">{len(octets) // 2}H", octets[: len(octets) // 2 * 2])
    return tuple(registers)


_QUESTIONS: Final[Mapping[int, Callable[[bytes], Question | None]]] = {
    **dict.fromkeys((1, 2, 3, 4), _parse_read),
    **dict.fromkeys((5, 6), _parse_single_write),
    15: _parse_coils,
    16: _parse_registers,
    22: _parse_mask,
    23: _parse_read_write,
}
