"""GB/T 26875.3-2011 frames as a fire transmitter makes and reads them. Pure; shares nothing with what it tests.

40 40 | serial LE16 | version 2 | sent 6 | source LE48 | destination LE48 | length LE16 | command | data | sum | 23 23
"""

from __future__ import annotations

from dataclasses import dataclass

_HEAD_BYTES = 27


@dataclass(frozen=True, slots=True)
class CentreFrame:
    """What the centre sent."""

    serial: int
    command: int
    data: bytes
    destination: int


def make_time(text: str) -> bytes:
    """The six bytes of `2026-05-04 13:20:59`."""
    day, clock = text.split(" ")
    year, month, date = (int(part) for part in day.split("-"))
    hour, minute, second = (int(part) for part in clock.split(":"))
    return bytes((second, minute, hour, date, month, year - 2000))


def make_frame(
    serial: int, command: int, data: bytes, *, source: int, sent: str, destination: int = 0, is_sum_wrong: bool = False
) -> bytes:
    """A frame.

    Args:
        serial: number, 0 to 65535.
        command: 2 send, 3 confirm, 5 reply, 6 deny.
        data: the data unit.
        source: the transmitter's address.
        sent: its time, `2026-05-04 13:20:59`.
        destination: the centre's address.
        is_sum_wrong: as noise would have left it.
    """
    body = bytearray()
    body += bytes((serial & 0xFF, serial >> 8, 1, 1))
    body += make_time(sent)
    for address in (source, destination):
        body += bytes(address >> shift & 0xFF for shift in range(0, 48, 8))
    body += bytes((len(data) & 0xFF, len(data) >> 8, command))
    body += data
    check = (sum(body) + is_sum_wrong) % 256
    return b"@@" + bytes(body) + bytes((check,)) + b"##"


def make_component_state(system: tuple[int, int], kind: int, address: int, state: int, text: str, when: str) -> bytes:
    """A data unit of type 2 with one component."""
    unit = bytes((2, 1, system[0], system[1], kind))
    unit += bytes(address >> shift & 0xFF for shift in (0, 8, 16, 24))
    unit += bytes((state & 0xFF, state >> 8))
    return unit + text.encode("gb18030").ljust(31, b"\0") + make_time(when)


def make_analogue(system: tuple[int, int], kind: int, address: int, analogue: int, count: int, when: str) -> bytes:
    """A data unit of type 3 with one value."""
    unit = bytes((3, 1, system[0], system[1], kind))
    unit += bytes(address >> shift & 0xFF for shift in (0, 8, 16, 24))
    return unit + bytes((analogue, count & 0xFF, count >> 8 & 0xFF)) + make_time(when)


def make_transmitter_state(state: int, when: str) -> bytes:
    """A data unit of type 21."""
    return bytes((21, 1, state)) + make_time(when)


def split_frames(buffer: bytearray) -> list[CentreFrame]:
    """Takes all whole frames from the front of `buffer`. Raises ValueError at bytes that are no right frame."""
    frames = []
    while len(buffer) >= _HEAD_BYTES:
        length = buffer[24] + 256 * buffer[25]
        end = _HEAD_BYTES + length + 3
        if len(buffer) < end:
            break
        whole = bytes(buffer[:end])
        del buffer[:end]
        if whole[:2] != b"@@" or whole[-2:] != b"##" or sum(whole[2:-3]) % 256 != whole[-3]:
            raise ValueError(f"not a frame: {whole.hex()}")
        destination = sum(octet << 8 * at for at, octet in enumerate(whole[18:24]))
        frames.append(CentreFrame(whole[2] + 256 * whole[3], whole[26], whole[27 : 27 + length], destination))
    return frames
