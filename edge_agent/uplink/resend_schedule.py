"""Which batches to send again, and when. Pure; seconds of a monotonic clock are passed in.

Live batches are sent at once, whatever else waits, and are watched. What is not acknowledged in time goes out again,
each time with twice the patience. Everything else in the spool is the backlog, in two walks, behind the live ones:
urgent batches (bad quality, beyond a set-point) from the newest back, then all from the oldest on.

What goes out behind the live ones is held back three times, so that the line is free when an alarm comes:

- by its share of the line, in bytes a second;
- by a rate, in batches a second;
- by a window: while acknowledgements take `ACK_DELAY_S` longer than they can, less is on its way (the idea of RFC 6817,
  LEDBAT: a queue somewhere on the path shows as delay). A line that is slower than its configuration says is found so.

Only watched batches are in memory (a bounded number), so that days without uplink cost disk alone.
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
WINDOW_FIRST: Final = 4.0
"""At the beginning of a session, and so much more each second until the first acknowledgement: a host that gives none
gets the backlog slowly."""
WINDOW_LEAST: Final = 1.0
WINDOW_SHRINKS_TO: Final = 0.5
ACK_DELAY_S: Final = 0.5
"""So much longer than the quickest acknowledgement of the session one may take; an alarm has 2 s."""
ASKED_MAX: Final = 10_000
PATIENCE_MAX_FACTOR: Final = 10.0
BURST_S: Final = 0.5
"""What was not used of the rate is kept no longer."""
BEFORE_ALL: Final[BatchKey] = (-1, -1)
AFTER_ALL: Final[BatchKey] = (2**63 - 1, 2**63 - 1)


@dataclass(slots=True)
class _Watched:
    sent_s: float
    due_s: float
    patience_s: float
    is_live: bool


class ResendSchedule:
    """Memory of one session; `restart` when a new one begins."""

    def __init__(
        self, resend_after_s: float, backlog_batches_per_s: float, backlog_bytes_per_s: float = float("inf")
    ) -> None:
        self._resend_after_s = resend_after_s
        self._batches = _Allowance(backlog_batches_per_s)
        self._bytes = _Allowance(backlog_bytes_per_s)
        self._mean_bytes = 1.0
        self._watched: dict[BatchKey, _Watched] = {}
        self._asked: dict[BatchKey, None] = {}
        self._cursor: BatchKey | None = BEFORE_ALL
        self._urgent_cursor: BatchKey | None = AFTER_ALL
        self._window = AckWindow()
        self._now_s = 0.0

    @property
    def watched_count(self) -> int:
        """Batches sent and not yet acknowledged."""
        return len(self._watched)

    @property
    def urgent_before(self) -> BatchKey | None:
        """The urgent backlog goes on before this batch; None if all of it has been sent once."""
        return self._urgent_cursor

    @property
    def backlog_after(self) -> BatchKey | None:
        """The backlog goes on after this batch; None if all of it has been sent once."""
        return self._cursor

    def restart(self) -> None:
        """A new session: whatever is in the spool is backlog."""
        self._watched.clear()
        self._asked.clear()
        self._cursor = BEFORE_ALL
        self._urgent_cursor = AFTER_ALL
        self._window = AckWindow()

    def sent(self, key: BatchKey, now_s: float, *, is_live: bool, size_bytes: int = 0) -> None:
        """A batch was sent: wait for its acknowledgement."""
        if not is_live:
            self._bytes.take(size_bytes)
            self._window.sent(now_s)
            self._mean_bytes += (size_bytes - self._mean_bytes) / 10.0
        before = self._watched.pop(key, None)
        patience_s = self._resend_after_s
        if before is not None:
            patience_s = min(before.patience_s * 2.0, self._resend_after_s * PATIENCE_MAX_FACTOR)
            is_live = before.is_live
        self._watched[key] = _Watched(now_s, now_s + patience_s, patience_s, is_live)
        self._asked.pop(key, None)
        if len(self._watched) > WATCHED_MAX:
            oldest = min(self._watched)
            del self._watched[oldest]
            self._fall_back(oldest)

    def unsent(self, key: BatchKey) -> None:
        """A committed batch could not be sent: it is backlog."""
        self._fall_back(key)

    def committed_late(self, keys: Iterable[BatchKey]) -> None:
        """These were in memory only until now: the walk through the spool may have passed them."""
        for key in keys:
            if key not in self._watched:
                self._fall_back(key)

    def gone(self, key: BatchKey) -> None:
        """The batch is no longer in the spool."""
        self._watched.pop(key, None)
        self._asked.pop(key, None)

    def acknowledge(self, epoch: int, batches: RangeSet, now_s: float) -> None:
        """These need no more sending."""
        for key in _within(self._watched, epoch, batches):
            self._window.acknowledged(now_s - self._watched.pop(key).sent_s, now_s)
        for key in _within(self._asked, epoch, batches):
            del self._asked[key]

    def ask(self, keys: Iterable[BatchKey]) -> None:
        """The host misses these: they go out next, as far as they fit; it asks again for the rest."""
        for key in keys:
            if len(self._asked) >= ASKED_MAX:
                return
            self._asked[key] = None

    def take_due(self, now_s: float) -> list[BatchKey]:
        """Batches to send again now, within the rate: what the host asked for, then what timed out."""
        self._now_s = now_s
        self._batches.refill(now_s)
        self._bytes.refill(now_s)
        count = self._allowed_count()
        due = list(self._asked)[:count]
        late = sorted(key for key, watched in self._watched.items() if watched.due_s <= now_s)
        due += [key for key in late if key not in self._asked][: count - len(due)]
        self._batches.take(len(due))
        return due

    def backlog_count(self) -> int:
        """How many backlog batches may go out now, after `take_due`."""
        if self._cursor is None and self._urgent_cursor is None:
            return 0
        in_flight = sum(not watched.is_live for watched in self._watched.values())
        return max(0, min(self._allowed_count(), int(self._window.size_at(self._now_s)) - in_flight))

    def is_watched(self, key: BatchKey) -> bool:
        """Whether the batch is on its way already."""
        return key in self._watched

    def watched_after(self, key: BatchKey) -> frozenset[BatchKey]:
        """Batches behind this one that are on their way already: the walk need not read them."""
        return frozenset(each for each in self._watched if each > key)

    def walked_urgent(self, keys: Sequence[BatchKey], asked_count: int) -> None:
        """The spool gave these for the urgent backlog, having been asked for `asked_count`."""
        self._urgent_cursor = keys[-1] if len(keys) == asked_count else None
        self._batches.take(len(keys))

    def walked(self, keys: Sequence[BatchKey], asked_count: int) -> None:
        """The spool gave these for the backlog, having been asked for `asked_count`."""
        self._cursor = keys[-1] if len(keys) == asked_count else None
        self._batches.take(len(keys))

    def _allowed_count(self) -> int:
        return max(0, int(min(self._batches.left, self._bytes.left / max(1.0, self._mean_bytes), ASKED_MAX)))

    def _fall_back(self, key: BatchKey) -> None:
        before = (key[0], key[1] - 1)
        self._cursor = before if self._cursor is None else min(self._cursor, before)


class AckWindow:
    """How many backlog batches may be on their way: more while acknowledgements are quick, fewer when they slow.

    It doubles with each turn until one was slow for the first time, and then grows by one a turn, as TCP's does
    (RFC 5681): a fast line is found in a second, and a slow one is not flooded again and again.
    """

    def __init__(self) -> None:
        self.size = WINDOW_FIRST
        self._begun_s: float | None = None
        self._quickest_s = float("inf")
        self._shrunk_s: float | None = None

    def sent(self, now_s: float) -> None:
        """A backlog batch went out."""
        if self._begun_s is None:
            self._begun_s = now_s

    def size_at(self, now_s: float) -> float:
        """How many may be on their way now."""
        if self._begun_s is None or self._quickest_s < float("inf"):
            return self.size
        return min(self.size + WINDOW_FIRST * (now_s - self._begun_s), float(BACKLOG_WATCHED_MAX))

    def acknowledged(self, took_s: float, now_s: float) -> None:
        """An acknowledgement came so long after its batch was sent."""
        self._quickest_s = min(self._quickest_s, took_s)
        if took_s - self._quickest_s <= ACK_DELAY_S:
            growth = 1.0 if self._shrunk_s is None else 1.0 / self.size
            self.size = min(self.size + growth, float(BACKLOG_WATCHED_MAX))
        elif self._shrunk_s is None or now_s - self._shrunk_s > took_s:  # once for all that was on its way together
            self.size = max(self.size * WINDOW_SHRINKS_TO, WINDOW_LEAST)
            self._shrunk_s = now_s


class _Allowance:
    """A token bucket. It may be overdrawn: what comes then waits until it is filled again."""

    def __init__(self, rate_per_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._filled_s: float | None = None
        self.left = 0.0

    def refill(self, now_s: float) -> None:
        if self._filled_s is not None:
            self.left += (now_s - self._filled_s) * self._rate_per_s if now_s > self._filled_s else 0.0
        self.left = min(self.left, max(1.0, self._rate_per_s * BURST_S))
        self._filled_s = now_s

    def take(self, amount: float) -> None:
        self.left -= amount


def _within(waiting: dict[BatchKey, _Watched] | dict[BatchKey, None], epoch: int, batches: RangeSet) -> list[BatchKey]:
    """Keys that a set of batches names, by whichever of the two is smaller."""
    if batches.count < len(waiting):
        return [
            (epoch, batch) for first, last in batches for batch in range(first, last + 1) if (epoch, batch) in waiting
        ]
    return [key for key in waiting if key[0] == epoch and key[1] in batches]
