"""The decoder of a device profile with declared frames (decoded.py says what a decoder is)."""

from __future__ import annotations

from typing import Any

from contracts.quality import Reason
from edge_agent.commands.decoded import Decoded, DecodedFrame, DecodedReading, OneWayDecoders, Rejected
from edge_agent.frames.frame_profile import SerialFrameProfile
from edge_agent.frames.frame_reader import ChannelNumber, FrameReader, ReadFrame
from edge_agent.lines.poll_step import bounds_of, conversion_of, judge_number


class FrameDecoder:
    """Decodes a stream of a sensor's frames, with the profile's own calibrations only."""

    def __init__(self, profile: SerialFrameProfile) -> None:
        self._reader = FrameReader(profile)

    def feed(self, octets: bytes) -> list[Decoded]:
        """See Decoder."""
        return [_decode(one) for one in self._reader.feed(octets)]

    def finish(self) -> list[Decoded]:
        """See Decoder."""
        return [_decode(one) for one in self._reader.finish()]


def frame_decoders(profile: SerialFrameProfile) -> OneWayDecoders:
    """The decoders of a profile."""
    return OneWayDecoders(profile.title, lambda: FrameDecoder(profile))


def _decode(found: ReadFrame | Rejected) -> Decoded:
    if isinstance(found, Rejected):
        return found
    info: dict[str, Any] = dict(found.info)
    readings = []
    for one in found.numbers:
        if one.channel.required_calibration is not None and one.number is not None:
            # What it means, only a node's own calibration knows.
            info[f"{one.channel.quantity}_uncalibrated"] = one.number
        else:
            readings.append(_judge(one))
    if found.reason is not Reason.OK:
        info["reason"] = found.reason.wire_name
    return DecodedFrame(found.offset, found.octets, tuple(readings), info)


def _judge(one: ChannelNumber) -> DecodedReading:
    quantity = one.channel.quantity
    if one.number is None:
        return DecodedReading(quantity, None, one.reason)
    low, high = bounds_of(one.channel)
    _, value, reason = judge_number(0, one.number, conversion_of({}, one.channel), low, high, one.reason)
    return DecodedReading(quantity, value, reason)
