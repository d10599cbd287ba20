"""One poll of one sensor that sends frames, asked or by itself: what is asked, and what the answer means. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.quality import Reason
from edge_agent.frames.frame_answer import FrameAnswer, read_answer
from edge_agent.frames.frame_profile import SerialFrameProfile
from edge_agent.lines.calibration import Calibration
from edge_agent.lines.poll_step import FrameRequest, Outcome, Poll, bounds_of, conversion_of, judge_number


class FrameDevice:
    """A sensor on a serial port."""

    def __init__(
        self, profile: SerialFrameProfile, calibration: Mapping[str, Calibration], aliases: Sequence[int]
    ) -> None:
        """Asks nothing yet.

        Args:
            profile: limited to the quantities that this sensor has.
            calibration: by quantity; goes before the profile's.
            aliases: of the profile's channels, in their order.
        """
        self._profile = profile
        self._calibration = calibration
        self._aliases = tuple(aliases)
        self._alias_of = dict(zip((channel.quantity for channel in profile.channel), aliases, strict=True))
        self._request = FrameRequest(profile.question, profile)

    @property
    def aliases(self) -> tuple[int, ...]:
        """The channels that a poll gives an outcome for."""
        return self._aliases

    def poll(self, now_s: float) -> Poll:  # noqa: ARG002  # the same shape as ModbusDevice.poll
        """Asks once."""
        answer = yield self._request
        if isinstance(answer, Reason):
            return [(alias, None, answer) for alias in self._aliases]
        heard = read_answer(self._profile, bytes(answer))
        return [self._judge(channel.quantity, heard) for channel in self._profile.channel]

    def _judge(self, quantity: str, heard: FrameAnswer) -> Outcome:
        alias = self._alias_of[quantity]
        found = heard.numbers.get(quantity)
        if found is None:
            return alias, None, heard.missing
        if found.number is None:
            return alias, None, found.reason
        convert = conversion_of(self._calibration, found.channel)
        return judge_number(alias, found.number, convert, *bounds_of(found.channel), found.reason)
