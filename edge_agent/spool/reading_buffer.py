"""Readings between the poller and the disk: bounded, sealed into batches per bus. Pure.

While the disk refuses, readings wait here; beyond the bound the oldest are discarded and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from contracts.ranges import RangeSet
from edge_agent.channel_table import Reading
from edge_agent.spool.set_points import SetPoints

MAX_BATCH_READINGS: Final = 1_000
"""A batch is one MQTT message: about 30 bytes a reading."""

_reason_of = itemgetter(3)


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """Readings of one bus under one identity (gateway, epoch, batch)."""

    epoch: int
    batch: int
    bus_id: str
    readings: tuple[Reading, ...]
    thinned_count: int = 0
    """Readings that the spool had to give up of it, for want of room."""
    is_urgent: bool = False
    """It holds a reading that is not good, or is beyond a set-point: it goes before all backlog."""
    is_historical: bool = False
    """Its readings are a station's report of the past."""

    @property
    def key(self) -> tuple[int, int]:
        """(epoch, batch)."""
        return self.epoch, self.batch


class ReadingBuffer:
    """What has been read and is not yet committed."""

    def __init__(self, epoch: int, limit: int, set_points: Mapping[int, SetPoints] | None = None) -> None:
        """Starts empty.

        Args:
            epoch: of this start of the agent.
            limit: readings that may wait, sealed ones included.
            set_points: by alias; a reading beyond them is urgent.
        """
        self._epoch = epoch
        self._limit = limit
        self._set_points = set_points or {}
        self._next_batch = 1
        self._open: dict[tuple[str, bool], list[Reading]] = {}
        """By bus, and whether they are of the past."""
        self._urgent_buses: set[str] = set()
        self._sealed: deque[SealedBatch] = deque()
        self._is_committing = False
        self.waiting_count = 0
        """Readings not yet committed."""
        self.discarded_total = 0

    @property
    def has_urgent(self) -> bool:
        """Whether something urgent waits to be sealed."""
        return bool(self._urgent_buses)

    def begin_epoch(self, epoch: int) -> None:
        """What is sealed from now on is of this epoch; what was sealed before keeps its identity."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._next_batch = 1

    def put(self, bus_id: str, readings: list[Reading], *, is_historical: bool = False) -> None:
        """Takes new readings; discards the oldest ones if there are too many."""
        self._open.setdefault((bus_id, is_historical), []).extend(readings)
        if not is_historical and self._is_urgent(readings):
            self._urgent_buses.add(bus_id)
        self.waiting_count += len(readings)
        if self.waiting_count > self._limit:
            self._discard(self.waiting_count - self._limit)

    def seal(self) -> list[SealedBatch]:
        """Everything that waits, as batches, those of earlier failed commits first and unchanged."""
        for (bus_id, is_historical), readings in self._open.items():
            for at in range(0, len(readings), MAX_BATCH_READINGS):
                part = tuple(readings[at : at + MAX_BATCH_READINGS])
                is_urgent = bus_id in self._urgent_buses and not is_historical
                number = self._next_batch
                self._sealed.append(SealedBatch(self._epoch, number, bus_id, part, 0, is_urgent, is_historical))
                self._next_batch += 1
        self._open.clear()
        self._urgent_buses.clear()
        self._is_committing = True
        return list(self._sealed)

    def committed(self, batches: list[SealedBatch]) -> None:
        """These are on disk now."""
        self._is_committing = False
        done = {batch.key for batch in batches}
        self._sealed = deque(batch for batch in self._sealed if batch.key not in done)
        self._recount()

    def sealed(self) -> Iterable[SealedBatch]:
        """Sealed batches that are not yet committed, oldest first."""
        return tuple(self._sealed)

    def find(self, epoch: int, batch: int) -> SealedBatch | None:
        """A sealed batch that is not yet committed."""
        return next((one for one in self._sealed if one.key == (epoch, batch)), None)

    def acknowledge(self, epoch: int, batches: RangeSet) -> None:
        """The far end has stored these before our disk did: they need no keeping."""
        if self._is_committing or not self._sealed:
            return
        self._sealed = deque(one for one in self._sealed if one.epoch != epoch or one.batch not in batches)
        self._recount()

    def failed(self) -> None:
        """The commit failed: what was sealed waits for the next one."""
        self._is_committing = False

    def _is_urgent(self, readings: list[Reading]) -> bool:
        if any(map(_reason_of, readings)):
            return True
        limits = self._set_points
        return bool(limits) and any(
            alias in limits and limits[alias].is_beyond(value) for alias, _, value, _ in readings
        )

    def _discard(self, count: int) -> None:
        """Drops whole sealed batches first (the oldest), then open readings of the fullest bus.

        What is being committed at this moment is not touched. A dropped batch's number is never used again: to
        the host it is a gap, as it should be.
        """
        while count > 0 and self._sealed and not self._is_committing:
            dropped = len(self._sealed.popleft().readings)
            count -= dropped
            self.discarded_total += dropped
        while count > 0 and self._open:
            fullest = max(self._open.values(), key=len)
            dropped = min(count, len(fullest))
            if not dropped:
                break
            del fullest[:dropped]
            count -= dropped
            self.discarded_total += dropped
        self._recount()

    def _recount(self) -> None:
        self.waiting_count = sum(len(batch.readings) for batch in self._sealed)
        self.waiting_count += sum(len(readings) for readings in self._open.values())
