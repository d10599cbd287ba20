"""Frames of bytes: a start; a fixed length, a length field or an end; byte stuffing; a checksum; constants.

Offsets of everything but the start count in the *content*: the frame with its start and end, after unstuffing.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from contracts.configuration import Settings
from contracts.quality import Reason
from edge_agent.frames.checksum import ByteOrder, Checksum
from edge_agent.frames.frame_field import HEX_BYTES, ByteConstant
from edge_agent.frames.frame_search import MORE, Verdict, Whole, Wrong, find_start

MAX_FRAME_BYTES: Final = 4096
"""No sensor's frame is longer."""


class LengthField(Settings):
    """Where a frame says how long it is."""

    offset: int = Field(ge=1)
    type: Literal["u8", "u16"] = "u8"
    byte_order: ByteOrder = "big"
    adjustment: int = 0
    """Added to the number that stands there, to get the bytes of the whole content."""

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.offset + int(self.type[1:]) // 8

    def content_bytes(self, octets: bytes) -> int:
        """The bytes of the whole content, as the frame says."""
        return int.from_bytes(octets[self.offset : self.end], self.byte_order) + self.adjustment


class Stuffing(Settings):
    """Bytes that stand for others between start and end."""

    escape: str = Field(pattern=r"^[0-9a-fA-F]{2}$")
    """The byte that announces a stand-in."""
    stand_ins: dict[str, str] = Field(min_length=1)
    """By the byte after the escape: the byte that both stand for."""

    @model_validator(mode="after")
    def _check(self) -> Stuffing:
        for octet in (*self.stand_ins, *self.stand_ins.values()):
            if len(octet) != 2 or len(bytes.fromhex(octet)) != 1:
                raise ValueError(f"{octet!r} is not one byte in hexadecimal digits")
        return self

    def unstuff(self, octets: bytes) -> bytes:
        """The bytes that were meant. Raises ValueError with the place that is wrong."""
        escape = bytes.fromhex(self.escape)
        first, *rest = octets.split(escape)
        at = len(first)
        meant = [first]
        for part in rest:
            stands_for = self.stand_ins.get(part[:1].hex()) or self.stand_ins.get(part[:1].hex().upper())
            if stands_for is None:
                raise ValueError(
                    f"byte {at + 1} of the stuffed content: no byte is written {self.escape} {part[:1].hex()}"
                )
            meant.append(bytes.fromhex(stands_for) + part[1:])
            at += 1 + len(part)
        return b"".join(meant)


class FrameMeaning(Settings):
    """What a frame without values says."""

    reason: str
    text: str
    rejects: bool = False
    """The frame is a reject: an error in place of an answer, a line that the profile does not know."""


class ByteFrame(Settings):
    """What one kind of frame looks like."""

    kind: Literal["bytes"] = "bytes"
    name: str
    start_hex: str = Field(pattern=HEX_BYTES)
    length: int | None = Field(default=None, ge=2, le=MAX_FRAME_BYTES)
    """Bytes of the whole content, where all frames have the same."""
    length_field: LengthField | None = None
    end_hex: str | None = Field(default=None, pattern=HEX_BYTES)
    """The last bytes. Without any length, the frame goes to the first place where they stand."""
    max_length: int = Field(default=256, ge=2, le=MAX_FRAME_BYTES)
    """The most bytes of the stream that a frame takes, where the length is not fixed."""
    stuffing: Stuffing | None = None
    checksum: Checksum | None = None
    constant: tuple[ByteConstant, ...] = ()
    meaning: FrameMeaning | None = None

    @model_validator(mode="after")
    def _check(self) -> ByteFrame:
        if self.length is not None and self.length_field is not None:
            raise ValueError("a frame has either a length or a length_field")
        if self.length is None and self.length_field is None and self.end_hex is None:
            raise ValueError("a frame has one of length, length_field and end_hex")
        if self.stuffing is not None and self.end_hex is None:
            raise ValueError("stuffed bytes need an end_hex")
        if self.length is not None and len(self.start) >= self.length:
            raise ValueError(f"the start is not shorter than the {self.length} bytes of the frame")
        if self.length is not None and self.checksum is not None:
            self._check_offsets(self.checksum, self.length)
        return self

    @property
    def start(self) -> bytes:
        """The bytes that each frame begins with."""
        return bytes.fromhex(self.start_hex)

    @property
    def end(self) -> bytes:
        """The bytes that each frame ends with, if it has such."""
        return bytes.fromhex(self.end_hex or "")

    @property
    def trailer_bytes(self) -> int:
        """Bytes of the content, at its end, that hold no values: a check that stands there, and the end."""
        check = self.checksum
        return max(len(self.end), -check.at if check is not None and check.at < 0 else 0)

    @property
    def is_delimited(self) -> bool:
        """Whether a frame is cut at its end bytes, not by a length."""
        return self.end_hex is not None and (
            self.stuffing is not None or (self.length is None and self.length_field is None)
        )

    @staticmethod
    def _check_offsets(checksum: Checksum, length: int) -> None:
        for offset, count in ((checksum.first, 1), (checksum.last, 1), (checksum.at, checksum.field_bytes)):
            if not -length <= offset < length or offset % length + count > length:
                raise ValueError(f"the checksum's offsets do not lie within {length} bytes")
        if checksum.first % length > checksum.last % length:
            raise ValueError(f"the checksum covers nothing: {checksum.first} to {checksum.last}")


class ByteFrameShape:
    """How frames of bytes are found in a stream (a FrameShape; its content is the unstuffed frame)."""

    def __init__(self, frame: ByteFrame) -> None:
        self._frame = frame
        self._start = frame.start
        self._end = frame.end
        self._cut = self._cut_delimited if frame.is_delimited else self._cut_measured

    def find(self, octets: bytes | bytearray, at: int) -> int:
        """See FrameShape."""
        return find_start(octets, self._start, at)

    def judge(self, octets: bytes | bytearray, at: int, is_last: bool) -> Verdict:
        """See FrameShape."""
        if not octets.startswith(self._start, at):
            return None if is_last else MORE
        length = self._cut(octets, at)
        if isinstance(length, Wrong):
            return length
        if length is None or at + length > len(octets):
            if not is_last:
                return MORE
            left = len(octets) - at
            whole = "" if length is None else f" of {length}"
            return Wrong(left, Reason.MALFORMED_FRAME, f"truncated: {left}{whole} bytes")
        return self._judge_whole(bytes(octets[at : at + length]))

    def _cut_measured(self, octets: bytes | bytearray, at: int) -> int | Wrong | None:
        """How many bytes the frame takes; None if that is not to be seen yet."""
        if self._frame.length is not None:
            return self._frame.length
        field = self._frame.length_field
        assert field is not None
        if at + field.end > len(octets):
            return None
        length = field.content_bytes(bytes(octets[at : at + field.end]))
        least = max(field.end, len(self._start) + len(self._end))
        if least <= length <= self._frame.max_length:
            return length
        detail = (
            f"the length field at byte {field.offset} makes {length} bytes, not {least} to {self._frame.max_length}"
        )
        return Wrong(field.end, Reason.MALFORMED_FRAME, detail)

    def _cut_delimited(self, octets: bytes | bytearray, at: int) -> int | Wrong | None:
        first = at + len(self._start)
        end = octets.find(self._end, first, at + self._frame.max_length)
        if end == first:
            return Wrong(len(self._start), Reason.MALFORMED_FRAME, "nothing stands between start and end")
        if end >= 0:
            return end + len(self._end) - at
        if len(octets) - at < self._frame.max_length:
            return None
        most = self._frame.max_length
        return Wrong(most, Reason.MALFORMED_FRAME, f"no end {self._frame.end_hex} within {most} bytes")

    def _judge_whole(self, octets: bytes) -> Verdict:
        try:
            content = self._unstuff(octets)
        except ValueError as error:
            return Wrong(len(octets), Reason.MALFORMED_FRAME, str(error))
        fault = self._find_length_fault(content)
        if fault:
            return Wrong(len(octets), Reason.MALFORMED_FRAME, fault)
        fault = "" if self._frame.checksum is None else self._frame.checksum.find_fault(content)
        if fault:
            return Wrong(len(octets), Reason.CRC_ERROR, fault)
        faults = [fault for constant in self._frame.constant if (fault := constant.find_fault(content))]
        if faults:
            return Wrong(len(octets), Reason.MALFORMED_FRAME, f"{self._frame.name}: {'; '.join(faults)}")
        return Whole(len(octets), content, is_sought_within=self._frame.checksum is not None)

    def _unstuff(self, octets: bytes) -> bytes:
        if self._frame.stuffing is None:
            return octets
        inner = octets[len(self._start) : len(octets) - len(self._end)]
        return self._start + self._frame.stuffing.unstuff(inner) + self._end

    def _find_length_fault(self, content: bytes) -> str:
        """What contradicts the frame's length and end; empty if nothing does."""
        if not content.endswith(self._end):
            return f"the frame ends with {content[-len(self._end) :].hex().upper()}, not {self._frame.end_hex}"
        frame = self._frame
        if frame.length is not None and len(content) != frame.length:
            return f"{frame.name}: the frame has {len(content)} bytes, not {frame.length}"
        field = frame.length_field
        if field is not None and (len(content) < field.end or field.content_bytes(content) != len(content)):
            return f"the frame has {len(content)} bytes, but its length field at byte {field.offset} says otherwise"
        if frame.checksum is not None and not frame.checksum.has_room(content):
            return f"{frame.name}: the frame has only {len(content)} bytes: no room for its check"
        return ""
