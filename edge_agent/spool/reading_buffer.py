"""Readings and waveforms between the poller and the disk: bounded, sealed into batches per bus. Pure.

While the disk refuses, they wait here; beyond the bound the oldest are discarded and counted. Waveforms have batches
and a bound of their own, so that they never take a reading's place.
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
from edge_agent.waveform.waveform_block import WaveformBlock

MAX_BATCH_READINGS: Final = 1_000
"""A batch is one MQTT message: about 30 bytes a reading."""

MAX_BATCH_SAMPLES: Final = 20_000
"""The same of waveforms: 4 bytes a sample."""

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
    waveforms: tuple[WaveformBlock, ...] = ()
    """Then it has no readings."""

    @property
    def sample_count(self) -> int:
        """Of its waveforms."""
        return sum(len(block.samples) for block in self.waveforms)

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
            limit: readings that may wait, sealed ones included; and as many samples of waveforms.
            set_points: by alias; a reading beyond them is urgent.
        """
        self._epoch = epoch
        self._limit = limit
        self._set_points = set_points or {}
        self._next_batch = 1
        self._open: dict[tuple[str, bool], list[Reading]] = {}
        """By bus, and whether they are of the past."""
        self._open_waveforms: dict[str, list[WaveformBlock]] = {}
        self._urgent_buses: set[str] = set()
        self._sealed: deque[SealedBatch] = deque()
        self._is_committing = False
        self.waiting_count = 0
        """Readings not yet committed."""
        self.discarded_total = 0
        self.waiting_samples = 0
        """Of waveforms not yet committed."""
        self.discarded_samples_total = 0

    @property
    def has_urgent(self) -> bool:
        """Whether something urgent waits to be sealed."""
        return bool(self._urgent_buses)

    def watch(self, set_points: Mapping[int, SetPoints]) -> None:
        """Other set-points from now on, by alias."""
        self._set_points = set_points

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

    def put_waveforms(self, bus_id: str, blocks: list[WaveformBlock]) -> None:
        """Takes new blocks; discards the oldest batches of them if there are too many samples."""
        self._open_waveforms.setdefault(bus_id, []).extend(blocks)
        self.waiting_samples += sum(len(block.samples) for block in blocks)
        if self.waiting_samples > self._limit:
            self._discard_waveforms(self.waiting_samples - self._limit)

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
        for bus_id, blocks in self._open_waveforms.items():
            self._seal_waveforms(bus_id, blocks)
        self._open_waveforms.clear()
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

    def _seal_waveforms(self, bus_id: str, blocks: list[WaveformBlock]) -> None:
        while blocks:
            taken = samples = 0
            while taken < len(blocks) and (not taken or samples + len(blocks[taken].samples) <= MAX_BATCH_SAMPLES):
                samples += len(blocks[taken].samples)
                taken += 1
            part, blocks = tuple(blocks[:taken]), blocks[taken:]
            self._sealed.append(SealedBatch(self._epoch, self._next_batch, bus_id, (), waveforms=part))
            self._next_batch += 1

    def _discard_waveforms(self, count: int) -> None:
        """Drops whole batches of waveforms, the oldest first, then open blocks. A dropped number is a gap."""
        if not self._is_committing:
            kept: deque[SealedBatch] = deque()
            for batch in self._sealed:
                if count > 0 and batch.waveforms:
                    count -= batch.sample_count
                    self.discarded_samples_total += batch.sample_count
                else:
                    kept.append(batch)
            self._sealed = kept
        for blocks in self._open_waveforms.values():
            while count > 0 and blocks:
                dropped = len(blocks.pop(0).samples)
                count -= dropped
                self.discarded_samples_total += dropped
        self._recount()

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
            gone = self._sealed.popleft()
            count -= len(gone.readings)
            self.discarded_total += len(gone.readings)
            self.discarded_samples_total += gone.sample_count
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
        self.waiting_samples = sum(batch.sample_count for batch in self._sealed)
        self.waiting_samples += sum(len(block.samples) for blocks in self._open_waveforms.values() for block in blocks)
