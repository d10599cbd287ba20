"""The commit loop (shell): collects readings, commits them in groups, and only then hands them to the uplink."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Final

from edge_agent.back_off import back_off_s
from edge_agent.channel_table import ChannelTable, Reading
from edge_agent.errors import SpoolWriteError
from edge_agent.spool.reading_buffer import ReadingBuffer, SealedBatch
from edge_agent.spool.spool_thread import SpoolThread
from edge_agent.uplink.publish_batches import BatchesSealed, Uplink
from edge_agent.uplink.sparkplug_session import Counters
from edge_agent.waveform.waveform_block import WaveformBlock

COMMIT_RETRY_FIRST_S: Final = 0.5
COMMIT_RETRY_LONGEST_S: Final = 10.0
GATHER_S: Final = 0.1
"""Once there is reason to commit, what comes within this time goes with it: at most 10 fsyncs a second, which spares
flash memory and, at 100,000 readings/s, most of the cost of a commit."""
GATHER_URGENT_S: Final = 0.05
"""The same if the reason is a reading that is not good, or is beyond a set-point."""

_log = logging.getLogger(__name__)


class CommitLoop:
    """Readings to the spool, batches to the uplink.

    While the disk refuses, batches are handed on all the same (an alarm must not wait for a disk), stay in memory,
    and are committed as soon as the disk takes them, unless the far end has acknowledged them before.
    """

    def __init__(
        self,
        buffer: ReadingBuffer,
        channels: ChannelTable,
        spool: SpoolThread,
        uplink: Uplink,
        flush_interval_s: float,
        flush_readings: int,
        after_flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._buffer = buffer
        self._channels = channels
        self._spool = spool
        self._uplink = uplink
        self._flush_interval_s = flush_interval_s
        self._flush_readings = flush_readings
        self._after_flush = after_flush
        self._line_changes: dict[str, bool] = {}
        self._wake = asyncio.Event()
        self._storing: list[asyncio.Future[bool]] = []
        """Who waits for the next commit."""
        self._handed = (0, 0)
        """(epoch, batch) of the newest batch that the uplink has."""
        self._counters = Counters()
        self._failures_in_a_row = 0
        self._discards_logged = 0
        self._flushing: asyncio.Task[None] | None = None
        self.failed_commits_total = 0

    def put(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes what a bus has read."""
        self._channels.note(readings)
        self._buffer.put(bus_id, readings)
        if self._buffer.has_urgent or self._buffer.waiting_count >= self._flush_readings:
            self._wake.set()

    def put_history(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes a station's report of the past: sent marked historical; it never hides what was read since."""
        channels = self._channels
        channels.note([one for one in readings if (last := channels.last(one[0])) is None or last[1] < one[1]])
        self._buffer.put(bus_id, readings, is_historical=True)

    def put_waveforms(self, bus_id: str, blocks: list[WaveformBlock]) -> None:
        """Takes blocks of waveforms; they wait for the next commit."""
        self._buffer.put_waveforms(bus_id, blocks)

    async def store(self) -> bool:
        """Commits at once what was put; whether all of it is durable now."""
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._storing.append(stored)
        self._wake.set()
        return await stored

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        """Takes a line's loss or return; it is told after the readings that came before it."""
        self._line_changes[bus_id] = is_up
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s()):
                    await self._wake.wait()
                gather_s = GATHER_URGENT_S if self._buffer.has_urgent else GATHER_S
                await asyncio.sleep(min(gather_s, self._flush_interval_s))
            self._wake.clear()
            # A commit that has begun goes on in its thread even if we are cancelled: `finish` waits for it.
            self._flushing = asyncio.create_task(self.flush())
            await asyncio.shield(self._flushing)
            self._after_flush()

    async def finish(self) -> None:
        """After `run` was cancelled: ends the commit that has begun, then commits what still waits."""
        if self._flushing is not None:
            await self._flushing
        await self.flush()
        if self._buffer.waiting_count:
            _log.error("readings_lost_at_stop count=%d", self._buffer.waiting_count)

    async def flush(self) -> None:
        """One group commit."""
        storing, self._storing = self._storing, []
        changes, self._line_changes = self._line_changes, {}
        self._buffer.begin_epoch(self._spool.epoch)
        batches = self._buffer.seal()
        late: list[SealedBatch] = []
        is_stored = not batches or await self._commit(batches)
        for stored in storing:
            if not stored.done():
                stored.set_result(is_stored)
        if batches and is_stored:
            late = [batch for batch in batches if batch.key <= self._handed]
        self._log_discards()
        fresh = [batch for batch in batches if batch.key > self._handed]
        if fresh:
            self._handed = fresh[-1].key
        counters = self._count()
        if fresh or late or changes or counters != self._counters:
            self._counters = counters
            self._uplink.put(BatchesSealed(fresh, changes, counters, self._spool.epoch, [one.key for one in late]))

    async def _commit(self, batches: list[SealedBatch]) -> bool:
        try:
            await self._spool.commit(batches)
        except SpoolWriteError as error:
            self._buffer.failed()
            self._failures_in_a_row += 1
            self.failed_commits_total += 1
            _log.error("commit_failed error=%r total=%d", str(error), self.failed_commits_total)
            return False
        self._buffer.committed(batches)
        self._failures_in_a_row = 0
        return True

    def _wait_s(self) -> float:
        if not self._failures_in_a_row:
            return self._flush_interval_s
        fraction = random.random()  # noqa: S311
        return back_off_s(self._failures_in_a_row, COMMIT_RETRY_FIRST_S, COMMIT_RETRY_LONGEST_S, fraction)

    def _count(self) -> Counters:
        given_up = self._spool.tally
        return Counters(
            self._buffer.discarded_total + given_up.dropped_readings_total,
            self.failed_commits_total,
            given_up.thinned_readings_total,
            self._spool.set_aside_total,
            self._buffer.discarded_samples_total + given_up.dropped_samples_total,
        )

    def _log_discards(self) -> None:
        if self._buffer.discarded_total > self._discards_logged:
            self._discards_logged = self._buffer.discarded_total
            _log.error("readings_discarded total=%d", self._discards_logged)
