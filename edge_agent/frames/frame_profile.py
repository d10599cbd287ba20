"""Profiles of sensors that send frames: declared, not programmed. The language is described in docs/device-profiles.md.

A profile has `[[frame]]`s (what the sensor sends, byte_frame.py and line_frame.py) and says what they carry:
`[[channel]]` (values), `[[state]]`, `[[flag]]` and `[[blank]]` (how far the values may be trusted) and `[[info]]` (all
else). Each of these may name the `frames` that it speaks of; without it, it speaks of all that have no `meaning`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts.configuration import Settings
from contracts.quality import Reason
from edge_agent.frames.byte_frame import ByteFrame, ByteFrameShape
from edge_agent.frames.frame_field import HEX_BYTES, ByteSpan, NumberField
from edge_agent.frames.frame_search import FrameShape
from edge_agent.frames.line_frame import LineFrame, LineFrameShape
from edge_agent.frames.line_parts import PartField, PartPlace
from edge_agent.settings.profile_head import DeviceProfile, MeasuredChannel
from edge_agent.settings.reason_name import check_reason, reason_named
from edge_agent.settings.state_rule import StateRule

_BYTES_OF_A_MASK = 2
FrameSettings = Annotated[ByteFrame | LineFrame, Field(discriminator="kind")]


class FrameRule(Settings):
    """Something that is said of some of the profile's frames."""

    frames: tuple[str, ...] = ()
    """Their names; empty: all frames without a meaning."""

    def speaks_of(self, frame: ByteFrame | LineFrame) -> bool:
        """Whether this is said of the frame."""
        return frame.name in self.frames if self.frames else frame.meaning is None


class FrameChannel(MeasuredChannel, FrameRule):
    """A measured value in a frame."""

    field: NumberField | None = None
    """Where it stands in a frame of bytes."""
    part: PartField | None = None
    """Where it stands in a line."""
    sentinel: tuple[StateRule, ...] = ()
    """Numbers, as sent, by which the device says that there is no value."""

    @model_validator(mode="after")
    def _check_place(self) -> FrameChannel:
        if (self.field is None) == (self.part is None):
            raise ValueError("a channel has either a field (in bytes) or a part (of a line)")
        if self.sentinel:
            _check_rules(self.field, self.sentinel)
        return self


class FrameState(FrameRule):
    """A number in a frame that says how far its values may be trusted."""

    field: NumberField
    quantities: tuple[str, ...] = ()
    """Of which it speaks; empty: all."""
    rule: tuple[StateRule, ...] = Field(min_length=1)
    """Tried in order; the first that matches counts, and none at all is good."""
    rejects: bool = False
    """A frame whose state is not good is no measurement at all but an error reply."""

    @model_validator(mode="after")
    def _check(self) -> FrameState:
        _check_rules(self.field, self.rule)
        return self


class LineFlag(FrameRule):
    """A part of a line that says whether its values are valid."""

    part: PartPlace
    good: tuple[str, ...] = Field(min_length=1)
    """Its texts when they are."""
    reason: str = "device_fault"
    quantities: tuple[str, ...] = ()


class BlankSpan(FrameRule):
    """Bytes that are all zero when the frame holds no measurement yet."""

    span: ByteSpan
    reason: str


class FrameInfo(FrameRule):
    """What a frame says beside values."""

    name: str
    field: NumberField | None = None
    part: PartPlace | None = None
    span: ByteSpan | None = None
    """Bytes, shown as hexadecimal digits."""
    text: str | None = None
    """A regular expression for a whole line; its group is shown."""
    labels: dict[str, str] = Field(default_factory=dict)
    """What a number means, by its digits."""

    @model_validator(mode="after")
    def _check_place(self) -> FrameInfo:
        if sum(place is not None for place in (self.field, self.part, self.span, self.text)) != 1:
            raise ValueError("an info has exactly one of field, part, span and text")
        if self.text is not None and _count_groups(self.text) != 1:
            raise ValueError(f"{self.text!r} is no regular expression with one group")
        return self


class SerialFrameProfile(DeviceProfile):
    """A sensor that sends frames, asked or by itself."""

    protocol: Literal["serial_frame"]
    question_hex: str | None = Field(default=None, pattern=HEX_BYTES)
    """What makes it send; without it, the sensor sends by itself."""
    frame: tuple[FrameSettings, ...] = Field(min_length=1)
    """Where two fit, the first one counts."""
    channels: tuple[FrameChannel, ...] = Field(default=(), alias="channel")
    state: tuple[FrameState, ...] = ()
    flag: tuple[LineFlag, ...] = ()
    blank: tuple[BlankSpan, ...] = ()
    info: tuple[FrameInfo, ...] = ()
    only: tuple[str, ...] = ()
    """The quantities that are published; empty: all. A node sets it (`quantities`), not a profile file."""

    @property
    def channel(self) -> tuple[FrameChannel, ...]:
        """One channel of each published quantity (which may stand elsewhere in other frames)."""
        first = {channel.quantity: channel for channel in reversed(self.channels)}
        return tuple(one for one in reversed(first.values()) if not self.only or one.quantity in self.only)

    @property
    def question(self) -> bytes:
        """The bytes that make the sensor send; empty if it sends by itself."""
        return bytes.fromhex(self.question_hex or "")

    @model_validator(mode="after")
    def _check(self) -> SerialFrameProfile:
        faults = [*self._frame_faults(), *self._rule_faults()]
        for frame in self.frame:
            faults += self._channel_faults(frame)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def address_shift(self, channel_index: int | str | None) -> int:
        """Raises ValueError: a frame has no repeated channels."""
        if channel_index is not None:
            raise ValueError("the profile has no repeated channels: leave channel_index out")
        return 0

    def limited_to(self, quantities: Sequence[str]) -> SerialFrameProfile:
        """The profile of a sensor that has only some of its quantities (none named: all).

        Raises ValueError with what is allowed.
        """
        known = [channel.quantity for channel in self.channel]
        if not known:
            raise ValueError("measures nothing: it is for decode only")
        for quantity in quantities:
            if quantity not in known:
                raise ValueError(f"{quantity!r} is not one of {', '.join(known)}")
        if not quantities:
            return self
        return self.model_copy(update={"only": tuple(quantities)})

    def build_shapes(self) -> tuple[FrameShape, ...]:
        """How the profile's frames are found in a stream, in their order."""
        return tuple(
            LineFrameShape(frame) if isinstance(frame, LineFrame) else ByteFrameShape(frame) for frame in self.frame
        )

    def _rules(self) -> Iterable[FrameRule]:
        return (*self.channels, *self.state, *self.flag, *self.blank, *self.info)

    def _frame_faults(self) -> Iterator[str]:
        names = [frame.name for frame in self.frame]
        yield from (f"two frames are called {name!r}" for name in sorted(set(names)) if names.count(name) > 1)
        for frame in self.frame:
            if frame.meaning is not None:
                yield from _reason_faults(frame.meaning.reason)
        for reason in (*(flag.reason for flag in self.flag), *(blank.reason for blank in self.blank)):
            yield from _reason_faults(reason)

    def _rule_faults(self) -> Iterator[str]:
        names = [frame.name for frame in self.frame]
        for rule in self._rules():
            for name in rule.frames:
                if name not in names:
                    yield f"{name!r} is not one of the frames {', '.join(names)}"
            for frame in self.frame:
                if rule.speaks_of(frame) and _speaks_of_lines(rule) is not isinstance(frame, LineFrame):
                    yield f"{_name(rule)} cannot be in {frame.name!r}, which is a frame of kind {frame.kind}"

    def _channel_faults(self, frame: ByteFrame | LineFrame) -> Iterator[str]:
        seen = set()
        for channel in self.channels:
            if not channel.speaks_of(frame):
                continue
            if channel.quantity in seen:
                yield f"{channel.quantity} stands twice in {frame.name!r}"
            seen.add(channel.quantity)
            yield from _end_faults(frame, channel)


def _check_rules(field: NumberField | None, rules: tuple[StateRule, ...]) -> None:
    """Raises ValueError if rules cannot be tried on this field."""
    if field is None or field.type[0] == "f":
        raise ValueError("only a field with an integer has rules")
    if field.width_bytes > _BYTES_OF_A_MASK and any(rule.mask is None for rule in rules):
        raise ValueError(f"each rule for {field.type} needs its mask: without one, it looks at the lower 16 bits only")


def _count_groups(pattern: str) -> int:
    try:
        return re.compile(pattern).groups
    except re.error:
        return -1


def _end_faults(frame: ByteFrame | LineFrame, channel: FrameChannel) -> Iterator[str]:
    if isinstance(frame, LineFrame) or frame.length is None or channel.field is None:
        return
    at = channel.field.offset + frame.length if channel.field.offset < 0 else channel.field.offset
    if at < 0 or at + channel.field.width_bytes > frame.length:
        yield f"{channel.quantity} ends after the {frame.length} bytes of the frame"


def _reason_faults(name: str) -> Iterator[str]:
    try:
        check_reason(name)
    except ValueError as error:
        yield str(error)


def _speaks_of_lines(rule: FrameRule) -> bool:
    if isinstance(rule, LineFlag):
        return True
    if isinstance(rule, FrameInfo):
        return rule.part is not None or rule.text is not None
    return isinstance(rule, FrameChannel) and rule.part is not None


def _name(rule: FrameRule) -> str:
    return str(getattr(rule, "quantity", None) or getattr(rule, "name", None) or type(rule).__name__)


def reason_of_state(state: FrameState, number: int) -> tuple[Reason, str]:
    """The reason that a state's number gives, and what the device's manual says of it."""
    for rule in state.rule:
        if rule.is_matched_by(number):
            return reason_named(rule.reason), rule.text
    return Reason.OK, ""
