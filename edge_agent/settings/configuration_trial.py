"""Whether a new configuration works: a trial against what was flowing before it. Pure; time is passed in.

A configuration that passes every check can still be wrong: a baud rate, a broker's address, a certificate. So a new one
is on trial: what flowed under the last known good one (good readings of a line, acknowledgements of the host) must flow
again. When all of it does, the new one becomes the last known good. What has stopped for `patience_s` ends the trial,
and the agent goes back by itself. After a trial nothing goes back any more: what stops then is no matter of the
configuration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

UPLINK: Final = "uplink"
"""The flow of acknowledgements from the host."""
SETTLED_S: Final = 60.0
"""All must have flowed, and so long must it have run (but half the patience at most): a line may die of its first
cycles."""


def flow_of(bus_id: str) -> str:
    """The flow of good readings of a line."""
    return f"bus/{bus_id}"


class Verdict(Enum):
    """What comes of a trial."""

    GOES_ON = auto()
    PASSED = auto()
    FAILED = auto()


@dataclass(slots=True)
class ConfigurationTrial:
    """One trial, from its beginning to its verdict."""

    wanted: frozenset[str]
    """What flowed before and has a place in the new configuration."""
    began_s: float
    patience_s: float
    _seen_s: dict[str, float] = field(default_factory=dict)

    def see(self, flows: Iterable[str], now_s: float) -> None:
        """Something of these flows came."""
        for name in flows:
            self._seen_s[name] = now_s

    def stopped(self, now_s: float) -> list[str]:
        """What of `wanted` has not come for longer than the patience."""
        return sorted(name for name in self.wanted if now_s - self._seen_s.get(name, self.began_s) >= self.patience_s)

    def judge(self, now_s: float) -> Verdict:
        """Where the trial is. Without anything wanted (a gateway that never had data) the first flow passes it."""
        if self.stopped(now_s):
            return Verdict.FAILED
        is_all_there = self.wanted <= self._seen_s.keys() and bool(self._seen_s)
        is_settled = now_s - self.began_s >= min(SETTLED_S, self.patience_s / 2)
        return Verdict.PASSED if is_all_there and is_settled else Verdict.GOES_ON


def wanted_flows(flowed: Iterable[str], bus_ids: Iterable[str]) -> frozenset[str]:
    """What a new configuration with these lines is asked for: a line that it does not have is not missed."""
    return frozenset(flowed) & {UPLINK, *(flow_of(bus_id) for bus_id in bus_ids)}
