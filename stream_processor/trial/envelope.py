"""Lowest and highest of columns over time, in a bounded number of equal bins: what a plot of any length needs. Pure.

A bin of width w holds the times t with t // w = k. While there are too many bins, w doubles and two become one, so the
result depends on the readings only, not on the batches in which they came. No spike is lost.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.record import Floats, Int64s

BINS_MAX: Final = 1_600
"""More than a wide screen has pixels for would be wasted."""
_NARROWEST_NS: Final = 1_000_000


class Envelope:
    """Bins with at least one reading, in order of time."""

    def __init__(self, columns: int) -> None:
        self.width_ns = _NARROWEST_NS
        self.numbers: Int64s = np.zeros(0, dtype=np.int64)
        self.low: Floats = np.zeros((0, columns))
        """By bin and column; NaN where the column has nothing there."""
        self.high: Floats = np.zeros((0, columns))

    def add(self, times_ns: Int64s, values: Floats) -> None:
        """Takes rows, by row and column; NaN is none."""
        if len(times_ns) == 0:
            return
        self.numbers = np.concatenate([self.numbers, times_ns // self.width_ns])
        self.low = np.concatenate([self.low, values])
        self.high = np.concatenate([self.high, values])
        self._merge()
        while len(self.numbers) > BINS_MAX:
            self.width_ns *= 2
            self.numbers = self.numbers // 2
            self._merge()

    @property
    def middles_ns(self) -> Int64s:
        """The middle of each bin."""
        return self.numbers * self.width_ns + self.width_ns // 2

    def _merge(self) -> None:
        """One line for each number."""
        order = np.argsort(self.numbers, kind="stable")
        numbers = self.numbers[order]
        starts = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
        self.numbers = numbers[starts]
        self.low = np.fmin.reduceat(self.low[order], starts, axis=0)
        self.high = np.fmax.reduceat(self.high[order], starts, axis=0)
