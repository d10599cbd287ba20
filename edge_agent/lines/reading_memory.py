"""Which of a station's statements are new: a resent one is not reported twice. Pure.

A station resends what was not confirmed, perhaps after later reports, perhaps byte by byte the same, and some have a
clock that stands still. So a statement is dropped only if it cannot be news: the same number, reason and time as the
channel's newest, or as a recent one that is older than the newest. An alarm that comes back under the same time after
it was cleared is news.

Times of a channel are distinct: a second statement under one time is placed one millisecond later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND, whole_milliseconds
from contracts.quality import Reason
from edge_agent.channel_table import Reading

RECENT_COUNT: Final = 16
SANE_SINCE_NS: Final = 1_577_836_800 * NANOSECONDS_PER_SECOND
"""2020-01-01: a clock that shows an earlier time was never set."""
AHEAD_MAX_NS: Final = 300 * NANOSECONDS_PER_SECOND
"""A station's clock may be so far ahead of the gateway's."""
BEHIND_MAX_NS: Final = 400 * 86_400 * NANOSECONDS_PER_SECOND
"""No station keeps its data for longer: a year and a month."""


_Content = tuple[float | None, Reason, int | None, tuple[int, ...]]


class Statement(NamedTuple):
    """What a station says of a channel."""

    alias: int
    value: float | None
    reason: Reason
    claimed_ns: int | None
    """When it was so, by the station; None: it does not say."""
    clock_error_ns: int = 0
    """What the station's clock lacks, where that is known to matter; the reading is in doubt then."""
    origin: tuple[int, ...] = ()
    """Which of several places that a channel stands for says so: another place's alarm is news."""

    @property
    def content(self) -> _Content:
        """What makes two statements of a channel the same."""
        return self.value, self.reason, self.claimed_ns, self.origin


class ReadingMemory:
    """What each channel has said of late."""

    def __init__(self) -> None:
        self._recent: dict[int, deque[_Content]] = {}
        self._last_ns: dict[int, int] = {}

    def news(self, statements: Iterable[Statement], wall_ns: int) -> list[Reading]:
        """Readings for the statements that are new, with times that can be believed."""
        return [self._reading(one, wall_ns) for one in statements if self._is_new(one)]

    def newest_ns(self, aliases: Iterable[int]) -> int | None:
        """The time of the newest reading of any of these channels."""
        return max((self._last_ns[alias] for alias in aliases if alias in self._last_ns), default=None)

    def forget(self, aliases: Iterable[int]) -> None:
        """The channels were told to be stale: whatever they say next is news."""
        for alias in aliases:
            self._recent.pop(alias, None)

    def _is_new(self, statement: Statement) -> bool:
        recent = self._recent.setdefault(statement.alias, deque(maxlen=RECENT_COUNT))
        content, claimed_ns = statement.content, statement.claimed_ns
        if claimed_ns is not None and recent:
            newest_ns = max(one_ns or 0 for _, _, one_ns, _ in recent)
            if content == recent[-1] or (claimed_ns < newest_ns and content in recent):
                return False
        recent.append(content)
        return True

    def _reading(self, statement: Statement, wall_ns: int) -> Reading:
        alias, value, reason, claimed_ns, clock_error_ns, _ = statement
        true_ns = None if claimed_ns is None else claimed_ns + clock_error_ns
        phenomenon_ns, is_suspect = judge_time(true_ns, wall_ns)
        last_ns = self._last_ns.get(alias, phenomenon_ns - 1)
        if 0 <= last_ns - phenomenon_ns < NANOSECONDS_PER_SECOND:
            phenomenon_ns = last_ns + NANOSECONDS_PER_MILLISECOND
        self._last_ns[alias] = max(phenomenon_ns, last_ns)
        if (is_suspect or clock_error_ns) and reason is Reason.OK:
            reason = Reason.CLOCK_SUSPECT
        return alias, phenomenon_ns, value, int(reason)


def judge_time(claimed_ns: int | None, wall_ns: int) -> tuple[int, bool]:
    """The time to believe, and whether it is in doubt.

    A station's time counts while it is possible; else the gateway's does, marked. A gateway whose own clock was never
    set believes a station that knows better.
    """
    if claimed_ns is None:
        return whole_milliseconds(wall_ns), False
    if claimed_ns < SANE_SINCE_NS:
        return whole_milliseconds(wall_ns), True
    if wall_ns < SANE_SINCE_NS or wall_ns - BEHIND_MAX_NS <= claimed_ns <= wall_ns + AHEAD_MAX_NS:
        return whole_milliseconds(claimed_ns), False
    return whole_milliseconds(wall_ns), True
