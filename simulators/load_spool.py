"""Batches of one gateway that nobody has acknowledged, and when each is to be sent again. Pure.

It behaves as an agent's spool and schedule do: live batches go out at once; what is not acknowledged in time goes out
again as history, each time with twice the patience; a new session makes all of it backlog, walked from the oldest on
at a set rate. Seconds are of a monotonic clock and are passed in.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.quality import Reason

BatchKey = tuple[int, int]
"""(epoch, batch)."""

PATIENCE_MAX_FACTOR: Final = 10.0
HISTORY_IN_FLIGHT_MAX: Final = 200
"""More backlog batches are not sent before some are acknowledged or have timed out."""


@dataclass(slots=True, eq=False)
class Batch:
    """What was measured on one bus at one time, and how far its way to the host has come."""

    bus: int
    """Position in the gateway's plan."""
    epoch: int
    number: int
    due_ms: int
    values: NDArray[np.float64]
    bad: dict[int, Reason]
    made_s: float = 0.0
    sent_count: int = 0
    due_s: float = 0.0
    """When it is to be sent again."""
    patience_s: float = 0.0
    is_history_in_flight: bool = False

    @property
    def key(self) -> BatchKey:
        """(epoch, batch)."""
        return self.epoch, self.number


@dataclass(slots=True)
class SpoolAllowance:
    """How many readings all spools together may hold, and do."""

    readings_max: int
    readings: int = 0


@dataclass(slots=True)
class LoadSpool:
    """One gateway's batches."""

    allowance: SpoolAllowance
    resend_after_s: float
    backlog_batches_per_s: float
    _batches: dict[BatchKey, Batch] = field(default_factory=dict)
    _due: list[tuple[float, BatchKey]] = field(default_factory=list)
    _in_flight: int = 0
    _budget: float = 0.0
    _budget_s: float | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, batch: Batch) -> list[Batch]:
        """Keeps a new batch; gives those that had to be discarded for it, oldest first."""
        self._batches[batch.key] = batch
        self.allowance.readings += len(batch.values)
        self._wait_until(batch, batch.made_s)
        discarded = []
        while self.allowance.readings > self.allowance.readings_max and len(self._batches) > 1:
            discarded.append(self._forget(next(iter(self._batches))))
        return discarded

    def sent(self, batch: Batch, now_s: float, *, is_live: bool) -> None:
        """It went out: wait for its acknowledgement (if it is kept at all)."""
        if batch.key not in self._batches:
            return
        before_s = batch.patience_s * 2.0 if batch.sent_count else self.resend_after_s
        batch.patience_s = min(before_s, self.resend_after_s * PATIENCE_MAX_FACTOR)
        batch.sent_count += 1
        if not is_live and not batch.is_history_in_flight:
            batch.is_history_in_flight = True
            self._in_flight += 1
        self._wait_until(batch, now_s + batch.patience_s)

    def hold(self, batch: Batch, until_s: float) -> None:
        """It is not sent before this time: an outage that only this batch has."""
        self._wait_until(batch, until_s)

    def begin_session(self, now_s: float) -> None:
        """All that is here is backlog."""
        self._in_flight = 0
        self._due.clear()
        for batch in self._batches.values():
            batch.is_history_in_flight = False
            batch.patience_s = self.resend_after_s
            self._wait_until(batch, now_s)

    def ask(self, epoch: int, first: int, last: int, now_s: float) -> list[tuple[int, int]]:
        """The host misses these: they are due now. Gives the ranges that are not here any more."""
        there = sorted(number for held, number in self._batches if held == epoch and first <= number <= last)
        for number in there:
            self._wait_until(self._batches[epoch, number], now_s)
        gaps = []
        after = first
        for number in [*there, last + 1]:
            if number > after:
                gaps.append((after, number - 1))
            after = number + 1
        return gaps

    def acknowledge(self, epoch: int, flat_ranges: Sequence[int]) -> list[Batch]:
        """These need no more sending; gives those that were waiting."""
        acknowledged: list[Batch] = []
        for first, last in zip(flat_ranges[::2], flat_ranges[1::2], strict=False):
            if last - first < len(self._batches):
                keys = [(epoch, number) for number in range(first, last + 1) if (epoch, number) in self._batches]
            else:
                keys = [key for key in self._batches if key[0] == epoch and first <= key[1] <= last]
            acknowledged += [self._forget(key) for key in keys]
        return acknowledged

    def take_due(self, now_s: float) -> list[Batch]:
        """Batches to send again now, within the rate."""
        self._refill(now_s)
        due: list[Batch] = []
        while self._due and self._due[0][0] <= now_s and self._budget >= 1.0:
            due_s, key = self._due[0]
            batch = self._batches.get(key)
            if batch is None or batch.due_s != due_s:
                heapq.heappop(self._due)
                continue
            if batch.is_history_in_flight:  # it has timed out
                batch.is_history_in_flight = False
                self._in_flight -= 1
            if self._in_flight + len(due) >= HISTORY_IN_FLIGHT_MAX:
                break
            heapq.heappop(self._due)
            self._budget -= 1.0
            due.append(batch)
        return due

    def _wait_until(self, batch: Batch, due_s: float) -> None:
        batch.due_s = due_s
        heapq.heappush(self._due, (due_s, batch.key))

    def _forget(self, key: BatchKey) -> Batch:
        batch = self._batches.pop(key)
        self.allowance.readings -= len(batch.values)
        self._in_flight -= batch.is_history_in_flight
        return batch

    def _refill(self, now_s: float) -> None:
        elapsed_s = 1.0 if self._budget_s is None else now_s - self._budget_s
        self._budget += elapsed_s * self.backlog_batches_per_s
        self._budget = min(self._budget, max(1.0, self.backlog_batches_per_s))
        self._budget_s = now_s
