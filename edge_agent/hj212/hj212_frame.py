"""Frames of HJ 212-2017 (data transmission of pollution sources), section 6.3. Pure.

    ## | LLLL | segment | CRC | CR LF        LLLL: bytes of the segment, four decimal digits, at most 1024
                                             CRC: four hexadecimal digits over the segment

The CRC of annex A is not that of Modbus: the register's high byte, shifted down, is joined with the next byte, then
shifted eight times with 0xA001. `compute_crc` gives 1C80 for the standard's example; the Modbus CRC of the same
bytes is 0759, which some public programs print, and which is rejected here under its name.
"""

from __future__ import annotations

from typing import Final

from contracts.quality import Reason
from edge_agent.frames.frame_search import MORE, FrameSearch, Verdict, Whole, Wrong, find_start

START: Final = b"##"
END: Final = b"\r\n"
LENGTH_DIGITS: Final = 4
CRC_DIGITS: Final = 4
SEGMENT_BYTES_MAX: Final = 1024
HEAD_BYTES: Final = len(START) + LENGTH_DIGITS
TAIL_BYTES: Final = CRC_DIGITS + len(END)

_POLYNOMIAL: Final = 0xA001
_HEX_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")
_DECIMAL_DIGITS: Final = frozenset(b"0123456789")


def _shift_table() -> tuple[int, ...]:
    """What eight shifts of the register's low byte add to its high byte."""
    table = []
    for octet in range(256):
        register = octet
        for _ in range(8):
            register = (register >> 1) ^ (_POLYNOMIAL if register & 1 else 0)
        table.append(register)
    return tuple(table)


_SHIFTED: Final = _shift_table()


def compute_crc(segment: bytes) -> int:
    """The check of a segment (HJ 212-2017, annex A)."""
    register = 0xFFFF
    for octet in segment:
        register = _SHIFTED[(register >> 8) ^ octet]
    return register


def compute_modbus_crc(segment: bytes) -> int:
    """CRC-16 of Modbus, only to name the commonest mistake."""
    register = 0xFFFF
    for octet in segment:
        register = (register >> 8) ^ _SHIFTED[(register ^ octet) & 0xFF]
    return register


def encode_frame(segment: bytes) -> bytes:
    """Puts a segment into a frame. Raises ValueError if it is longer than the standard allows."""
    if len(segment) > SEGMENT_BYTES_MAX:
        raise ValueError(f"a segment of {len(segment)} bytes is longer than {SEGMENT_BYTES_MAX}")
    return b"".join((START, b"%04d" % len(segment), segment, b"%04X" % compute_crc(segment), END))


def segment_of(frame: bytes) -> bytes:
    """The segment of a whole frame."""
    return frame[HEAD_BYTES:-TAIL_BYTES]


def build_search() -> FrameSearch:
    """Finds these frames in a stream."""
    return FrameSearch([Hj212Shape()])


class Hj212Shape:
    """What a frame looks like in a stream."""

    def find(self, octets: bytes | bytearray, at: int) -> int:
        """See FrameShape."""
        return find_start(octets, START, at)

    def judge(self, octets: bytes | bytearray, at: int, is_last: bool) -> Verdict:
        """See FrameShape."""
        digits = octets[at + len(START) : at + HEAD_BYTES]
        if not _DECIMAL_DIGITS.issuperset(digits):
            return Wrong(1, Reason.MALFORMED_FRAME, f"no length of {LENGTH_DIGITS} decimal digits after ##")
        if len(digits) < LENGTH_DIGITS:
            return _truncated(len(octets) - at) if is_last else MORE
        length = int(digits)
        if length > SEGMENT_BYTES_MAX:
            detail = f"the length {length} is more than {SEGMENT_BYTES_MAX}"
            return Wrong(HEAD_BYTES, Reason.MALFORMED_FRAME, detail)
        return _judge_segment(octets, at + HEAD_BYTES, length) or (_truncated(len(octets) - at) if is_last else MORE)


def _judge_segment(octets: bytes | bytearray, begin: int, length: int) -> Whole | Wrong | None:
    """The verdict on a frame whose segment begins there; None if more bytes are needed."""
    end = begin + length
    early = [at for mark in (END, START) if (at := octets.find(mark, begin, end)) >= 0]
    if early:
        true_length = min(early) - begin
        detail = f"{length} bytes are declared, but the segment ends after {true_length}"
        return Wrong(HEAD_BYTES + true_length, Reason.MALFORMED_FRAME, detail)
    if len(octets) < end + TAIL_BYTES:
        return None
    tail = bytes(octets[end : end + TAIL_BYTES])
    if not tail.endswith(END) or not _HEX_DIGITS.issuperset(tail[:CRC_DIGITS]):
        detail = f"no CRC and line end after the declared {length} bytes, but {tail!r}"
        return Wrong(HEAD_BYTES + length + TAIL_BYTES, Reason.MALFORMED_FRAME, detail)
    return _judge_crc(bytes(octets[begin:end]), int(tail[:CRC_DIGITS], 16))


def _judge_crc(segment: bytes, given: int) -> Whole | Wrong:
    count = HEAD_BYTES + len(segment) + TAIL_BYTES
    computed = compute_crc(segment)
    if given == computed:
        return Whole(count)
    hint = " (it is the CRC of Modbus, which HJ 212 does not use)" if given == compute_modbus_crc(segment) else ""
    return Wrong(count, Reason.CRC_ERROR, f"the CRC is {given:04X}, not {computed:04X}{hint}")


def _truncated(left: int) -> Wrong:
    return Wrong(left, Reason.MALFORMED_FRAME, f"truncated: ends after {left} bytes")
