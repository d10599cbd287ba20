"""Finds Modbus messages in a stream of bytes, whatever frames it has: RTU, TCP or ASCII. Pure.

    RTU     device id · pdu · CRC-16 (low byte first)
    TCP     transaction u16 · protocol 0 u16 · length u16 · device id · pdu     (length counts from the device id)
    ASCII   ':' · device id, pdu, LRC in hexadecimal digits · CR LF

A stream on a wire has no marks between RTU frames once the silent intervals are gone: a message is where its function
code gives a length at whose end the CRC is right. Bytes that are in no message are given back as they came: what
begins like a message and is as long is a wrong checksum, anything else is garbage. How the bytes were cut into pieces
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from contracts.quality import Reason
from edge_agent.modbus.modbus_pdu import EXCEPTION_BIT, answer_bytes, is_length_open, question_bytes
from edge_agent.modbus.rtu_frame import has_right_crc

MESSAGE_MAX_BYTES: Final = 520
"""An ASCII frame of 513 characters is the longest (MODBUS over Serial Line V1.02, 2.5.2.1)."""
_CRC_BYTES: Final = 2
_MBAP_BYTES: Final = 7
_MBAP_LENGTHS: Final = range(2, 255)
_FUNCTION_CODES: Final = frozenset({*range(1, 9), 11, 12, *range(15, 18), *range(20, 25), 43})
_HEX_DIGITS: Final = frozenset(b"0123456789ABCDEFabcdef")


@dataclass(frozen=True, slots=True)
class ModbusMessage:
    """A message with its checksum right, or in a well-formed TCP frame."""

    offset: int
    octets: bytes
    framing: str
    """rtu, tcp or ascii."""
    device_id: int
    pdu: bytes
    transaction: int | None = None
    """TCP only."""


@dataclass(frozen=True, slots=True)
class NoMessage:
    """Bytes between messages."""

    offset: int
    octets: bytes
    reason: Reason


class _Undecided(Enum):
    """What a place in the stream is, if no message."""

    OPEN = auto()
    """More bytes will tell."""
    NOTHING = auto()


class ModbusScanner:
    """One stream."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._offset = 0
        """Of the first pending byte."""
        self._skipped = 0
        """Pending bytes that begin no message."""
        self._is_in_step = True
        """Whether the place after the skipped bytes follows a message."""

    def feed(self, octets: bytes) -> Iterator[ModbusMessage | NoMessage]:
        """Takes the next bytes; gives what is decided, in their order."""
        self._pending += octets
        yield from self._scan(is_end=False)

    def finish(self) -> Iterator[ModbusMessage | NoMessage]:
        """Nothing more comes."""
        yield from self._scan(is_end=True)
        yield from self._give_skipped()

    def _scan(self, is_end: bool) -> Iterator[ModbusMessage | NoMessage]:
        while self._skipped < len(self._pending):
            found = self._look(is_end)
            if found is _Undecided.OPEN:
                return
            if isinstance(found, ModbusMessage):
                yield from self._give_skipped()
                del self._pending[: len(found.octets)]
                self._offset += len(found.octets)
                self._is_in_step = True
                yield found
                continue
            self._skipped += 1
            self._is_in_step = False
            if self._skipped >= MESSAGE_MAX_BYTES:
                yield from self._give_skipped()

    def _look(self, is_end: bool) -> ModbusMessage | _Undecided:
        """What begins at the first byte that is not skipped."""
        window = bytes(self._pending[self._skipped : self._skipped + MESSAGE_MAX_BYTES])
        offset = self._offset + self._skipped
        is_open = False
        for find in (_find_ascii, _find_rtu, _find_tcp):
            found = find(window, offset, self._is_in_step)
            if isinstance(found, ModbusMessage):
                return found
            if found is _Undecided.OPEN and not is_end:
                is_open = True
                break
        return _Undecided.OPEN if is_open else _Undecided.NOTHING

    def _give_skipped(self) -> Iterator[NoMessage]:
        if not self._skipped:
            return
        octets = bytes(self._pending[: self._skipped])
        reason = Reason.CRC_ERROR if _is_like_a_message(octets) else Reason.MALFORMED_FRAME
        yield NoMessage(self._offset, octets, reason)
        del self._pending[: self._skipped]
        self._offset += self._skipped
        self._skipped = 0


def _rtu_lengths(window: bytes) -> tuple[list[int], bool]:
    """How long an RTU frame that begins so may be, and whether more bytes would tell of more."""
    pdu = window[1:]
    if len(window) < 2:
        return [], True
    if pdu[0] & ~EXCEPTION_BIT not in _FUNCTION_CODES:
        return [], False
    lengths = {length + 1 + _CRC_BYTES for length in (question_bytes(pdu), answer_bytes(pdu)) if length is not None}
    return sorted(lengths), is_length_open(pdu)


def _find_rtu(window: bytes, offset: int, _is_in_step: bool) -> ModbusMessage | _Undecided:
    lengths, is_open = _rtu_lengths(window)
    for length in lengths:
        frame = window[:length]
        if len(frame) < length:
            return _Undecided.OPEN
        if has_right_crc(frame):
            return ModbusMessage(offset, frame, "rtu", frame[0], frame[1:-_CRC_BYTES])
    return _Undecided.OPEN if is_open else _Undecided.NOTHING


def _find_tcp(window: bytes, offset: int, is_in_step: bool) -> ModbusMessage | _Undecided:
    if window[2:4] != b"\0\0"[: len(window[2:4])]:
        return _Undecided.NOTHING
    if len(window) <= _MBAP_BYTES:
        return _Undecided.OPEN
    length = int.from_bytes(window[4:6], "big")
    if length not in _MBAP_LENGTHS or not window[_MBAP_BYTES] & ~EXCEPTION_BIT:
        return _Undecided.NOTHING
    end = _MBAP_BYTES - 1 + length
    if len(window) < end:
        return _Undecided.OPEN
    pdu = window[_MBAP_BYTES:end]
    if not is_in_step and len(pdu) not in {question_bytes(pdu), answer_bytes(pdu)}:
        return _Undecided.NOTHING
    transaction = int.from_bytes(window[:2], "big")
    return ModbusMessage(offset, window[:end], "tcp", window[_MBAP_BYTES - 1], pdu, transaction)


def _find_ascii(window: bytes, offset: int, _is_in_step: bool) -> ModbusMessage | _Undecided:
    if window[:1] != b":":
        return _Undecided.NOTHING
    digits = 1
    while digits < len(window) and window[digits] in _HEX_DIGITS:
        digits += 1
    end = digits + 2
    if len(window) < end and window[digits:] in {b"", b"\r"}:
        return _Undecided.OPEN
    octets = bytes.fromhex(window[1:digits].decode("ascii")) if digits % 2 else b""
    if window[digits:end] != b"\r\n" or len(octets) < 3 or sum(octets) % 256:
        return _Undecided.NOTHING
    return ModbusMessage(offset, window[:end], "ascii", octets[0], octets[1:-1])


def _is_like_a_message(octets: bytes) -> bool:
    """Whether bytes would be one message if only their checksum were right."""
    if octets[:1] == b":" and octets.endswith(b"\r\n"):
        return all(octet in _HEX_DIGITS for octet in octets[1:-2])
    return len(octets) in _rtu_lengths(octets)[0]
