"""HJ 212-2017 frames as a station makes and reads them. Pure; shares nothing with what it tests.

    ##0101QN=20160801085857223;ST=32;…;CP=&&RtdInterval=30&&1C80 CR LF

Check: register FFFF; each byte is joined with the register's high byte, shifted down; then eight times one bit to the
right, with A001 where a one fell out (HJ 212-2017 annex A; 1C80 is printed there for the frame above).
"""

from __future__ import annotations

from collections.abc import Mapping


def compute_check(segment: str) -> str:
    """The four digits behind a segment."""
    register = 0xFFFF
    for octet in segment.encode("ascii"):
        register = (register >> 8) ^ octet
        for _ in range(8):
            carry = register % 2
            register //= 2
            if carry:
                register ^= 0xA001
    return f"{register:04X}"


def make_frame(fields: Mapping[str, str], parameters: str, *, is_check_wrong: bool = False) -> bytes:
    """A frame.

    Args:
        fields: what stands before CP, in order.
        parameters: what stands in CP.
        is_check_wrong: as noise would have left it.
    """
    segment = ";".join(f"{name}={content}" for name, content in fields.items()) + f";CP=&&{parameters}&&"
    check = compute_check(segment + ("?" if is_check_wrong else ""))
    return f"##{len(segment):04}{segment}{check}\r\n".encode("ascii")


def split_frames(buffer: bytearray) -> list[dict[str, str]]:
    """Takes all whole frames from the front of `buffer`; the fields of each, CP among them.

    Raises:
        ValueError: bytes that are no right frame.
    """
    frames = []
    while (end := buffer.find(b"\r\n")) >= 0:
        line = buffer[:end].decode("ascii")
        del buffer[: end + 2]
        segment, check = line[6:-4], line[-4:]
        if line[:2] != "##" or int(line[2:6]) != len(segment) or check != compute_check(segment):
            raise ValueError(f"not a frame: {line!r}")
        head, _, parameters = segment.partition(";CP=&&")
        fields = dict(part.split("=", 1) for part in head.split(";"))
        fields["CP"] = parameters.removesuffix("&&")
        frames.append(fields)
    return frames
