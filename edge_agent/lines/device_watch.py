"""Which outcomes of a poll become readings, and with what time. Pure.

A channel that stays without a value says so when it turns bad, then once per `bad_repeat_s`: no flood, and no silence
either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final

from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND, whole_milliseconds
from contracts.quality import Reason
from edge_agent.channel_table import Reading
from edge_agent.lines.poll_step import SILENCES, Outcome

_reason_of = itemgetter(2)

CLOCK_STEP_NS: Final = NANOSECONDS_PER_SECOND
"""A clock further back than this has been stepped: its observations are marked."""


def is_silent(outcomes: Sequence[Outcome]) -> bool:
    """Whether a poll got no answer of the device at all."""
    return bool(outcomes) and all(reason in SILENCES for _, _, reason in outcomes)


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
    """Memory of one polled device."""

    def __init__(self, bad_repeat_s: Mapping[int, float]) -> None:
        """Starts as if the device were well.

        Args:
            bad_repeat_s: by alias: a channel that stays without a value says so again after this time.
        """
        self._bad_repeat_s = bad_repeat_s
        self._bad_since: dict[int, tuple[Reason, float]] = {}
        self._clock = PhenomenonClock()

    def readings(self, outcomes: Sequence[Outcome], wall_ns: int, now_s: float) -> list[Reading]:
        """The outcomes that are worth keeping, with their time."""
        phenomenon_ns, is_suspect = self._clock.stamp(wall_ns)
        ok, good_code = Reason.OK, int(Reason.CLOCK_SUSPECT if is_suspect else Reason.OK)
        if not self._bad_since and not any(map(_reason_of, outcomes)):
            return [(alias, phenomenon_ns, value, good_code) for alias, value, _ in outcomes]
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

    def _is_repeat(self, alias: int, reason: Reason, now_s: float) -> bool:
        last = self._bad_since.get(alias)
        if last is not None and last[0] is reason and now_s - last[1] < self._bad_repeat_s[alias]:
            return True
        self._bad_since[alias] = (reason, now_s)
        return False
