"""What `decode` is given: hexadecimal digits, bytes, or a capture. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal

from edge_agent.commands.capture_file import is_capture

InputFormat = Literal["hex", "raw", "pcap"]

_HEX: Final = re.compile(rb"(?:0x|[0-9a-fA-F\s:,])*\Z", re.IGNORECASE)
_FILLERS: Final = re.compile(rb"0x|[\s:,]", re.IGNORECASE)
_NOT_TEXT: Final = re.compile(rb"[^\t\n\r -~]")


class InputError(Exception):
    """What was given is not what it should be; the text names the place."""


def guess_format(octets: bytes, *, is_file: bool) -> InputFormat:
    """What the bytes are.

    A capture shows by its first bytes, and a file (or a pipe) of nothing but hexadecimal digits is meant as such.
    Other text in a file is a log of lines as they came; on standard input it is a slip of the pen.
    """
    if is_capture(octets):
        return "pcap"
    if is_file or _NOT_TEXT.search(octets):
        return "hex" if _HEX.match(octets) else "raw"
    return "hex"


def parse_hex(text: bytes) -> bytes:
    """The bytes that hexadecimal digits mean; blanks, colons, commas and 0x between them are skipped.

    Raises InputError.
    """
    digits = _FILLERS.sub(b"", text)
    for at, digit in enumerate(digits):
        if digit not in b"0123456789abcdefABCDEF":
            raise InputError(f"digit {at + 1} of the hexadecimal text is {chr(digit)!r}")
    if len(digits) % 2:
        raise InputError(f"the hexadecimal text has {len(digits)} digits: an odd number makes no whole bytes")
    return bytes.fromhex(digits.decode("ascii"))
