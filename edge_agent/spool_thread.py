"""The spool in a thread of its own (shell), so that no fsync ever holds up a poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from contracts.ranges import RangeSet
from edge_agent.channel_table import ChannelTable
from edge_agent.reading_buffer import SealedBatch
from edge_agent.store_readings import Spool, StoredBatch

T = TypeVar("T")


class SpoolThread:
    """Awaitable face of a `Spool`; calls are done one after the other, in order."""

    def __init__(self, spool: Spool, channels: ChannelTable) -> None:
        self._spool = spool
        self._channels = channels
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    async def commit(self, batches: list[SealedBatch]) -> None:
        """Stores batches durably. Raises SpoolWriteError."""
        names = self._channels.names
        await self._call(
            lambda: self._spool.commit(
                (
                    sealed.epoch,
                    sealed.batch,
                    sealed.bus_id,
                    [
                        (*names[alias], phenomenon_ns, value, reason)
                        for alias, phenomenon_ns, value, reason in sealed.readings
                    ],
                )
                for sealed in batches
            )
        )

    async def delete(self, epoch: int, batches: RangeSet) -> int:
        """Deletes acknowledged batches. Raises SpoolWriteError."""
        return await self._call(lambda: self._spool.delete(epoch, batches))

    async def begin_connection(self) -> int:
        """The bdSeq of the next connection. Raises SpoolWriteError."""
        return await self._call(self._spool.begin_connection)

    async def read_batch(self, epoch: int, batch: int) -> StoredBatch | None:
        """A batch, if it is there."""
        return await self._call(lambda: self._spool.read_batch(epoch, batch))

    async def read_batches_after(self, after: tuple[int, int], limit: int) -> list[StoredBatch]:
        """The next batches of the backlog."""
        return await self._call(lambda: self._spool.read_batches_after(after, limit))

    async def existing(self, epoch: int, first: int, last: int, limit: int) -> RangeSet:
        """Which batches are there."""
        return await self._call(lambda: self._spool.existing(epoch, first, last, limit))

    async def close(self) -> None:
        """Closes the file and ends the thread."""
        await self._call(self._spool.close)
        self._thread.shutdown(wait=False)

    async def _call(self, action: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, action)
