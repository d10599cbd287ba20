"""What the bytes mean that were heard on an RTU line when no answer came of them. Pure.

RTU frame: device id · function code · byte count · data · CRC-16 (poly A001 reflected, init FFFF, low byte first);
an exception is device id · function code | 0x80 · exception code · CRC.
"""

from __future__ import annotations

from contracts.quality import Reason

_OVERHEAD_BYTES = 5
"""Device id, function code, byte count, CRC: also the length of an exception frame."""


def compute_crc(octets: bytes) -> int:
    """CRC-16/MODBUS."""
    crc = 0xFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def judge_remains(device_id: int, function_code: int, register_count: int, heard: bytes) -> Reason:
    """Why there was no answer.

    A frame of the expected length, or one that begins like the answer and is whole, but with the wrong checksum,
    is a `crc_error`; anything else that was heard is a `malformed_frame`; silence is `no_answer`.
    """
    if not heard:
        return Reason.NO_ANSWER
    expected_bytes = _OVERHEAD_BYTES + 2 * register_count
    for at in range(len(heard)):
        for length in (expected_bytes, _OVERHEAD_BYTES):
            frame = heard[at : at + length]
            is_error = length == _OVERHEAD_BYTES
            begins = frame[:2] == bytes([device_id, function_code | (0x80 if is_error else 0)])
            if len(frame) == length and begins and not has_right_crc(frame):
                return Reason.CRC_ERROR
    if len(heard) == expected_bytes and not has_right_crc(heard):
        return Reason.CRC_ERROR
    return Reason.MALFORMED_FRAME


def has_right_crc(frame: bytes) -> bool:
    """Whether the last two bytes are the CRC of those before."""
    return compute_crc(frame[:-2]) == int.from_bytes(frame[-2:], "little")
