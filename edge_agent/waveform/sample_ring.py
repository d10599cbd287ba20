"""Which registers hold which samples of a ring, and the numbers in them. Pure."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from edge_agent.lines.poll_step import ModbusRequest
from edge_agent.modbus.register_field import RegisterType, WordOrder
from edge_agent.waveform.waveform_plan import AreaPlan, SampleField

_FORMATS: Final = {
    RegisterType.S16: "h",
    RegisterType.U16: "H",
    RegisterType.S32: "i",
    RegisterType.U32: "I",
    RegisterType.F32: "f",
}
SAMPLE_TYPES: Final = frozenset(_FORMATS)
"""What a sample can be."""
_TWO_REGISTERS: Final = frozenset({RegisterType.S32, RegisterType.U32, RegisterType.F32})
_WORD_SWAPPED: Final = frozenset({WordOrder.CDAB, WordOrder.DCBA})
_BYTE_SWAPPED: Final = frozenset({WordOrder.BADC, WordOrder.DCBA})

SampleDecoder = Callable[["array[int]"], Sequence[float]]
"""Registers of whole samples, with the wire's bytes → the numbers of one channel."""


class Stretch(NamedTuple):
    """Samples that one request reads."""

    request: ModbusRequest
    first: int
    """Number of the first sample."""
    samples: int


def register_count(register_type: RegisterType) -> int:
    """Registers of a sample's number."""
    return 2 if register_type in _TWO_REGISTERS else 1


def plan_stretches(
    area: AreaPlan, device_id: int, ring_samples: int, max_registers: int, phase: int, wanted: range
) -> Iterator[Stretch]:
    """The requests for samples of an area, in order; none crosses the end of the ring.

    Args:
        area: where the ring lies.
        device_id: of the logger.
        ring_samples: after so many samples the ring begins anew.
        max_registers: of one request.
        phase: sample number + this, modulo the ring, is its place.
        wanted: numbers of samples.
    """
    width = area.registers_per_sample
    longest = max_registers // width
    number = wanted.start
    while number < wanted.stop:
        place = (number + phase) % ring_samples
        count = min(longest, ring_samples - place, wanted.stop - number)
        request = ModbusRequest(device_id, area.function_code, area.address + place * width, count * width)
        yield Stretch(request, number, count)
        number += count


def words_of(answer: Sequence[int] | bytes) -> Sequence[int]:
    """The registers of an answer as numbers."""
    return struct.unpack(f">{len(answer) // 2}H", answer) if isinstance(answer, bytes) else answer


def registers_of(answer: Sequence[int] | bytes) -> array[int]:
    """The registers of an answer with the wire's bytes, whatever this machine's byte order."""
    octets = answer if isinstance(answer, bytes) else struct.pack(f">{len(answer)}H", *answer)
    return array("H", octets)


def build_decoder(field: SampleField, registers_per_sample: int) -> SampleDecoder:
    """What takes one channel's numbers out of samples."""
    item = _FORMATS[field.register_type]
    offset = field.offset
    is_swapped = field.word_order in _BYTE_SWAPPED
    first, second = (1, 0) if field.word_order in _WORD_SWAPPED else (0, 1)

    def decode_single(registers: array[int]) -> Sequence[float]:
        words = registers[offset::registers_per_sample]
        return _unpack(words, item, is_swapped=is_swapped)

    def decode_double(registers: array[int]) -> Sequence[float]:
        count = len(registers) // registers_per_sample
        words = array("H", bytes(4 * count))
        words[first::2] = registers[offset::registers_per_sample]
        words[second::2] = registers[offset + 1 :: registers_per_sample]
        return _unpack(words, item, is_swapped=is_swapped)

    return decode_double if field.register_type in _TWO_REGISTERS else decode_single


def _unpack(words: array[int], item: str, *, is_swapped: bool) -> Sequence[float]:
    if is_swapped:
        words.byteswap()
    octets = words.tobytes()
    return struct.unpack(f">{len(octets) // struct.calcsize(item)}{item}", octets)
