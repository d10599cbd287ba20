"""What the bytes mean that were heard on an RTU line when no answer came of them. Pure.

RTU frame: device id · function code · byte count · data · CRC-16 (poly A001 reflected, init FFFF, low byte first);
an exception is device id · function code | 0x80 · exception code · CRC.
"""

from __future__ import annotations

from typing import Final

from contracts.quality import Reason

READ_OVERHEAD_BYTES: Final = 5
"""Around the registers of an answer: device id, function code, byte count, CRC."""
CHARACTER_BITS: Final = 11
"""Start, 8 data, parity or a second stop, stop (MODBUS over Serial Line V1.02, 2.5.1)."""
GAP_FIXED_ABOVE_BAUD: Final = 19_200
EXCEPTION_BYTES: Final = 5
"""Device id, function code, exception code, CRC."""


def frame_gap_s(baud_rate: int) -> float:
    """The silence that ends a frame: 3.5 characters of 11 bits, 1.75 ms above 19200 baud (V1.02, 2.5.1.1)."""
    return 3.5 * CHARACTER_BITS / baud_rate if baud_rate <= GAP_FIXED_ABOVE_BAUD else 0.00175


def compute_crc(octets: bytes) -> int:
    """CRC-16/MODBUS."""
    crc = 0xFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def judge_remains(device_id: int, function_code: int, answer_bytes: int, heard: bytes) -> Reason:
    """Why there was no answer.

    Args:
        device_id: who was asked.
        function_code: what was asked.
        answer_bytes: how long a right answer is, with device id, function code and CRC.
        heard: all bytes since the question.

    A frame of the expected length, or one that begins like the answer and is whole, but with the wrong checksum,
    is a `crc_error`; anything else that was heard is a `malformed_frame`; silence is `no_answer`.
    """
    if not heard:
        return Reason.NO_ANSWER
    for at in range(len(heard)):
        for length, code in ((answer_bytes, function_code), (EXCEPTION_BYTES, function_code | 0x80)):
            frame = heard[at : at + length]
            if len(frame) == length and frame[:2] == bytes([device_id, code]) and not has_right_crc(frame):
                return Reason.CRC_ERROR
    if len(heard) == answer_bytes and not has_right_crc(heard):
        return Reason.CRC_ERROR
    return Reason.MALFORMED_FRAME


def has_right_crc(frame: bytes) -> bool:
    """Whether the last two bytes are the CRC of those before."""
    return compute_crc(frame[:-2]) == int.from_bytes(frame[-2:], "little")
