"""Whether the agent does its work: every polled line and the spool must get on. Pure; time is passed in.

A watchdog that is fed by a timer proves that a timer runs. This one is fed by the work itself: a line that waits for a
dead device still goes round (each poll ends by a time out), and a spool that is written, or is refused by the disk and
says so, gets on. What stands still is neither. Lines that listen are not expected to do anything.
"""

from __future__ import annotations

from typing import Final

SPOOL: Final = "spool"
SPOOL_LIMIT_S: Final = 45.0
"""The disk's own back-off is 10 s at most, and an fsync of worn flash memory may take long."""


class Liveness:
    """When each part last got on."""

    def __init__(self) -> None:
        self._limits_s: dict[str, float] = {}
        self._last_s: dict[str, float] = {}

    def expect(self, part: str, limit_s: float, now_s: float) -> None:
        """From now on this part must get on at least every `limit_s`."""
        self._limits_s[part] = limit_s
        self._last_s[part] = now_s

    def forget(self, part: str) -> None:
        """This part is not expected to do anything any more."""
        self._limits_s.pop(part, None)
        self._last_s.pop(part, None)

    def got_on(self, part: str, now_s: float) -> None:
        """A line ended a poll, or an attempt to open; a commit ended, well or with an error that was told."""
        self._last_s[part] = now_s

    def standing_still(self, now_s: float) -> list[str]:
        """The parts that do not get on; empty: the watchdog may be fed."""
        return [part for part, limit_s in self._limits_s.items() if now_s - self._last_s[part] > limit_s]


def line_limit_s(longest_interval_s: float) -> float:
    """How long a polled line may take for a round: its longest poll interval, and what silent devices cost."""
    return 60.0 + 2.0 * longest_interval_s
