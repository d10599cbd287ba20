"""An observation: calibrated, in our unit, with its time and its quality. Never a value alone.

Times are integer nanoseconds since 1970-01-01T00:00:00Z. A Sparkplug timestamp is milliseconds, so an agent
stamps observations with whole milliseconds (`phenomenon_ns % 1_000_000 == 0`): nothing changes on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from contracts.quality import Level, Reason, level_of

NANOSECONDS_PER_MILLISECOND: Final = 1_000_000
NANOSECONDS_PER_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of one channel at one time, as the agent's spool keeps it."""

    node_id: str
    quantity: str
    phenomenon_ns: int
    """When it was measured."""
    value: float | None
    """In the quantity's unit; None where there is no value at all (no answer, corrupt frame)."""
    reason: Reason = Reason.OK

    @property
    def level(self) -> Level:
        """Good, uncertain or bad, as the reason says."""
        return level_of(self.reason)


def whole_milliseconds(time_ns: int) -> int:
    """`time_ns` rounded down to what a Sparkplug timestamp can carry, still in nanoseconds."""
    return time_ns - time_ns % NANOSECONDS_PER_MILLISECOND
