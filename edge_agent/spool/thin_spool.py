"""Makes room in the spool before it is full (shell): thins the oldest data, and drops them when that is not enough.

The limit is the spool's share of the disk, or what the disk has left if that is less. From `BEGIN_RATIO` of it on:

1. waveforms are dropped, the oldest first, of the oldest three quarters of the batches: their features stay;
2. the readings of these are thinned to windows of a minute, the oldest first;
3. then to windows of ten minutes, then of an hour (`thin_readings` says what stays);
4. then the oldest batches are dropped, and are remembered as lost,

until `END_RATIO` is reached. Whatever goes is counted in the transaction that takes it away. A step is short: commits
run between steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edge_agent.spool.set_points import ChannelSetPoints
from edge_agent.spool.store_readings import PAGE_BYTES, WAL_MAX_BYTES, BatchKey, Spool, StoredColumns
from edge_agent.spool.thin_readings import thin_batches

BEGIN_RATIO: Final = 0.90
END_RATIO: Final = 0.85
WINDOWS_S: Final = (60, 600, 3600)
STEP_READINGS: Final = 20_000
"""Thinned at once: a commit waits no longer than for these (about 50 ms on a gateway)."""
DISK_RESERVE_BYTES: Final = 16 << 20
"""Left free on the disk for the write-ahead log and for others."""
_DROP_PART: Final = 100
_DROP_MAX: Final = 1_000
"""One part in so many of all batches is dropped at once, but no more than so many batches."""
_BEFORE_ALL: Final[BatchKey] = (-1, -1)


class RoomMaker:
    """Where making room has come to."""

    def __init__(self, disk_max_bytes: int, free_bytes: Callable[[], int], set_points: ChannelSetPoints) -> None:
        """Begins with nothing to do.

        Args:
            disk_max_bytes: the spool's share of the disk.
            free_bytes: says what the disk has left.
            set_points: readings beyond them are kept.
        """
        self._disk_max_bytes = disk_max_bytes
        self._free_bytes = free_bytes
        self._set_points = set_points
        self._until: BatchKey | None = None
        """The pass that has begun thins batches before this one; None: no pass has begun."""
        self._level = 0
        self._after = _BEFORE_ALL

    def watch(self, set_points: ChannelSetPoints) -> None:
        """Other set-points from now on."""
        self._set_points = set_points

    def step(self, spool: Spool) -> bool:
        """Does a little, if there is need; says whether there is more to do."""
        used_bytes = spool.used_bytes()
        limit_bytes = self._limit_bytes(spool)
        has_begun = self._until is not None
        if used_bytes <= limit_bytes * (END_RATIO if has_begun else BEGIN_RATIO):
            self._until = None
            return False
        if self._until is None:
            count = spool.batch_count()
            self._until, self._level, self._after = spool.key_at(count * 3 // 4), 0, _BEFORE_ALL
            if self._until is None:
                return False
        if spool.drop_oldest_waveforms(self._until, min(_DROP_MAX, max(1, spool.batch_count() // _DROP_PART))):
            return True
        if self._level < len(WINDOWS_S):
            self._thin_some(spool, self._until)
        else:
            spool.drop_oldest(min(_DROP_MAX, max(1, spool.batch_count() // _DROP_PART)))
        return True

    def _limit_bytes(self, spool: Spool) -> int:
        """A reserve that is small beside a small share of the disk, and fixed beside a large one."""
        share_bytes = self._disk_max_bytes - min(WAL_MAX_BYTES, self._disk_max_bytes // 4)
        reserve_bytes = min(DISK_RESERVE_BYTES, self._disk_max_bytes // 8)
        left_bytes = spool.file_bytes() + self._free_bytes() - reserve_bytes
        return max(PAGE_BYTES, min(share_bytes, left_bytes))

    def _thin_some(self, spool: Spool, until: BatchKey) -> None:
        thinned_to_s = (0, *WINDOWS_S)[self._level]
        window_s = WINDOWS_S[self._level]
        batches, after = spool.read_to_thin(thinned_to_s, self._after, until, STEP_READINGS)
        by_name = spool.channel_ids()
        set_points = {by_name[name]: points for name, points in self._set_points.items() if name in by_name}
        kept = thin_batches([batch.columns for batch in batches], window_s, set_points)
        spool.replace(
            [StoredColumns(batch.epoch, batch.batch, columns) for batch, columns in zip(batches, kept, strict=True)],
            window_s,
        )
        if after is None:
            self._level, self._after = self._level + 1, _BEFORE_ALL
        else:
            self._after = after
