"""The data segment of HJ 212-2017 frames: fields, flag and command parameters (sections 6.3.2 and 6.3.3). Pure.

    QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;CP=&&RtdInterval=30&&

    QN   request number, the sender's time in China standard time, to the millisecond    ST  kind of system
    CN   command    PW  password    MN  device    Flag  bit 0: an answer is wanted; bit 1: PNUM and PNO are there;
    bits 2..7: version (1 = 2017)    PNUM, PNO  number of packets, and which one this is    CP  parameters

Parameters are groups between `;` of pairs between `,`: `w01018-Rtd=194.2,w01018-Flag=N`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contracts.observation import NANOSECONDS_PER_MILLISECOND
from edge_agent.lines.local_time import CHINA_STANDARD_TIME, china_time, nanoseconds_of

FLAG_ANSWER: Final = 1
FLAG_PACKETS: Final = 2
FLAG_VERSION_2017: Final = 4
SYSTEM_INTERACTION: Final = "91"
"""ST of answers and notices."""
PACKETS_MAX: Final = 9999

_CP_MARK: Final = "&&"
_CP_START: Final = f"CP={_CP_MARK}"
_COMMAND: Final = re.compile(r"[0-9]{4}")
_SYSTEM: Final = re.compile(r"[0-9A-Za-z]{0,8}")
_TIME: Final = re.compile(r"([0-9]{14})([0-9]{3})?")

Group = tuple[tuple[str, str], ...]
"""The pairs of one group, in order."""


class SegmentError(Exception):
    """A segment that the standard does not allow; the text names the field and its value."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment, taken apart."""

    fields: Mapping[str, str]
    """Everything before CP."""
    parameters: str
    """What stands between the `&&` of CP."""

    @property
    def command(self) -> str:
        """CN."""
        return self.fields["CN"]

    @property
    def device(self) -> str:
        """MN."""
        return self.fields.get("MN", "")

    @property
    def flag(self) -> int:
        """Flag; 0 where there is none (the standard of 2005)."""
        return int(self.fields.get("Flag", "0"))

    @property
    def wants_answer(self) -> bool:
        """Whether the sender waits for an answer, and gave a number to answer with."""
        return bool(self.flag & FLAG_ANSWER) and "QN" in self.fields

    @property
    def packet(self) -> tuple[int, int] | None:
        """(PNO, PNUM) of one packet of several; None if this is all."""
        if not self.flag & FLAG_PACKETS or "PNUM" not in self.fields:
            return None
        number, count = int(self.fields["PNO"]), int(self.fields["PNUM"])
        return (number, count) if count > 1 else None

    def groups(self) -> list[Group]:
        """The parameters, group by group."""
        return parse_groups(self.parameters)


def parse_segment(octets: bytes) -> Segment:
    """Takes a segment apart. Raises SegmentError."""
    text = octets.decode("gb18030", errors="replace")
    head, mark, rest = text.partition(_CP_START)
    if not mark:
        raise SegmentError(f"no {_CP_START} in {text[:80]!r}")
    parameters, mark, behind = rest.rpartition(_CP_MARK)
    if not mark or behind:
        raise SegmentError(f"the parameters do not end with {_CP_MARK}: {text[-20:]!r}")
    if not head.isascii():
        raise SegmentError(f"the fields are not ASCII: {head[:80]!r}")
    fields = _parse_fields(head)
    _check_fields(fields)
    return Segment(fields, parameters)


def parse_groups(parameters: str) -> list[Group]:
    """The groups of parameters; a piece without `=` is a pair with an empty value, so that nothing is lost."""
    groups = []
    for text in parameters.split(";"):
        pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
        if pairs:
            groups.append(tuple((key.strip(), content.strip()) for key, _, content in pairs))
    return groups


def parse_time(text: str) -> int | None:
    """Nanoseconds since 1970 of `YYYYMMDDhhmmss` or `…zzz` in China standard time; None if it is no time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    try:
        local = datetime.strptime(match[1], "%Y%m%d%H%M%S").replace(tzinfo=CHINA_STANDARD_TIME)
    except ValueError:
        return None
    return nanoseconds_of(local) + int(match[2] or 0) * NANOSECONDS_PER_MILLISECOND


def format_time(time_ns: int, *, has_milliseconds: bool = False) -> str:
    """The time as these frames write it."""
    local = china_time(time_ns)
    digits = local.strftime("%Y%m%d%H%M%S")
    return f"{digits}{local.microsecond // 1000:03d}" if has_milliseconds else digits


def encode_segment(fields: Mapping[str, object], parameters: str = "") -> bytes:
    """A segment with these fields, in their order."""
    head = "".join(f"{name}={content};" for name, content in fields.items())
    return f"{head}{_CP_START}{parameters}{_CP_MARK}".encode("ascii")


def _parse_fields(head: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for piece in head.split(";"):
        name, mark, content = piece.partition("=")
        if not piece.strip():
            continue
        if not mark:
            raise SegmentError(f"{piece!r} is no field")
        if name in fields:
            raise SegmentError(f"{name} stands there twice: {fields[name]!r} and {content!r}")
        fields[name] = content
    return fields


def _check_fields(fields: Mapping[str, str]) -> None:
    command = fields.get("CN", "")
    if not _COMMAND.fullmatch(command):
        raise SegmentError(f"CN={command!r} is not a command of four digits")
    if not _SYSTEM.fullmatch(fields.get("ST", "")):
        raise SegmentError(f"ST={fields['ST']!r} is no kind of system")
    for name in ("Flag", "PNUM", "PNO"):
        content = fields.get(name)
        if content is not None and not (content.isascii() and content.isdecimal()):
            raise SegmentError(f"{name}={content!r} is not a number")
    if int(fields.get("Flag", "0")) & FLAG_PACKETS:
        _check_packet(fields)
    number = fields.get("QN")
    if number is not None and parse_time(number) is None:
        raise SegmentError(f"QN={number!r} is not a time of 17 digits")


def _check_packet(fields: Mapping[str, str]) -> None:
    number, count = int(fields.get("PNO", "1")), int(fields.get("PNUM", "1"))
    if ("PNUM" in fields) != ("PNO" in fields) or not 1 <= number <= count <= PACKETS_MAX:
        raise SegmentError(f"PNO={fields.get('PNO')!r} of PNUM={fields.get('PNUM')!r} is no packet of several")
