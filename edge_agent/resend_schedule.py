"""Which batches to send again, and when. Pure; seconds of a monotonic clock are passed in.

Live batches are sent at once and watched. What is not acknowledged in time goes out again, each time with twice the
patience. Everything else in the spool is the backlog: it is walked from the oldest on, at a set rate, behind the
live ones. Only watched batches are in memory (a bounded number), so that days without uplink cost disk alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.ranges import RangeSet

BatchKey = tuple[int, int]
"""(epoch, batch)."""

WATCHED_MAX: Final = 1_000
"""Batches sent and not acknowledged that are remembered; beyond it the oldest fall back into the backlog."""
BACKLOG_WATCHED_MAX: Final = 200
"""Backlog batches in flight: more are not sent before some are acknowledged or have timed out."""
ASKED_MAX: Final = 10_000
PATIENCE_MAX_FACTOR: Final = 10.0
BEFORE_ALL: Final[BatchKey] = (-1, -1)


@dataclass(slots=True)
class _Watched:
    due_s: float
    patience_s: float
    is_live: bool


class ResendSchedule:
    """Memory of one session; `restart` when a new one begins."""

    def __init__(self, resend_after_s: float, backlog_batches_per_s: float) -> None:
        self._resend_after_s = resend_after_s
        self._rate_per_s = backlog_batches_per_s
        self._watched: dict[BatchKey, _Watched] = {}
        self._asked: dict[BatchKey, None] = {}
        self._cursor: BatchKey | None = BEFORE_ALL
        self._allowance = 0.0
        self._allowed_s: float | None = None

    @property
    def watched_count(self) -> int:
        """Batches sent and not yet acknowledged."""
        return len(self._watched)

    @property
    def backlog_after(self) -> BatchKey | None:
        """The backlog goes on after this batch; None if all of it has been sent once."""
        return self._cursor

    def restart(self) -> None:
        """A new session: whatever is in the spool is backlog."""
        self._watched.clear()
        self._asked.clear()
        self._cursor = BEFORE_ALL

    def sent(self, key: BatchKey, now_s: float, *, is_live: bool) -> None:
        """A batch was sent: wait for its acknowledgement."""
        before = self._watched.pop(key, None)
        patience_s = self._resend_after_s
        if before is not None:
            patience_s = min(before.patience_s * 2.0, self._resend_after_s * PATIENCE_MAX_FACTOR)
            is_live = before.is_live
        self._watched[key] = _Watched(now_s + patience_s, patience_s, is_live)
        self._asked.pop(key, None)
        if len(self._watched) > WATCHED_MAX:
            oldest = min(self._watched)
            del self._watched[oldest]
            self._fall_back(oldest)

    def unsent(self, key: BatchKey) -> None:
        """A committed batch could not be sent: it is backlog."""
        self._fall_back(key)

    def gone(self, key: BatchKey) -> None:
        """The batch is no longer in the spool."""
        self._watched.pop(key, None)
        self._asked.pop(key, None)

    def acknowledge(self, epoch: int, batches: RangeSet) -> None:
        """These need no more sending."""
        for waiting in (self._watched, self._asked):
            for key in [key for key in waiting if key[0] == epoch and key[1] in batches]:
                del waiting[key]

    def ask(self, keys: Iterable[BatchKey]) -> None:
        """The host misses these: they go out next, as far as they fit; it asks again for the rest."""
        for key in keys:
            if len(self._asked) >= ASKED_MAX:
                return
            self._asked[key] = None

    def take_due(self, now_s: float) -> list[BatchKey]:
        """Batches to send again now, within the rate: what the host asked for, then what timed out."""
        self._refill(now_s)
        count = int(self._allowance)
        due = list(self._asked)[:count]
        late = sorted(key for key, watched in self._watched.items() if watched.due_s <= now_s)
        due += [key for key in late if key not in self._asked][: count - len(due)]
        self._allowance -= len(due)
        return due

    def backlog_count(self) -> int:
        """How many backlog batches may go out now, after `take_due`."""
        if self._cursor is None:
            return 0
        in_flight = sum(not watched.is_live for watched in self._watched.values())
        return max(0, min(int(self._allowance), BACKLOG_WATCHED_MAX - in_flight))

    def is_watched(self, key: BatchKey) -> bool:
        """Whether the batch is on its way already."""
        return key in self._watched

    def walked(self, keys: Sequence[BatchKey], asked_count: int) -> None:
        """The spool gave these for the backlog, having been asked for `asked_count`."""
        self._cursor = keys[-1] if len(keys) == asked_count else None
        self._allowance -= len(keys)

    def _fall_back(self, key: BatchKey) -> None:
        before = (key[0], key[1] - 1)
        self._cursor = before if self._cursor is None else min(self._cursor, before)

    def _refill(self, now_s: float) -> None:
        if self._allowed_s is not None:
            self._allowance += (now_s - self._allowed_s) * self._rate_per_s
        self._allowance = min(self._allowance, max(1.0, self._rate_per_s))
        self._allowed_s = now_s
