"""Bytes of a sensor → frames with numbers and reasons, as its profile declares them. Pure.

`FrameReader` is what a driver's answer and the `decode` command have in common: it finds the frames, reads their
channels in the device's terms (before a node's calibration), and takes what says an error for a reject.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from contracts.quality import Reason
from edge_agent.commands.decoded import Rejected
from edge_agent.frames.byte_frame import ByteFrame
from edge_agent.frames.frame_field import FieldError
from edge_agent.frames.frame_profile import (
    FrameChannel,
    FrameInfo,
    SerialFrameProfile,
    reason_of_state,
)
from edge_agent.frames.frame_search import FoundFrame, FrameSearch
from edge_agent.frames.line_frame import LineContent, LineFrame
from edge_agent.frames.search_reader import SearchReader
from edge_agent.settings.reason_name import reason_named

JsonValue = str | float | list[str] | dict[str, str] | None
_Numbers = tuple["ChannelNumber", ...]


@dataclass(frozen=True, slots=True)
class ChannelNumber:
    """What a frame says of one channel."""

    channel: FrameChannel
    number: float | None
    """In the profile's terms, before any calibration; None: there is none, and `reason` says why."""
    reason: Reason


@dataclass(frozen=True, slots=True)
class ReadFrame:
    """A whole frame that was read."""

    offset: int
    octets: bytes
    name: str
    """Of the profile's frame."""
    numbers: _Numbers = ()
    info: Mapping[str, JsonValue] = field(default_factory=dict)
    reason: Reason = Reason.OK
    """Not ok: the frame holds no values, and this is why."""


class _ReplyError(Exception):
    """A right frame that says an error in place of values."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class FrameReader(SearchReader[ReadFrame]):
    """Reads a stream of bytes from one sensor."""

    def __init__(self, profile: SerialFrameProfile) -> None:
        super().__init__(FrameSearch(profile.build_shapes()), self._read_found)
        self._profile = profile

    def _read_found(self, found: FoundFrame) -> ReadFrame | Rejected:
        frame = self._profile.frame[found.shape_index]
        try:
            return self._read_frame(found, frame)
        except _ReplyError as error:
            return Rejected(found.offset, found.octets, error.reason, f"{frame.name}: {error}")

    def _read_frame(self, found: FoundFrame, frame: ByteFrame | LineFrame) -> ReadFrame:
        info = {"frame": frame.name, **dict(self._read_info(frame, found.content))}
        meaning = frame.meaning
        if meaning is not None and meaning.rejects:
            said = f": {found.content.text!r}" if isinstance(frame, LineFrame) else ""
            raise _ReplyError(reason_named(meaning.reason), f"{meaning.text}{said}")
        if isinstance(frame, LineFrame):
            numbers = self._read_line(frame, found.content, info)
        else:
            numbers = self._read_bytes(frame, found.content)
        if meaning is None:
            return ReadFrame(found.offset, found.octets, frame.name, numbers, info)
        info["says"] = meaning.text
        return ReadFrame(found.offset, found.octets, frame.name, numbers, info, reason_named(meaning.reason))

    def _channels_of(self, frame: ByteFrame | LineFrame) -> Iterator[FrameChannel]:
        return (channel for channel in self._profile.channels if channel.speaks_of(frame))

    def _read_bytes(self, frame: ByteFrame, content: bytes) -> _Numbers:
        doubts = list(self._doubts_of_bytes(frame, content))
        numbers = []
        for channel in self._channels_of(frame):
            number, reason = _read_field(channel, content, len(content) - frame.trailer_bytes)
            if reason is Reason.OK:
                reason = _first_doubt(doubts, channel.quantity)
            numbers.append(ChannelNumber(channel, number, reason))
        return tuple(numbers)

    def _doubts_of_bytes(self, frame: ByteFrame, content: bytes) -> Iterator[tuple[tuple[str, ...], Reason]]:
        """Why the values of some quantities (none: all) must not be believed."""
        for state in self._profile.state:
            if not state.speaks_of(frame):
                continue
            try:
                reason, text = reason_of_state(state, int(state.field.decode_raw(content)))
            except FieldError as error:
                raise _ReplyError(Reason.MALFORMED_FRAME, str(error)) from error
            if state.rejects and reason is not Reason.OK:
                raise _ReplyError(reason, text or "the device reports an error")
            yield state.quantities, reason
        for blank in self._profile.blank:
            span = blank.span.cut(content)
            if span and blank.speaks_of(frame) and not any(span):
                yield (), reason_named(blank.reason)

    def _read_line(self, frame: LineFrame, content: LineContent, info: dict[str, JsonValue]) -> _Numbers:
        doubts = [
            (flag.quantities, reason_named(flag.reason))
            for flag in self._profile.flag
            if flag.speaks_of(frame) and (flag.part.find(content.parts) or ("", None))[0] not in flag.good
        ]
        malformed = list(content.parts.malformed)
        numbers = []
        for channel in self._channels_of(frame):
            assert channel.part is not None  # checked with the profile
            try:
                found = channel.part.read(content.parts)
            except FieldError as error:
                malformed.append(f"{channel.part.key or channel.part.position}: {error}")
                found = (None, Reason.MALFORMED_FRAME)
            if found is not None:
                number, reason = found
                doubt = _first_doubt(doubts, channel.quantity)
                numbers.append(ChannelNumber(channel, number, doubt if reason is Reason.OK else reason))
        self._check_line(frame, content, numbers, malformed)
        if malformed:
            info["malformed"] = malformed
        if unknown := self._find_unknown(frame, content):
            info["unknown"] = unknown
        return tuple(numbers)

    def _check_line(
        self, frame: LineFrame, content: LineContent, numbers: list[ChannelNumber], malformed: list[str]
    ) -> None:
        """Raises _ReplyError if the line as a whole is not to be taken."""
        if malformed and not content.is_terminated and _ends_with(frame, content, malformed):
            raise _ReplyError(Reason.MALFORMED_FRAME, f"truncated: {'; '.join(malformed)}")
        if all(one.reason is Reason.MALFORMED_FRAME for one in numbers) and any(self._channels_of(frame)):
            what = "; ".join(malformed) or f"none of the profile's values is in {content.text!r}"
            if malformed or not any(
                one.part is not None and one.part.find(content.parts) for one in self._profile.info
            ):
                raise _ReplyError(Reason.MALFORMED_FRAME, what)

    def _find_unknown(self, frame: LineFrame, content: LineContent) -> dict[str, str]:
        """Parts with a key that the profile does not know: shown, never guessed."""
        known = {channel.part.key for channel in self._channels_of(frame) if channel.part is not None}
        known |= {one.part.key for one in self._profile.info if one.part is not None}
        return {key: text + (unit or "") for key, (text, unit) in content.parts.keyed.items() if key not in known}

    def _read_info(self, frame: ByteFrame | LineFrame, content: bytes | LineContent) -> Iterator[tuple[str, JsonValue]]:
        for one in self._profile.info:
            shown = _show_info(one, content) if one.speaks_of(frame) else None
            if shown is not None:
                yield one.name, shown


def _ends_with(frame: LineFrame, content: LineContent, malformed: list[str]) -> bool:
    """Whether the last part of the line is among the malformed ones: only there a line that is cut off is wrong."""
    if frame.layout != "key_value":
        return True
    key = content.text.rpartition(frame.separator)[2].partition("=")[0]
    return any(one.startswith(key) for one in malformed)


def _first_doubt(doubts: Iterable[tuple[tuple[str, ...], Reason]], quantity: str) -> Reason:
    for quantities, reason in doubts:
        if reason is not Reason.OK and (not quantities or quantity in quantities):
            return reason
    return Reason.OK


def _read_field(channel: FrameChannel, content: bytes, payload_end: int) -> tuple[float | None, Reason]:
    place = channel.field
    assert place is not None  # checked with the profile
    if place.offset >= 0 and place.offset + place.width_bytes > payload_end:
        return None, Reason.MALFORMED_FRAME  # never take the check of a short frame for a value
    try:
        for rule in channel.sentinel:
            if rule.is_matched_by(int(place.decode_raw(content))):
                return None, reason_named(rule.reason)
        return place.decode(content), Reason.OK
    except FieldError:
        return None, Reason.MALFORMED_FRAME


def _show_info(info: FrameInfo, content: bytes | LineContent) -> JsonValue:
    """The JSON value of an info; None if the frame does not have it."""
    return _show_line_info(info, content) if isinstance(content, LineContent) else _show_byte_info(info, content)


def _show_line_info(info: FrameInfo, content: LineContent) -> JsonValue:
    if info.text is not None:
        found = re.search(info.text, content.text)
        return None if found is None else found[1]
    part = None if info.part is None else info.part.find(content.parts)
    return None if part is None else part[0] + (part[1] or "")


def _show_byte_info(info: FrameInfo, content: bytes) -> JsonValue:
    if info.span is not None:
        return info.span.cut(content).hex()
    assert info.field is not None  # checked with the profile
    try:
        number = info.field.decode(content)
    except FieldError:
        return None
    if not math.isfinite(number):
        return str(number)
    shown = int(number) if float(number).is_integer() else number
    return info.labels.get(str(shown), shown)
