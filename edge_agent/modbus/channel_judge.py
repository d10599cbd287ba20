"""What the numbers of one poll mean for each channel: its value, or the reason why it has none. Pure.

Most channels of most devices are linear in their register, have no state register and are within their range: those
are converted and checked as columns, all at once. What is not so (a number is missing, is none, or is out of its
range) is judged channel by channel, which is the rule; the columns are only quicker.
`tests/property/test_channel_judge.py` holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import add, itemgetter, le, mul, truediv
from typing import Final, Protocol

from contracts.quality import Reason
from edge_agent.lines.calibration import Conversion
from edge_agent.lines.linear_conversion import LinearConversion
from edge_agent.lines.poll_step import Outcome, judge_number

_LARGEST: Final = math.nextafter(math.inf, 0.0)
COLUMN_MIN: Final = 4
"""Fewer channels are as quick one by one."""

Numbers = Sequence[float | None]
"""By field; None: it was not read."""
_AS_IT_IS: Final = LinearConversion()


class StateRegister(Protocol):
    """A register whose content says how far values may be trusted."""

    def reason_of(self, register: int) -> Reason:
        """The reason that the register's content gives."""


@dataclass(slots=True)
class Heartbeat:
    """When a register last changed."""

    stale_after_s: float
    register: int | None = None
    changed_s: float = 0.0

    def beat(self, register: int, now_s: float) -> Reason:
        """Takes what the register holds now; says whether it still lives."""
        if register != self.register:
            self.register = register
            self.changed_s = now_s
        return Reason.STALE if now_s - self.changed_s > self.stale_after_s else Reason.OK


@dataclass(frozen=True, slots=True)
class JudgedChannel:
    """A channel, and where its number and what speaks of it stand among a device's fields."""

    alias: int
    field_at: int
    convert: Conversion | None
    """None: its number is its value."""
    low: float
    high: float
    states: tuple[tuple[int, StateRegister], ...] = ()
    heartbeat: tuple[int, Heartbeat] | None = None

    @property
    def linear(self) -> LinearConversion | None:
        """Its conversion if its number alone decides, and linearly so."""
        if self.states or self.heartbeat is not None:
            return None
        convert = _AS_IT_IS if self.convert is None else self.convert
        return convert if isinstance(convert, LinearConversion) else None


class ChannelJudge:
    """The channels of a device."""

    def __init__(self, channels: Sequence[JudgedChannel]) -> None:
        linear = [one for one in channels if one.linear is not None]
        if len(linear) < COLUMN_MIN:
            linear = []
        self._column = _Column(linear) if linear else None
        columned = {one.alias for one in linear}
        self._others = [one for one in channels if one.alias not in columned]
        found = [one.alias for one in (*linear, *self._others)]
        self._order = [found.index(one.alias) for one in channels] if linear and self._others else None
        """Where each channel's outcome stands when the column's come first."""

    def judge(self, numbers: Numbers, failures: Sequence[Reason], now_s: float) -> list[Outcome]:
        """An outcome for each channel, in their order.

        Args:
            numbers: by field.
            failures: by field: why there is no number.
            now_s: monotonic clock, for heartbeats.
        """
        outcomes: list[Outcome] = [] if self._column is None else self._column.judge(numbers, failures, now_s)
        outcomes += [judge_channel(channel, numbers, failures, now_s) for channel in self._others]
        return outcomes if self._order is None else [outcomes[at] for at in self._order]


class _Column:
    """At least `COLUMN_MIN` channels that are linear in their numbers."""

    def __init__(self, channels: Sequence[JudgedChannel]) -> None:
        self._channels = channels
        self._aliases = [one.alias for one in channels]
        self._gather: Callable[[Numbers], Sequence[float | None]] = itemgetter(*(one.field_at for one in channels))
        # Without limits a channel still takes no infinity: a register of a float may hold one.
        self._lows = _column_of([max(one.low, -_LARGEST) for one in channels])
        self._highs = _column_of([min(one.high, _LARGEST) for one in channels])
        conversions = [one.linear or _AS_IT_IS for one in channels]
        self._divisors = _column_of([one.divisor for one in conversions])
        scales, offsets = [one.scale for one in conversions], [one.offset for one in conversions]
        self._scales = _column_of(scales) if any(scale != 1.0 for scale in scales) else None
        self._offsets = _column_of(offsets) if any(offsets) else None

    def judge(self, numbers: Numbers, failures: Sequence[Reason], now_s: float) -> list[Outcome]:
        values = self._convert(self._gather(numbers))
        if values is None:
            return [judge_channel(channel, numbers, failures, now_s) for channel in self._channels]
        if all(map(le, self._lows, values)) and all(map(le, values, self._highs)):
            return list(zip(self._aliases, values, repeat(Reason.OK), strict=False))
        return [
            (channel.alias, value, Reason.OK)
            if low <= value <= high
            else judge_channel(channel, numbers, failures, now_s)
            for channel, value, low, high in zip(self._channels, values, self._lows, self._highs, strict=False)
        ]

    def _convert(self, numbers: Sequence[float | None]) -> list[float] | None:
        """The values; NaN where the number is missing or none. None: an integer is beyond a double."""
        try:
            values = list(map(truediv, numbers, self._divisors))
        except TypeError:
            return self._convert([math.nan if number is None else number for number in numbers])
        except OverflowError:
            return None
        if self._scales is not None:
            values = list(map(mul, self._scales, values))
        if self._offsets is not None:
            values = list(map(add, values, self._offsets))
        return values


def _column_of(numbers: Sequence[float]) -> Iterable[float]:
    """The numbers; if they are all the same, one number without end."""
    return repeat(numbers[0]) if len(set(numbers)) == 1 else numbers


def judge_channel(channel: JudgedChannel, numbers: Numbers, failures: Sequence[Reason], now_s: float) -> Outcome:
    """The outcome of one channel."""
    number = numbers[channel.field_at]
    if number is None:
        return channel.alias, None, failures[channel.field_at]
    reason = Reason.OK
    for field_at, state in channel.states:
        register = numbers[field_at]
        if register is None:
            return channel.alias, None, failures[field_at]
        if reason is Reason.OK:
            reason = state.reason_of(int(register))
    if channel.heartbeat is not None:
        field_at, heartbeat = channel.heartbeat
        register = numbers[field_at]
        if register is None:
            return channel.alias, None, failures[field_at]
        if heartbeat.beat(int(register), now_s) is not Reason.OK:
            reason = Reason.STALE
    return judge_number(channel.alias, number, channel.convert, channel.low, channel.high, reason)
