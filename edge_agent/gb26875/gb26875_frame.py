"""Frames of GB/T 26875.3-2011 (alarm transmission between fire transmitters and a centre), section 6.6. Pure.

bytes  1..2   40 40, `@@`
3..4   serial number, low byte first
5..6   main version, user version
7..12  when it was sent: second, minute, hour, day, month, year - 2000, plain binary (8.2.2)
13..18  source address, low byte first
19..24  destination address, low byte first
25..26  length of the data unit, low byte first, at most 1024
27      command
28..    data unit
then   sum of bytes 3..27 and of the data unit, low byte · 23 23, `##`
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from contracts.quality import Reason
from edge_agent.frames.frame_search import MORE, FrameSearch, Verdict, Whole, Wrong, find_start

START: Final = b"@@"
END: Final = b"##"
HEAD: Final = struct.Struct("<2sHBB6s6s6sHB")
TAIL_BYTES: Final = 1 + len(END)
FRAME_BYTES_MIN: Final = HEAD.size + TAIL_BYTES
DATA_UNIT_BYTES_MAX: Final = 1024
FIRST_USER_COMMAND: Final = 128
_LENGTH_AT: Final = 24


class Command(IntEnum):
    """Command byte (table 2)."""

    CONTROL = 1
    SEND = 2
    CONFIRM = 3
    REQUEST = 4
    REPLY = 5
    DENY = 6


_COMMANDS: Final = frozenset(Command)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame without its start, length, check and end."""

    serial_number: int
    command: int
    data_unit: bytes = b""
    source: int = 0
    destination: int = 0
    sent_at: bytes = bytes(6)
    """As on the wire."""
    main_version: int = 1
    user_version: int = 0


def compute_sum(covered: bytes | bytearray | memoryview) -> int:
    """The check byte: the sum without its carries."""
    return sum(covered) & 0xFF


def decode_frame(octets: bytes) -> Frame:
    """Takes a whole frame apart, as the scanner gives it."""
    _, serial_number, main, user, sent_at, source, destination, length, command = HEAD.unpack_from(octets)
    return Frame(
        serial_number=serial_number,
        command=command,
        data_unit=octets[HEAD.size : HEAD.size + length],
        source=int.from_bytes(source, "little"),
        destination=int.from_bytes(destination, "little"),
        sent_at=sent_at,
        main_version=main,
        user_version=user,
    )


def encode_frame(frame: Frame) -> bytes:
    """Puts a frame together. Raises ValueError if its data unit is longer than the standard allows."""
    if len(frame.data_unit) > DATA_UNIT_BYTES_MAX:
        raise ValueError(f"a data unit of {len(frame.data_unit)} bytes is longer than {DATA_UNIT_BYTES_MAX}")
    head = HEAD.pack(
        START,
        frame.serial_number,
        frame.main_version,
        frame.user_version,
        frame.sent_at,
        frame.source.to_bytes(6, "little"),
        frame.destination.to_bytes(6, "little"),
        len(frame.data_unit),
        frame.command,
    )
    check = compute_sum(head[len(START) :] + frame.data_unit)
    return b"".join((head, frame.data_unit, bytes((check,)), END))


def decode_refused(octets: bytes) -> Frame | None:
    """The head of a frame that begins, ends and is as long as it should be, and was refused for what it holds."""
    if len(octets) < FRAME_BYTES_MIN or not octets.startswith(START) or not octets.endswith(END):
        return None
    frame = decode_frame(octets)
    return frame if len(octets) == FRAME_BYTES_MIN + len(frame.data_unit) else None


def build_search() -> FrameSearch:
    """Finds these frames in a stream."""
    return FrameSearch([Gb26875Shape()])


class Gb26875Shape:
    """What a frame looks like in a stream."""

    def find(self, octets: bytes | bytearray, at: int) -> int:
        """See FrameShape."""
        return find_start(octets, START, at)

    def judge(self, octets: bytes | bytearray, at: int, is_last: bool) -> Verdict:
        """See FrameShape."""
        return _judge_frame(octets, at) or (_truncated(len(octets) - at) if is_last else MORE)


def _judge_frame(octets: bytes | bytearray, at: int) -> Whole | Wrong | None:
    """None: more bytes are needed."""
    if len(octets) - at < HEAD.size:
        return None
    length = int.from_bytes(octets[at + _LENGTH_AT : at + _LENGTH_AT + 2], "little")
    if length > DATA_UNIT_BYTES_MAX:
        detail = f"the data unit's length {length} is more than {DATA_UNIT_BYTES_MAX}"
        return Wrong(HEAD.size, Reason.MALFORMED_FRAME, detail)
    count = FRAME_BYTES_MIN + length
    if len(octets) - at < count:
        return None
    end = bytes(octets[at + count - len(END) : at + count])
    if end != END:
        detail = f"{end.hex()} stands where the frame should end with {END.hex()}"
        return Wrong(count, Reason.MALFORMED_FRAME, detail)
    return _judge_whole(bytes(octets[at : at + count]))


def _judge_whole(octets: bytes) -> Whole | Wrong:
    """Start, length and end are right."""
    given = octets[-TAIL_BYTES]
    computed = compute_sum(octets[len(START) : -TAIL_BYTES])
    if given != computed:
        return Wrong(len(octets), Reason.CRC_ERROR, f"the checksum is {given:02X}, not {computed:02X}")
    command = octets[HEAD.size - 1]
    if command not in _COMMANDS and command < FIRST_USER_COMMAND:
        detail = f"the command {command} is not one of 1 to 6 and 128 to 255"
        return Wrong(len(octets), Reason.MALFORMED_FRAME, detail)
    return Whole(len(octets))


def _truncated(left: int) -> Wrong:
    return Wrong(left, Reason.MALFORMED_FRAME, f"truncated: ends after {left} bytes")
