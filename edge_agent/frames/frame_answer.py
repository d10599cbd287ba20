"""What was heard of a sensor within one poll: whether that is everything, and what it says. Pure.

A sensor may send its channels in several frames (a weather transmitter its wind, its temperature and its rain), so an
answer is whole only when every channel of the profile was heard, or a frame said that there is nothing to be had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contracts.quality import Reason
from edge_agent.commands.decoded import Rejected
from edge_agent.frames.frame_profile import SerialFrameProfile
from edge_agent.frames.frame_reader import ChannelNumber, FrameReader, ReadFrame

_LINE_FAULTS = frozenset({Reason.CRC_ERROR, Reason.MALFORMED_FRAME})


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """What was heard."""

    numbers: Mapping[str, ChannelNumber]
    """The newest number of each quantity."""
    missing: Reason
    """Why the other quantities have none."""


class AnswerWatch:
    """Tells a driver when it has heard everything."""

    def __init__(self, profile: SerialFrameProfile) -> None:
        self._reader = FrameReader(profile)
        self._wanted = {channel.quantity for channel in profile.channel}

    def feed(self, octets: bytes) -> bool:
        """Takes what was heard; True when nothing more needs to come."""
        for found in self._reader.feed(octets):
            if isinstance(found, ReadFrame):
                self._wanted -= {one.channel.quantity for one in found.numbers}
                if found.reason is not Reason.OK:
                    self._wanted.clear()
        return not self._wanted


def read_answer(profile: SerialFrameProfile, octets: bytes) -> FrameAnswer:
    """What the bytes of one poll say."""
    reader = FrameReader(profile)
    found = [*reader.feed(octets), *reader.finish()]
    frames = [one for one in found if isinstance(one, ReadFrame)]
    numbers = {one.channel.quantity: one for frame in frames for one in frame.numbers}
    told = [frame.reason for frame in frames if frame.reason is not Reason.OK]
    rejects = [one for one in found if isinstance(one, Rejected)]
    return FrameAnswer(numbers, told[-1] if told else judge_rejects(rejects))


def judge_rejects(rejects: Iterable[Rejected]) -> Reason:
    """Why no frame came: what an error reply says, else a wrong checksum, else no frame at all, else silence."""
    reasons = [one.reason for one in rejects]
    said = [reason for reason in reasons if reason not in _LINE_FAULTS]
    if said:
        return said[-1]
    if Reason.CRC_ERROR in reasons:
        return Reason.CRC_ERROR
    return Reason.MALFORMED_FRAME if reasons else Reason.NO_ANSWER
