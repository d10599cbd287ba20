"""Winsen's 9-byte UART frames (MH-Z19B and relatives), as the sensor sees them. 9600 baud, 8N1.

    question   FF 01 86 00 00 00 00 00 79
    answer     FF 86 hi lo t+40 00 00 00 cs        CO2 in ppm = hi * 256 + lo; t in whole °C

cs = two's complement of the low byte of the sum of bytes 1..7. Source: captured frames of PyPMS,
shared/vectors/serial_sensors.json; shared/standards/fields.md section 1.1.
"""

from __future__ import annotations

from typing import Final

FRAME_BYTES: Final = 9
START: Final = 0xFF
SENSOR: Final = 0x01
READ_COMMAND: Final = 0x86
_TEMPERATURE_OFFSET: Final = 40


def compute_checksum(frame: bytes | bytearray) -> int:
    """The last byte of a frame from its bytes 1..7 (byte 0 is the start and does not count)."""
    return -sum(frame[1:8]) & 0xFF


def split_questions(buffer: bytearray) -> list[int]:
    """Takes all whole questions out of `buffer` and returns their command bytes; skips garbage."""
    commands: list[int] = []
    while True:
        start = buffer.find(bytes((START, SENSOR)))
        if start < 0:
            del buffer[: -1 if buffer[-1:] == bytes((START,)) else len(buffer)]
            return commands
        del buffer[:start]
        if len(buffer) < FRAME_BYTES:
            return commands
        if compute_checksum(buffer) == buffer[8]:
            commands.append(buffer[2])
            del buffer[:FRAME_BYTES]
        else:
            del buffer[:1]


def encode_gas_answer(concentration_ppm: int, temperature_celsius: int, *, is_checksum_wrong: bool = False) -> bytes:
    """The answer to the read command. The concentration is cut to what two bytes can say."""
    ppm = min(max(concentration_ppm, 0), 0xFFFF)
    temperature = (temperature_celsius + _TEMPERATURE_OFFSET) & 0xFF
    body = bytes((START, READ_COMMAND, ppm >> 8, ppm & 0xFF, temperature, 0, 0, 0))
    return body + bytes(((compute_checksum(body) + is_checksum_wrong) & 0xFF,))
