"""The bounded in-process channel behind the bridge (shell): to the job, or in the distributed engine to Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from contracts.notice import Quarantined
from stream_processor.effects import BatchReceived, Effect

ALLOWANCE_ROWS: Final = 16
"""What a batch counts beside its readings: sixteen readings fill as much memory as its columns' own objects."""
BYTES_PER_ROW: Final = 34


class BoundedChannel:
    """Effects in order, bounded by the readings that they hold. One event loop."""

    def __init__(self, capacity_rows: int) -> None:
        self._capacity_rows = capacity_rows
        self._waiting: deque[Effect] = deque()
        self._rows = 0
        self._filled = asyncio.Event()
        self.shed_batches_total = 0
        """Not taken for want of room, so not acknowledged: their agents send them again."""
        self.shed_quarantined_total = 0
        """Bad input that was dropped for want of room: it is counted here and seen nowhere else."""

    @property
    def batch_count(self) -> int:
        """How many effects wait."""
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def put(self, effect: Effect) -> None:
        """Appends an effect. One that carries data and finds no room is shed; what is told of gateways never is."""
        rows = _weight(effect)
        if rows and self._waiting and self._rows + rows > self._capacity_rows:
            if isinstance(effect, BatchReceived):
                self.shed_batches_total += 1
            else:
                self.shed_quarantined_total += 1
            return
        self._rows += rows
        self._waiting.append(effect)
        self._filled.set()

    async def gather(self, interval_s: float, max_rows: int) -> list[Effect]:
        """Waits for the first effect, then gathers more for `interval_s` or until `max_rows` readings wait."""
        await self._filled.wait()
        if self._rows < max_rows:
            await asyncio.sleep(interval_s)
        return self.take(max_rows)

    async def wait(self, timeout_s: float) -> None:
        """Returns when something waits, at the latest after `timeout_s`."""
        if not self._waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._filled.wait(), timeout_s)

    def take(self, max_rows: int) -> list[Effect]:
        """What waits, in order: all of it, or effects of `max_rows` readings and a little more."""
        gathered: list[Effect] = []
        rows = 0
        while self._waiting and rows < max_rows:
            effect = self._waiting.popleft()
            gathered.append(effect)
            rows += _weight(effect)
        self._rows -= rows
        if not self._waiting:
            self._filled.clear()
        return gathered


def _weight(effect: Effect) -> int:
    """The memory that an effect fills, as a number of readings."""
    match effect:
        case BatchReceived():
            refused = sum(_weight(bad) for bad in effect.refused) if effect.refused else 0
            sampled = sum(each.samples.nbytes for each in effect.waveforms) // BYTES_PER_ROW
            return len(effect.record) + ALLOWANCE_ROWS + refused + sampled
        case Quarantined():
            return ALLOWANCE_ROWS + len(effect.payload) // BYTES_PER_ROW
        case _:
            return 0
