"""What to send to one open page, and when: the pending parts, each with the least time between two of it.

Alarms go at once. Values are gathered to at most two batches a second, and rows change their order less often than
their values, so that nothing moves away under a finger. A tick goes always: a page that misses it knows that its
connection is dead even when no socket says so. Pure: the caller tells the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from console.fleet_query import FleetQuery, Order, QualityFilter
from console.view_model import Change
from contracts.observation import NANOSECONDS_PER_MILLISECOND


class Part(StrEnum):
    """A part of the page that is sent by itself; the value is the event's name on the stream."""

    ALARMS = "alarms"
    STATUS = "status"
    FLEET = "fleet"
    VALUES = "values"
    TICK = "tick"


INTERVALS_NS: Final[Mapping[Part, int]] = MappingProxyType(
    {
        Part.ALARMS: 50 * NANOSECONDS_PER_MILLISECOND,
        Part.STATUS: 250 * NANOSECONDS_PER_MILLISECOND,
        Part.FLEET: 3_000 * NANOSECONDS_PER_MILLISECOND,
        Part.VALUES: 500 * NANOSECONDS_PER_MILLISECOND,
        Part.TICK: 3_000 * NANOSECONDS_PER_MILLISECOND,
    }
)
"""At least this long between two of a part; a tick goes each time that it is over."""

_LONG_AGO: Final = -(2**62)


class FeedPlan:
    """The pending parts of one page."""

    def __init__(self, query: FleetQuery) -> None:
        self._follows_levels = query.order is Order.BAD_FIRST or query.quality is not QualityFilter.ALL
        self._pending = {Part.ALARMS, Part.STATUS, Part.FLEET, Part.TICK}
        self._sent_ns = dict.fromkeys(Part, _LONG_AGO)
        self._channel_ids: set[int] = set()

    def add(self, change: Change) -> None:
        """Takes in what changed."""
        if change.is_alarms:
            self._pending.add(Part.ALARMS)
        if change.is_status:
            self._pending.add(Part.STATUS)
        if change.is_fleet or (change.is_levels and self._follows_levels):
            self._pending.add(Part.FLEET)
        if change.channel_ids:
            self._channel_ids |= change.channel_ids
            self._pending.add(Part.VALUES)

    def take_due(self, now_ns: int) -> list[Part]:
        """The parts to send now, in the order of `Part`; they are no longer pending (a tick is again)."""
        due = [part for part in Part if part in self._pending and self._due_ns(part) <= now_ns]
        for part in due:
            self._pending.discard(part)
            self._sent_ns[part] = now_ns
        self._pending.add(Part.TICK)
        return due

    def take_channel_ids(self) -> set[int]:
        """The channels that changed since the last time; to be asked when VALUES is due."""
        taken, self._channel_ids = self._channel_ids, set()
        return taken

    def next_due_ns(self) -> int:
        """When the next pending part is due."""
        return min(self._due_ns(part) for part in self._pending)

    def _due_ns(self, part: Part) -> int:
        return self._sent_ns[part] + INTERVALS_NS[part]
