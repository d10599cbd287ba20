"""Readings between the poller and the disk: bounded, sealed into batches per bus. Pure.

While the disk refuses, readings wait here; beyond the bound the oldest are discarded and counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from contracts.ranges import RangeSet
from edge_agent.channel_table import Reading

MAX_BATCH_READINGS: Final = 1_000
"""A batch is one MQTT message: about 30 bytes a reading."""


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """Readings of one bus under one identity (gateway, epoch, batch)."""

    epoch: int
    batch: int
    bus_id: str
    readings: tuple[Reading, ...]


class ReadingBuffer:
    """What has been read and is not yet committed."""

    def __init__(self, epoch: int, limit: int) -> None:
        """Starts empty.

        Args:
            epoch: of this start of the agent.
            limit: readings that may wait, sealed ones included.
        """
        self._epoch = epoch
        self._limit = limit
        self._next_batch = 1
        self._open: dict[str, list[Reading]] = {}
        self._sealed: deque[SealedBatch] = deque()
        self._is_committing = False
        self.waiting_count = 0
        """Readings not yet committed."""
        self.discarded_total = 0

    def put(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes new readings; discards the oldest ones if there are too many."""
        self._open.setdefault(bus_id, []).extend(readings)
        self.waiting_count += len(readings)
        if self.waiting_count > self._limit:
            self._discard(self.waiting_count - self._limit)

    def seal(self) -> list[SealedBatch]:
        """Everything that waits, as batches, those of earlier failed commits first and unchanged."""
        for bus_id, readings in self._open.items():
            for at in range(0, len(readings), MAX_BATCH_READINGS):
                part = tuple(readings[at : at + MAX_BATCH_READINGS])
                self._sealed.append(SealedBatch(self._epoch, self._next_batch, bus_id, part))
                self._next_batch += 1
        self._open.clear()
        self._is_committing = True
        return list(self._sealed)

    def committed(self, batches: list[SealedBatch]) -> None:
        """These are on disk now."""
        self._is_committing = False
        done = {batch.batch for batch in batches}
        self._sealed = deque(batch for batch in self._sealed if batch.batch not in done)
        self._recount()

    def find(self, epoch: int, batch: int) -> SealedBatch | None:
        """A sealed batch that is not yet committed."""
        return next((one for one in self._sealed if (one.epoch, one.batch) == (epoch, batch)), None)

    def acknowledge(self, epoch: int, batches: RangeSet) -> None:
        """The far end has stored these before our disk did: they need no keeping."""
        if self._is_committing or epoch != self._epoch or not self._sealed:
            return
        self._sealed = deque(one for one in self._sealed if one.batch not in batches)
        self._recount()

    def failed(self) -> None:
        """The commit failed: what was sealed waits for the next one."""
        self._is_committing = False

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
