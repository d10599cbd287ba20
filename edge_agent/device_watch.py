"""When to poll a device next, and which outcomes of a poll become readings. Pure.

A device that answers is polled at its interval, on a fixed grid. One that is silent is probed with exponential
back-off and jitter, so that dead devices do not take the line from the living. A channel that stays without a
value says so when it turns bad, then once per `bad_repeat_s`: no flood, and no silence either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND, whole_milliseconds
from contracts.quality import Reason
from edge_agent.channel_table import Reading
from edge_agent.device_poll import Outcome

FIRST_PROBES: Final = 2
"""So many silent polls come at the normal interval: one lost answer is no dead device."""
JITTER_RATIO: Final = 0.2
CLOCK_STEP_NS: Final = NANOSECONDS_PER_SECOND
"""A clock further back than this has been stepped: its observations are marked."""


def is_silent(outcomes: Sequence[Outcome]) -> bool:
    """Whether a poll got no answer at all."""
    silence = Reason.NO_ANSWER
    return bool(outcomes) and all(reason is silence for _, _, reason in outcomes)


class PhenomenonClock:
    """Whole milliseconds, strictly increasing, whatever the wall clock does."""

    def __init__(self) -> None:
        self._last_ns = 0

    def stamp(self, wall_ns: int) -> tuple[int, bool]:
        """The time of what was read now, and whether the clock is suspect (it was stepped back)."""
        now_ns = whole_milliseconds(wall_ns)
        is_suspect = self._last_ns - now_ns > CLOCK_STEP_NS
        self._last_ns = max(now_ns, self._last_ns + NANOSECONDS_PER_MILLISECOND)
        return self._last_ns, is_suspect


class DeviceWatch:
    """Schedule and memory of one polled device."""

    def __init__(self, interval_s: float, probe_max_s: float, bad_repeat_s: Mapping[int, float]) -> None:
        """Starts as if the device were well.

        Args:
            interval_s: between two polls.
            probe_max_s: the longest time between two probes of a silent device (never shorter than the interval).
            bad_repeat_s: by alias.
        """
        self._interval_s = interval_s
        self._probe_max_s = max(probe_max_s, interval_s)
        self._bad_repeat_s = bad_repeat_s
        self._bad_since: dict[int, tuple[Reason, float]] = {}
        self._clock = PhenomenonClock()
        self.silent_polls = 0
        """Polls in a row without any answer."""

    def readings(self, outcomes: Sequence[Outcome], wall_ns: int, now_s: float) -> list[Reading]:
        """The outcomes that are worth keeping, with their time."""
        phenomenon_ns, is_suspect = self._clock.stamp(wall_ns)
        ok, good_code = Reason.OK, int(Reason.CLOCK_SUSPECT if is_suspect else Reason.OK)
        kept: list[Reading] = []
        for alias, value, reason in outcomes:
            if value is None:
                if self._is_repeat(alias, reason, now_s):
                    continue
            elif self._bad_since:
                self._bad_since.pop(alias, None)
            if reason is ok:
                kept.append((alias, phenomenon_ns, value, good_code))
            else:
                kept.append((alias, phenomenon_ns, value, int(reason)))
        return kept

    def next_due_s(self, due_s: float, now_s: float, outcomes: Sequence[Outcome], fraction: float) -> float:
        """When to poll next.

        Args:
            due_s: when this poll was due.
            now_s: monotonic clock, after the poll.
            outcomes: of this poll.
            fraction: random, 0 to 1, for the jitter.
        """
        if is_silent(outcomes):
            self.silent_polls += 1
        else:
            self.silent_polls = 0
        if self.silent_polls > FIRST_PROBES:
            doublings = min(self.silent_polls - FIRST_PROBES, 30)
            wait_s = min(self._interval_s * 2.0**doublings, self._probe_max_s)
            return now_s + wait_s * (1.0 - JITTER_RATIO * fraction)
        missed = max(0, math.ceil((now_s - due_s) / self._interval_s) - 1)
        return due_s + (missed + 1) * self._interval_s

    def _is_repeat(self, alias: int, reason: Reason, now_s: float) -> bool:
        last = self._bad_since.get(alias)
        if last is not None and last[0] is reason and now_s - last[1] < self._bad_repeat_s[alias]:
            return True
        self._bad_since[alias] = (reason, now_s)
        return False
