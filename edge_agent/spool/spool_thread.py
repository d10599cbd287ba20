"""The spool in a thread of its own (shell), so that no fsync ever holds up a poll.

It also keeps the spool going: a file that cannot be trusted is set aside and another one begun under a new epoch;
while there can be none at all (disk read-only, not there), the agent goes on from memory and this tries again. Between
commits it makes room and takes over what a set-aside file still gives (`care`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from contracts.ranges import RangeSet
from edge_agent.channel_table import ChannelTable
from edge_agent.errors import SpoolBrokenError, SpoolWriteError
from edge_agent.spool.reading_buffer import SealedBatch
from edge_agent.spool.replace_spool import (
    Salvage,
    choose_epoch,
    find_set_aside,
    mark_salvaged,
    open_or_replace,
    read_bd_seq_note,
    read_epoch_note,
    set_aside,
    to_salvage,
    write_bd_seq_note,
    write_epoch_note,
)
from edge_agent.spool.set_points import ChannelSetPoints
from edge_agent.spool.store_readings import BD_SEQ_MODULUS, BatchKey, Spool, StoredBatch, Tally
from edge_agent.spool.thin_spool import RoomMaker

REOPEN_S: Final = 5.0
"""While there is no spool, it is tried again this often."""
REPLACE_INTERVAL_S: Final = 60.0
"""A disk that spoils every file costs one file in this time, not one a second."""
CARE_INTERVAL_S: Final = 1.0
CARE_PAUSE_S: Final = 0.02
"""Between steps of work: half of the thread's time at most, and commits come in between."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


class SpoolThread:
    """Awaitable face of the spool; calls are done one after the other, in order."""

    def __init__(
        self,
        path: Path,
        disk_max_bytes: int,
        channels: ChannelTable,
        set_points: ChannelSetPoints | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Opens the spool, and sets aside what cannot be one.

        Raises:
            SpoolUnusableError: the file is a database of somebody else.
        """
        self._path = path
        self._disk_max_bytes = disk_max_bytes
        self._channels = channels
        self._now_s = now_s
        self._spool: Spool | None = None
        self._is_distrusted = False
        self._replaced_s = float("-inf")
        self._retry_s = float("-inf")
        self._bd_seq: int | None = None
        """Of the last connection; None: not looked up yet."""
        self._salvages: list[Salvage] = []
        self._unsalvaged: list[StoredBatch] = []
        self._room = RoomMaker(disk_max_bytes, self._free_bytes, set_points or {})
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self.epoch = 0
        """Of batches that are sealed from now on; greater when another file was begun."""
        self.set_aside_total = 0
        self.tally = Tally(0, 0, 0)
        try:
            self._open()
        except SpoolWriteError as error:
            self.epoch = choose_epoch(read_epoch_note(path), now_s())
            _log.error("spool_unavailable error=%r epoch=%d", str(error), self.epoch)

    @property
    def is_salvaging(self) -> bool:
        """Whether batches may yet turn up that are not in the spool now."""
        return bool(self._salvages) or self._spool is None

    def watch(self, set_points: ChannelSetPoints) -> None:
        """Other set-points from now on: what is beyond them is not thinned."""
        self._room.watch(set_points)

    async def commit(self, batches: list[SealedBatch]) -> None:
        """Stores batches durably. Raises SpoolWriteError."""
        await self._call(lambda: self._use(lambda spool: spool.commit(batches, self._channels)))

    async def delete(self, epoch: int, batches: RangeSet) -> int:
        """Deletes acknowledged batches. Raises SpoolWriteError."""
        return await self._call(lambda: self._use(lambda spool: spool.delete(epoch, batches)))

    async def begin_connection(self) -> int:
        """The bdSeq of the next connection; counted in memory while the disk refuses: an alarm must not wait for it."""
        return await self._call(self._begin_connection)

    async def read_batch(self, epoch: int, batch: int) -> StoredBatch | None:
        """A batch, if it is there. Raises SpoolWriteError if there is no spool now."""
        return await self._call(lambda: self._use(lambda spool: spool.read_batch(epoch, batch)))

    async def read_batches_after(
        self, after: BatchKey, limit: int, passing_over: frozenset[BatchKey] = frozenset()
    ) -> list[StoredBatch]:
        """The next batches of the backlog. Raises SpoolWriteError if there is no spool now."""
        return await self._call(lambda: self._use(lambda spool: spool.read_batches_after(after, limit, passing_over)))

    async def read_urgent_before(self, before: BatchKey, limit: int) -> list[StoredBatch]:
        """The next urgent batches of the backlog, newest first. Raises SpoolWriteError if there is no spool now."""
        return await self._call(lambda: self._use(lambda spool: spool.read_urgent_before(before, limit)))

    async def existing(self, epoch: int, first: int, last: int, limit: int) -> RangeSet:
        """Which batches are there. Raises SpoolWriteError if there is no spool now."""
        return await self._call(lambda: self._use(lambda spool: spool.existing(epoch, first, last, limit)))

    async def lost(self) -> list[tuple[int, RangeSet]]:
        """Batches that were dropped for want of room, or found damaged. Raises SpoolWriteError."""
        return await self._call(lambda: self._use(lambda spool: spool.lost()))

    async def care(self) -> None:
        """Makes room, and salvages; until cancelled."""
        while True:
            has_more = await self._call(self._care)
            await asyncio.sleep(CARE_PAUSE_S if has_more else CARE_INTERVAL_S)

    async def close(self) -> None:
        """Closes the file and ends the thread."""
        await self._call(self._close)
        self._thread.shutdown(wait=False)

    async def _call(self, action: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, action)

    # In the thread ------------------------------------------------------------------------------------------------

    def _use(self, action: Callable[[Spool], T]) -> T:
        """Does something with the spool; one that breaks under it is replaced. Raises SpoolWriteError."""
        spool = self._spool
        if spool is None:
            if time.monotonic() < self._retry_s:
                raise SpoolWriteError(f"{self._path}: there is no spool now; readings are in memory only")
            spool = self._open()
        try:
            return action(spool)
        except SpoolBrokenError as error:
            self._give_up(str(error))
            raise SpoolWriteError(str(error)) from error

    def _give_up(self, why: str) -> None:
        """The file is not trusted any more: not even to be opened again."""
        _log.error("spool_broken error=%r", why)
        if self._spool is not None:
            self._spool.close()
        self._spool, self._is_distrusted = None, True
        self._retry_s = self._replaced_s + REPLACE_INTERVAL_S
        if time.monotonic() >= self._retry_s:
            try:
                self._open()
            except SpoolWriteError as error:
                _log.error("spool_unavailable error=%r", str(error))

    def _open(self) -> Spool:
        self._retry_s = time.monotonic() + REOPEN_S
        spool = self._open_or_replace()
        known = {salvage.aside for salvage in self._salvages}
        self._salvages += [Salvage(path) for path in to_salvage(self._path) if path not in known]
        try:
            self._begin_epoch(spool)
            self.tally = spool.tally()
        except SpoolBrokenError as error:
            spool.close()
            self._is_distrusted = True
            raise SpoolWriteError(str(error)) from error
        self._spool = spool
        return spool

    def _open_or_replace(self) -> Spool:
        before = set(find_set_aside(self._path))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._is_distrusted:
                set_aside(self._path, self._now_s())
                self._is_distrusted = False
            return open_or_replace(self._path, self._disk_max_bytes, self._now_s())
        except OSError as error:
            raise SpoolWriteError(f"{self._path}: {error}") from error
        finally:
            for aside in set(find_set_aside(self._path)) - before:
                self.set_aside_total += 1
                self._replaced_s = time.monotonic()
                _log.error("spool_set_aside path=%s", aside)

    def _begin_epoch(self, spool: Spool) -> None:
        known = [self.epoch, read_epoch_note(self._path), spool.last_epoch()]
        known += [salvage.last_epoch() for salvage in self._salvages]
        epoch = choose_epoch(max(known), self._now_s())
        self.epoch = epoch
        remember: list[Callable[[], None]] = [
            lambda: write_epoch_note(self._path, epoch),
            lambda: spool.begin_epoch(epoch),
        ]
        for one in remember:
            try:
                one()
            except SpoolWriteError as error:  # disk full: if both fail, the clock alone keeps the next one new
                _log.error("spool_epoch_unwritten epoch=%d error=%r", epoch, str(error))

    def _begin_connection(self) -> int:
        """Goes on from the note beside the spool, whatever has become of the file."""
        if self._bd_seq is None:
            self._bd_seq = self._last_bd_seq()
        self._bd_seq = (self._bd_seq + 1) % BD_SEQ_MODULUS
        try:
            write_bd_seq_note(self._path, self._bd_seq)
        except SpoolWriteError as error:
            _log.error("bd_seq_unwritten bd_seq=%d error=%r", self._bd_seq, str(error))
        return self._bd_seq

    def _last_bd_seq(self) -> int:
        """-1: there was no connection yet. Agents up to 0.1 kept it in the file."""
        noted = read_bd_seq_note(self._path)
        if noted is not None:
            return noted
        try:
            return self._use(lambda spool: spool.last_bd_seq())
        except SpoolWriteError:
            return -1

    def _care(self) -> bool:
        try:
            return self._use(self._make_room) or self._salvage_some()
        except SpoolWriteError:
            return False

    def _make_room(self, spool: Spool) -> bool:
        has_more = self._room.step(spool)
        tally = spool.tally()
        if tally != self.tally:
            self.tally = tally
            _log.warning(
                "spool_gave_up thinned_readings_total=%d dropped_readings_total=%d damaged_batches_total=%d"
                " dropped_samples_total=%d",
                *tally,
            )
        return has_more

    def _salvage_some(self) -> bool:
        if not self._salvages:
            return False
        salvage = self._salvages[0]
        batches = self._unsalvaged or salvage.next_batches()
        if batches is None:
            _log.warning(
                "spool_salvaged path=%s readings=%d damaged=%d",
                salvage.aside,
                salvage.readings_total,
                salvage.damaged_total,
            )
            mark_salvaged(salvage.aside)
            self._salvages.pop(0)
            return True
        self._unsalvaged = batches
        self._use(lambda spool: spool.restore(batches))
        self._unsalvaged = []
        return True

    def _free_bytes(self) -> int:
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def _close(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None
