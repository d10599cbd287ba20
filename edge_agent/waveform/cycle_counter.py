"""Rainflow cycles of an endless signal, by range (ASTM E1049-85, section 5.4.4, by the library `rainflow`). Pure.

The library counts a whole series; what it cannot close at the end it counts as half cycles. Here these are held back:
they are the *residue*, reversals whose ranges only shrink, and they stand before the next samples. So a cycle that
spans two seconds, or a day of temperature, is counted once, in full, when it closes; and the counts of any split into
blocks, with the residue's half cycles, are those of the whole (tests/property/test_waveform.py).

How the residue is told from half cycles that are closed: the library gives half cycles in the order of time, each from
where the one before ended. Those that are closed (they began at the first sample) have ranges that do not shrink; the
residue begins at the last of the greatest.

A gap in the samples ends nothing: extremes before and behind it make ranges all the same; what lay in it is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from rainflow import extract_cycles  # type: ignore[import-untyped]

RESIDUE_MAX: Final = 1_000
"""Reversals that are held. Beyond that the greatest ranges count as half cycles: a thousand in a row are noise."""
_HALF: Final = 0.5


class CycleCounter:
    """Counts by bin: bin k (from 1) holds ranges over (k - 1) × width up to k × width, the last all above as well."""

    def __init__(self, bin_width: float, bins: int) -> None:
        self._bin_width = bin_width
        self.counts = [0.0] * bins
        """Cycles closed so far; a half cycle counts 0.5."""
        self.residue: list[float] = []
        """Reversals of cycles that are not closed, oldest first; the last is the newest sample."""

    def take(self, samples: Iterable[float]) -> None:
        """Counts what these samples close. What is no number is left out."""
        series = [*self.residue, *filter(math.isfinite, samples)]
        if len(series) < 3:  # the library does not look at the last of two
            self.residue = series
            return
        chain: list[tuple[float, int, int]] = []
        for cycle_range, _, count, begin, end in extract_cycles(series):
            if count == _HALF:
                chain.append((cycle_range, begin, end))
            else:
                self._count(cycle_range, count)
        self._hold_back(series, chain)

    def half_cycles(self) -> list[float]:
        """The counts if the signal ended here: with the residue as half cycles."""
        ended = CycleCounter(self._bin_width, len(self.counts))
        ended.counts = self.counts.copy()
        for first, second in zip(self.residue, self.residue[1:], strict=False):
            ended._count(abs(second - first), _HALF)  # of the same class
        return ended.counts

    def _hold_back(self, series: list[float], chain: list[tuple[float, int, int]]) -> None:
        """Counts the half cycles (range, begin, end) that are closed; the others are the residue."""
        greatest = max(cycle_range for cycle_range, _, _ in chain)
        open_from = max(at for at, (cycle_range, _, _) in enumerate(chain) if cycle_range == greatest)
        open_from = max(open_from, len(chain) - RESIDUE_MAX)
        for cycle_range, _, _ in chain[:open_from]:
            self._count(cycle_range, _HALF)
        self.residue = [series[begin] for _, begin, _ in chain[open_from:]] + [series[chain[-1][2]]]

    def _count(self, cycle_range: float, count: float) -> None:
        number = min(math.ceil(cycle_range / self._bin_width), len(self.counts))
        if number:
            self.counts[number - 1] += count
