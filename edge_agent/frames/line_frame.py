"""Frames that are lines of text: a start, printable ASCII, an end; a checksum; parts.

A line ends with CR LF, LF or CR, or behind what `end` describes (NMEA 0183: `*hh`), whatever comes first. What follows
a line without a terminator is garbage or the next frame, so garbage never hides a line that is whole. A line without a
check in which another one begins, of whatever kind, is two lines, the first of them broken off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from contracts.configuration import Settings
from contracts.quality import Reason
from edge_agent.frames.byte_frame import MAX_FRAME_BYTES, FrameMeaning
from edge_agent.frames.checksum import Checksum
from edge_agent.frames.frame_search import MORE, Verdict, Whole, Wrong
from edge_agent.frames.line_parts import Layout, LineParts, cut_line

_TERMINATORS: Final = (b"\r\n", b"\n", b"\r")


class LineFrame(Settings):
    """What one kind of line looks like."""

    kind: Literal["line"]
    name: str
    start: str
    """A regular expression for the first characters (no look-around, at most `start_max` characters).

    Unless a check tells them apart, that of a line with values must not fit anywhere else in its profile's lines.
    """
    start_max: int = Field(default=8, ge=1, le=64)
    """The most characters that the start takes."""
    end: str | None = None
    """A regular expression for the last characters, if a line has such besides its terminator; always equally long."""
    reserved: str = ""
    """Characters that stand nowhere in a line but at its first place (NMEA 0183: `$`): another one begins another line,
    even if a check of eight bits happens to fit both together."""
    control_characters: str = ""
    """Characters that a line may hold although they are not printable (STX, ETX)."""
    trailer: int = Field(default=0, ge=0, le=16)
    """Characters at the end that belong to no part: the check, and what announces it."""
    terminator_may_be_missing: bool = False
    """Whether a line is whole without CR or LF: only where nothing that is cut off could look whole."""
    max_length: int = Field(default=512, ge=2, le=MAX_FRAME_BYTES)
    checksum: Checksum | None = None
    """Its offsets count in the line without its terminator."""
    parts_at: int | None = Field(default=None, ge=1)
    """Where the parts begin, if not right behind the start (SDI-12: the sign of the first value belongs to it)."""
    layout: Layout = "positional"
    separator: str = Field(default=",", min_length=1, max_length=1)
    meaning: FrameMeaning | None = None

    @field_validator("start", "end")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile((pattern or "x").encode("ascii"))
        except (re.error, UnicodeEncodeError) as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern

    @field_validator("reserved")
    @classmethod
    def _check_reserved(cls, characters: str) -> str:
        if not characters.isascii():
            raise ValueError("not ASCII characters")
        return characters

    @field_validator("control_characters")
    @classmethod
    def _check_control(cls, characters: str) -> str:
        if not characters.isascii() or any(one in "\r\n" or one.isprintable() for one in characters):
            raise ValueError("not control characters other than CR and LF")
        return characters

    @model_validator(mode="after")
    def _check(self) -> LineFrame:
        if re.compile(self.start).match(""):
            raise ValueError("the start matches nothing at all")
        if self.checksum is not None and self.trailer < self.checksum.field_bytes:
            raise ValueError("the trailer does not hold the check")
        return self


@dataclass(frozen=True, slots=True)
class LineContent:
    """A right line."""

    text: str
    """Without its terminator."""
    parts: LineParts
    is_terminated: bool


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where a line ends."""

    line_end: int
    """The offset after its last printable character."""
    end: int
    """The same, with its terminator."""

    @property
    def is_terminated(self) -> bool:
        return self.end > self.line_end


class LineFrameShape:
    """How lines are found in a stream (a FrameShape; its content is a LineContent)."""

    def __init__(self, frame: LineFrame) -> None:
        self._frame = frame
        self._start = re.compile(frame.start.encode("ascii"))
        self._unprintable = re.compile(b"[^ -~" + re.escape(frame.control_characters.encode("ascii")) + b"]")
        self._reserved = frame.reserved.encode("ascii")
        self._end = None if frame.end is None else re.compile(frame.end.encode("ascii"))

    def find(self, octets: bytes | bytearray, at: int) -> int:
        """See FrameShape."""
        found = self._start.search(octets, at)
        # Nearer to the end than this, a start may still be cut off.
        undecided = max(at, len(octets) - self._frame.start_max + 1)
        return undecided if found is None else min(found.start(), undecided)

    def judge(self, octets: bytes | bytearray, at: int, is_last: bool) -> Verdict:
        """See FrameShape."""
        start = self._start.match(octets, at)
        if start is None:
            is_undecided = not is_last and len(octets) - at < self._frame.start_max
            return MORE if is_undecided and self._unprintable.search(octets, at) is None else None
        extent = self._find_extent(octets, at, start.end(), is_last)
        if extent is None:
            return MORE
        if isinstance(extent, Wrong):
            return extent
        fault = (
            "" if extent.is_terminated or self._frame.terminator_may_be_missing else self._tell_break(octets, extent)
        )
        if fault:
            return Wrong(extent.end - at, Reason.MALFORMED_FRAME, fault)
        return self._judge_line(bytes(octets[at : extent.end]), start.end() - at, extent.line_end - at)

    def _find_extent(self, octets: bytes | bytearray, at: int, start_end: int, is_last: bool) -> _Extent | Wrong | None:
        """Where the line ends; None if that is not to be seen yet."""
        limit = at + self._frame.max_length
        unprintable = self._unprintable.search(octets, start_end, limit)
        line_end = len(octets) if unprintable is None else unprintable.start()
        end = None if self._end is None else self._end.search(octets, start_end, min(line_end, limit))
        if end is not None:
            line_end = end.end()
        elif unprintable is None and len(octets) >= limit:
            most = self._frame.max_length
            return Wrong(most, Reason.MALFORMED_FRAME, f"the line does not end within {most} characters")
        elif unprintable is None and not is_last:
            return None
        if not is_last and octets[line_end : line_end + 2] in (b"", b"\r"):
            return None
        terminator = next((one for one in _TERMINATORS if octets.startswith(one, line_end)), b"")
        return _Extent(line_end, line_end + len(terminator))

    @staticmethod
    def _tell_break(octets: bytes | bytearray, extent: _Extent) -> str:
        if extent.end == len(octets):
            return "truncated: the line has no end"
        return f"the line is broken off by the byte {octets[extent.end]:02X}"

    def _judge_line(self, octets: bytes, start_length: int, line_length: int) -> Verdict:
        frame, line = self._frame, octets[:line_length]
        fault = self._find_end_fault(line)
        if fault:
            return Wrong(len(octets), Reason.MALFORMED_FRAME, fault)
        inner = next((at for at in range(1, line_length) if line[at] in self._reserved), None)
        if inner is not None:
            return Wrong(inner, Reason.MALFORMED_FRAME, f"broken off: another line begins at {inner}")
        fault = "" if frame.checksum is None else frame.checksum.find_fault(line)
        if fault:
            return Wrong(len(octets), Reason.CRC_ERROR, fault)
        text = line.decode("ascii")
        body_end = len(text) - frame.trailer
        if body_end < start_length:
            return Wrong(len(octets), Reason.MALFORMED_FRAME, f"the line {text!r} is too short for its check")
        parts = cut_line(text[frame.parts_at or start_length : body_end], frame.layout, frame.separator)
        content = LineContent(text, parts, is_terminated=len(octets) > line_length)
        if frame.checksum is not None:
            return Whole(len(octets), content)
        # The start of signed values fits in any of them, so nothing tells such a line from two; and what a profile
        # declares to catch its other lines ("starts with a letter") may fit anywhere in a line of values.
        is_signed = frame.layout == "signed"
        return Whole(len(octets), content, not is_signed, is_sought_within=not is_signed and frame.meaning is None)

    def _find_end_fault(self, line: bytes) -> str:
        """What the end of the line lacks; empty if nothing."""
        if self._end is not None and not any(found.end() == len(line) for found in self._end.finditer(line)):
            return f"truncated: the line {line.decode('ascii')!r} does not end with {self._frame.end}"
        if self._frame.checksum is not None and not self._frame.checksum.has_room(line):
            return f"the line {line.decode('ascii')!r} is too short for its check"
        return ""
