"""Completeness of a gateway by the hour: how many of the batches that it must have made are stored. Pure.

A gateway numbers its batches one after another within an epoch (`contracts.uplink`), so that the numbers say what was
made in an hour: from the lowest whose time falls in the hour up to the lowest of the next hour that has any. A gap
between two hours counts to the earlier one. A batch that arrives late raises the hour that it was measured in; one that
its gateway lost for good stays expected. An hour in which an active gateway of the fleet stored nothing at all counts
0 of 1, because nobody knows how many batches it would have made.

The time of a batch is the event time of its newest reading: the time of receipt where the gateway's clock is wrong.
A batch of which its gateway, whose disk was full, sent nothing but its number has no time of its own: it counts as
stored in the hour that its number falls in, told and not missing.

Hours are of UTC and kept for two days; what arrives later than that is stored, and counted in no hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from contracts.fleet import FleetSnapshot, LifecycleState
from contracts.ranges import RangeSet
from contracts.record_message import HourOfGateway
from contracts.uplink import BatchIdentity

NANOSECONDS_PER_HOUR: Final = 3_600 * 1_000_000_000
KEPT_HOURS: Final = 48
_VERSION: Final = 1
_UNTOLD: Final = (-1, -1)
NO_BATCHES: Final = RangeSet()


@dataclass(slots=True)
class _EpochHour:
    """Batches of one epoch whose time falls in one hour."""

    lowest: int
    highest: int
    stored: int


class HourLedger:
    """Hours of all gateways of a partition. Times are nanoseconds of UTC, given by the caller."""

    def __init__(self) -> None:
        self._districts: Mapping[str, str] = {}
        """Gateways of the fleet → district."""
        self._active: frozenset[str] = frozenset()
        """Gateways that must send."""
        self._hours: dict[str, dict[int, dict[int, _EpochHour]]] = {}
        """gateway_id → epoch → hour."""
        self._emptied: dict[str, dict[int, RangeSet]] = {}
        """gateway_id → epoch → batches that came without any reading, because their gateway had thinned them."""
        self._touched: set[str] = set()
        self._told: dict[str, dict[int, tuple[int, int]]] = {}
        """gateway_id → hour → (stored, expected), as last told; (-1, -1): to be told for the first time."""
        self._newest_hour = 0
        """Hours before this one have been looked through for gateways without any batch; 0: none yet."""

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """The fleet's gateways; those with an active node must send."""
        self._districts = {row.gateway_id: row.district_id for row in fleet.gateways}
        self._active = frozenset(node.gateway_id for node in fleet.nodes if node.state is LifecycleState.ACTIVE)

    def record_stored(self, identity: BatchIdentity, event_ns: int) -> None:
        """A new batch (no duplicate), with the event time of its newest reading."""
        hour = event_ns // NANOSECONDS_PER_HOUR
        if hour <= self._newest_hour - KEPT_HOURS:
            return
        hours = self._hours.setdefault(identity.gateway_id, {}).setdefault(identity.epoch, {})
        known = hours.get(hour)
        if known is None:
            hours[hour] = _EpochHour(identity.batch, identity.batch, 1)
        else:
            known.lowest = min(known.lowest, identity.batch)
            known.highest = max(known.highest, identity.batch)
            known.stored += 1
        self._touched.add(identity.gateway_id)

    def record_emptied(self, identity: BatchIdentity) -> None:
        """A new batch (no duplicate) of which its gateway has thinned out every reading."""
        self._emptied.setdefault(identity.gateway_id, {}).setdefault(identity.epoch, RangeSet()).add(identity.batch)
        self._touched.add(identity.gateway_id)

    def changed(self, now_ns: int) -> list[HourOfGateway]:
        """Hours that have changed since the last call, in order.

        Args:
            now_ns: the time of the log. Hours that ended before it count 0 of 1 for active gateways without a batch.
        """
        gateway_ids = set(self._touched)
        current_hour = now_ns // NANOSECONDS_PER_HOUR
        if current_hour > self._newest_hour:
            ended = range(max(self._newest_hour, current_hour - KEPT_HOURS + 1), current_hour)
            first_look = self._newest_hour == 0
            self._newest_hour = current_hour
            self._forget_old()
            if not first_look:
                self._expect(ended)
                gateway_ids.update(self._active)
        self._touched.clear()
        # A gateway that has left the fleet has no district, and nobody looks for it.
        rows = [row for gateway_id in sorted(gateway_ids & self._districts.keys()) for row in self._rows(gateway_id)]
        return [row for row in rows if self._is_news(row)]

    def hours_of(self, gateway_id: str) -> list[HourOfGateway]:
        """All hours of a gateway that are kept, in order, as they stand now."""
        return self._rows(gateway_id)

    def snapshot(self) -> bytes:
        """The state as versioned JSON, without the fleet; `restore` continues with it."""
        state = {
            "version": _VERSION,
            "newest_hour": self._newest_hour,
            "hours": [
                [gateway_id, epoch, hour, each.lowest, each.highest, each.stored]
                for gateway_id, epochs in self._hours.items()
                for epoch, hours in epochs.items()
                for hour, each in hours.items()
            ],
            "told": [
                [gateway_id, hour, *counts] for gateway_id, told in self._told.items() for hour, counts in told.items()
            ],
            "touched": sorted(self._touched),
            "emptied": [
                [gateway_id, epoch, batches.flatten()]
                for gateway_id, epochs in self._emptied.items()
                for epoch, batches in epochs.items()
            ],
        }
        return json.dumps(state, separators=(",", ":")).encode()

    def restore(self, snapshot: bytes) -> None:
        """Takes a state from `snapshot`. Raises ValueError if it is none of this version."""
        state = json.loads(snapshot)
        if not isinstance(state, dict) or state.get("version") != _VERSION:
            raise ValueError(f"no hour ledger of version {_VERSION}")
        self._newest_hour = int(state["newest_hour"])
        self._hours = {}
        for gateway_id, epoch, hour, lowest, highest, stored in state["hours"]:
            self._hours.setdefault(gateway_id, {}).setdefault(epoch, {})[hour] = _EpochHour(lowest, highest, stored)
        self._told = {}
        for gateway_id, hour, stored, expected in state["told"]:
            self._told.setdefault(gateway_id, {})[hour] = (stored, expected)
        self._touched = set(state["touched"])
        self._emptied = {}
        for gateway_id, epoch, flat in state.get("emptied", ()):  # snapshots from before it have none
            self._emptied.setdefault(gateway_id, {})[epoch] = RangeSet.from_flat(flat)

    def _is_news(self, row: HourOfGateway) -> bool:
        """Whether a row says something else than last time; it is then told."""
        told = self._told.setdefault(row.gateway_id, {})
        hour, counts = row.hour_ns // NANOSECONDS_PER_HOUR, (row.stored_batches, row.expected_batches)
        if told.get(hour) == counts:
            return False
        told[hour] = counts
        return True

    def _expect(self, ended: Iterable[int]) -> None:
        """Active gateways of which an ended hour holds nothing: the hour is told as 0 of 1."""
        for gateway_id in self._active:
            epochs = self._hours.get(gateway_id, {}).values()
            for hour in ended:
                if not any(hour in hours for hours in epochs):
                    self._told.setdefault(gateway_id, {}).setdefault(hour, _UNTOLD)

    def _forget_old(self) -> None:
        oldest = self._newest_hour - KEPT_HOURS
        for told in self._told.values():
            for hour in [hour for hour in told if hour <= oldest]:
                del told[hour]
        for epochs in self._hours.values():
            for epoch, hours in list(epochs.items()):
                for hour in [hour for hour in hours if hour <= oldest]:
                    del hours[hour]
                if not hours:
                    del epochs[epoch]
        for gateway_id, emptied in self._emptied.items():
            for epoch in emptied.keys() - self._hours.get(gateway_id, {}).keys():
                del emptied[epoch]

    def _rows(self, gateway_id: str) -> list[HourOfGateway]:
        """The hours of a gateway over all its epochs; hours that were told without any batch are 0 of 1."""
        totals: dict[int, tuple[int, int]] = {}
        for epoch, hours in self._hours.get(gateway_id, {}).items():
            emptied = self._emptied.get(gateway_id, {}).get(epoch, NO_BATCHES)
            for hour, stored, expected in _expected(hours, emptied):
                before = totals.get(hour, (0, 0))
                totals[hour] = (before[0] + stored, before[1] + expected)
        for hour in self._told.get(gateway_id, {}):
            totals.setdefault(hour, (0, 1))
        district_id = self._districts.get(gateway_id, "")
        return [
            HourOfGateway(district_id, gateway_id, hour * NANOSECONDS_PER_HOUR, *totals[hour])
            for hour in sorted(totals)
        ]


def _expected(hours: Mapping[int, _EpochHour], emptied: RangeSet) -> Iterable[tuple[int, int, int]]:
    """(hour, stored, expected) of one epoch."""
    order = sorted(hours)
    counted_to = 0
    for hour, following in zip(order, [*order[1:], None], strict=True):
        each = hours[hour]
        expected = each.highest - each.lowest + 1
        if following is not None:
            expected = max(expected, hours[following].lowest - each.lowest)
        until = each.lowest + expected
        yield hour, each.stored + _count_within(emptied, max(each.lowest, counted_to), until), expected
        counted_to = max(counted_to, until)  # numbers of two hours overlap if a clock was wrong


def _count_within(batches: RangeSet, first: int, end: int) -> int:
    """How many numbers of the set are in `first`..`end` - 1."""
    if not batches or first >= end:
        return 0
    return end - first - sum(high - low + 1 for low, high in batches.missing(first, end - 1))
