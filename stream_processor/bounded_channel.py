"""The bounded in-process channel between bridge and job (shell): what Kafka is in the distributed engine."""

from __future__ import annotations

import asyncio
from collections import deque

from stream_processor.effects import BatchReceived, Effect


class BoundedChannel:
    """Effects in order, bounded by the readings that they hold. One event loop."""

    def __init__(self, capacity_rows: int) -> None:
        self._capacity_rows = capacity_rows
        self._waiting: deque[Effect] = deque()
        self._rows = 0
        self._filled = asyncio.Event()
        self.shed_batches_total = 0

    @property
    def batch_count(self) -> int:
        """How many effects wait."""
        return len(self._waiting)

    def put(self, effect: Effect) -> None:
        """Appends an effect. A batch that finds no room is shed: unacknowledged, so that its agent sends it again."""
        if isinstance(effect, BatchReceived):
            rows = len(effect.record)
            if self._waiting and self._rows + rows > self._capacity_rows:
                self.shed_batches_total += 1
                return
            self._rows += rows
        self._waiting.append(effect)
        self._filled.set()

    async def gather(self, interval_s: float, max_rows: int) -> list[Effect]:
        """Waits for the first effect, then gathers more for `interval_s` or until `max_rows` readings wait."""
        await self._filled.wait()
        if self._rows < max_rows:
            await asyncio.sleep(interval_s)
        gathered: list[Effect] = []
        rows = 0
        while self._waiting and rows < max_rows:
            effect = self._waiting.popleft()
            gathered.append(effect)
            if isinstance(effect, BatchReceived):
                rows += len(effect.record)
        self._rows -= rows
        if not self._waiting:
            self._filled.clear()
        return gathered
