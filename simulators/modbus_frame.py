"""Modbus frames as a server sees them: MBAP over TCP and RTU over a serial line.

    MBAP   transaction u16 | protocol u16 = 0 | length u16 | unit u8 | pdu        (length counts unit and pdu)
    RTU    device u8 | pdu | CRC-16 u16, low byte first

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1; MODBUS over Serial Line V1.02, section 2.5.
An RTU frame has no length: a request's length follows from its function code, and where garbage came before it the
next place with a right CRC is found. The silence of 3.5 characters is left to the shell, which drops what is left
over after a pause.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from simulators.errors import FrameError

RTU_FRAME_MAX_BYTES: Final = 256
_MBAP: Final = struct.Struct(">HHHB")
_MBAP_LENGTH_MIN: Final = 2
_MBAP_LENGTH_MAX: Final = 254
_RTU_LENGTH_MIN: Final = 4
_FIXED_LENGTHS: Final = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6, 43: 7}
"""Function code → bytes of an RTU request with address and CRC, where the code alone decides."""
_COUNTED_LENGTHS: Final = {15: (6, 9), 16: (6, 9), 20: (2, 5), 21: (2, 5), 23: (10, 13)}
"""Function code → (place of the byte count, bytes beside what it counts)."""


class Request(NamedTuple):
    """One request, freed of its frame."""

    device_id: int
    """Unit identifier (TCP) or address on the line (RTU); 0 is a broadcast on a line."""
    pdu: bytes
    transaction_id: int = 0
    """TCP only."""


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


def compute_crc(frame: bytes | bytearray | memoryview) -> int:
    """CRC-16 of Modbus RTU: polynomial 0xA001 (reflected), start 0xFFFF."""
    crc = 0xFFFF
    for byte in frame:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def split_mbap(buffer: bytearray) -> list[Request]:
    """Takes all whole requests from the front of `buffer`; an unfinished one stays.

    Raises:
        FrameError: a protocol identifier that is not 0, or a length outside of 2..254.
    """
    requests = []
    while len(buffer) >= _MBAP.size:
        transaction_id, protocol_id, length, unit_id = _MBAP.unpack_from(buffer)
        if protocol_id != 0 or not _MBAP_LENGTH_MIN <= length <= _MBAP_LENGTH_MAX:
            raise FrameError(f"not an MBAP header: {bytes(buffer[: _MBAP.size]).hex()}")
        end = 6 + length
        if len(buffer) < end:
            break
        requests.append(Request(unit_id, bytes(buffer[_MBAP.size : end]), transaction_id))
        del buffer[:end]
    return requests


def encode_mbap(request: Request, pdu: bytes) -> bytes:
    """The answer `pdu` to `request` as TCP carries it."""
    return _MBAP.pack(request.transaction_id, 0, len(pdu) + 1, request.device_id) + pdu


def split_rtu(buffer: bytearray) -> list[Request]:
    """Takes all requests with a right CRC out of `buffer`, skipping garbage; an unfinished one stays."""
    requests = []
    while (found := _find_rtu(buffer)) is not None:
        start, end = found
        requests.append(Request(buffer[start], bytes(buffer[start + 1 : end - 2])))
        del buffer[:end]
    del buffer[:-RTU_FRAME_MAX_BYTES]
    return requests


def encode_rtu(device_id: int, pdu: bytes, *, is_crc_wrong: bool = False) -> bytes:
    """An answer as it goes over the line; with `is_crc_wrong` as noise would have left it: one bit is turned."""
    body = bytes((device_id,)) + pdu
    crc = compute_crc(body) ^ (0x0100 if is_crc_wrong else 0)
    return body + struct.pack("<H", crc)


def _find_rtu(buffer: bytearray) -> tuple[int, int] | None:
    for start in range(len(buffer) - _RTU_LENGTH_MIN + 1):
        end = _rtu_end(buffer, start)
        if end is not None and end <= len(buffer) and _is_crc_right(buffer, start, end):
            return start, end
    if len(buffer) >= _RTU_LENGTH_MIN and _is_crc_right(buffer, 0, len(buffer)):
        return 0, len(buffer)  # a function code of unknown length, whole in the buffer
    return None


def _rtu_end(buffer: bytearray, start: int) -> int | None:
    function_code = buffer[start + 1]
    if function_code in _FIXED_LENGTHS:
        return start + _FIXED_LENGTHS[function_code]
    if function_code in _COUNTED_LENGTHS:
        place, beside = _COUNTED_LENGTHS[function_code]
        return start + beside + buffer[start + place] if start + place < len(buffer) else None
    return None


def _is_crc_right(buffer: bytearray, start: int, end: int) -> bool:
    crc = buffer[end - 2] | buffer[end - 1] << 8
    return compute_crc(memoryview(buffer)[start : end - 2].tobytes()) == crc
