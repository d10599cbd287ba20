"""What a series usually is at this time of the week: a mean for each of 42 slots of four hours. Pure.

    b_k ← b_k + a·(x - b_k),   a = max(1/n_k, min(dt / MEMORY_S, ALPHA_MAX))       k the slot of the reading's time
    e   = x - b_k                                                                  before learning
    it is explained  if  mean(e²) < EXPLAINED_RATIO · mean((x - mean)²)            both over some 1,000 readings

dt is the time since the series' last reading, so that the memory is one of hours in the slot, whatever the interval:
about four weeks. Only where the profile leaves less than half of the variance does the series have a week worth a name;
elsewhere e says nothing that x does not. Weeks are counted from 1970 in UTC; a zone shifts all slots alike, and only
daylight saving moves what people do by a quarter of a slot.

Units: those of the series, as float32 distances from an origin near it. State: 276 bytes. The caller limits what comes
in. When it fails: holidays; a shift of the rhythm; in the first week everything is the first of its slot (e = 0).
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.record import Bools, Int64s
from stream_processor.detectors.packed_state import Singles
from stream_processor.detectors.seen_values import COUNTED
from stream_processor.packed_rows import Rows, gather, scatter

SLOTS: Final = 42
SLOT_S: Final = 4 * 3_600
MEMORY_S: Final = 14 * 3_600
"""Time in a slot after which the old is forgotten (to 1/e): three and a half weeks."""
ALPHA_MAX: Final = 0.1
EXPLAINED_RATIO: Final = np.float32(0.5)
VARIANCE_ALPHA: Final = np.float32(1 / 1_000)
_SECOND_NS: Final = 1_000_000_000
_COUNT_MAX: Final = np.iinfo(np.uint16).max
_ONE: Final = np.float32(1.0)
_COUNT, _MEAN, _VARIANCE, _LEFT = range(4)


class Departure(NamedTuple):
    """How far each reading is from its time of the week."""

    distance: Singles
    """Signed, in the series' unit."""
    is_explained: Bools
    """Whether the week explains the series at all."""


class WeekProfile:
    """The weeks of many series. See the module for formula, state and limits."""

    ARRAYS: ClassVar[tuple[str, ...]] = ("means", "counts", "last_ns", "spread")
    """What a snapshot holds."""

    def __init__(self) -> None:
        self.means: Singles = np.zeros((0, SLOTS), dtype=np.float32)
        self.counts: NDArray[np.uint16] = np.zeros((0, SLOTS), dtype=np.uint16)
        self.last_ns: Int64s = np.zeros(0, dtype=np.int64)
        self.spread: Singles = np.zeros((0, 4), dtype=np.float32)
        """By row: readings, mean, variance, mean square of what the profile leaves."""

    def grow(self, count: int) -> None:
        """Makes room for rows up to `count` - 1."""
        added = max(count - len(self.means), 0)
        self.means = np.concatenate([self.means, np.zeros((added, SLOTS), dtype=np.float32)])
        self.counts = np.concatenate([self.counts, np.zeros((added, SLOTS), dtype=np.uint16)])
        self.last_ns = np.concatenate([self.last_ns, np.zeros(added, dtype=np.int64)])
        self.spread = np.concatenate([self.spread, np.zeros((added, 4), dtype=np.float32)])

    def compare(self, rows: Rows, times_ns: Int64s, values: Singles) -> Departure:
        """Compares with the time of the week; learns nothing."""
        cells = _cells(rows, times_ns)
        means, counts = self.means.reshape(-1).take(cells), self.counts.reshape(-1).take(cells)
        return _compare(values, means, counts, gather(self.spread, rows))

    def learn(self, rows: Rows, times_ns: Int64s, values: Singles) -> Departure:
        """Compares, then learns; a row stands at most once."""
        cells, spread = _cells(rows, times_ns), gather(self.spread, rows)
        means, counts = self.means.reshape(-1), self.counts.reshape(-1)
        base, count = means.take(cells), counts.take(cells)
        departure = _compare(values, base, count, spread)
        count = np.minimum(count, _COUNT_MAX - 1) + np.uint16(1)
        passed_s = np.where(spread[:, _COUNT] == 0, 0, times_ns - self.last_ns.take(rows)) / _SECOND_NS
        weight = np.maximum(1.0 / count, np.minimum(passed_s / MEMORY_S, ALPHA_MAX)).astype(np.float32)
        # A slot's first value is its mean: what it departs by is 0, so it is set, not pulled.
        np.copyto(base, values, where=count == 1)
        means[cells] = base + weight * departure.distance
        counts[cells] = count
        self.last_ns[rows] = times_ns
        _learn_spread(spread, values, departure.distance)
        scatter(self.spread, rows, spread)
        return departure


def _cells(rows: Rows, times_ns: Int64s) -> Rows:
    """Where the slots of these times are, in means and counts as one column."""
    cells: Rows = rows * SLOTS + (times_ns // (SLOT_S * _SECOND_NS) % SLOTS).astype(np.intp, copy=False)
    return cells


def _compare(values: Singles, means: Singles, counts: NDArray[np.uint16], spread: Singles) -> Departure:
    distance = values - means
    distance[counts == 0] = 0.0
    return Departure(distance, spread[:, _LEFT] < EXPLAINED_RATIO * spread[:, _VARIANCE])


def _learn_spread(spread: Singles, values: Singles, distance: Singles) -> None:
    count, mean, variance, left = spread.T
    np.minimum(count + _ONE, COUNTED, out=count)
    deviation = np.where(count == _ONE, np.float32(0.0), values - mean)
    np.copyto(mean, values, where=count == _ONE)
    weight = np.maximum(_ONE / count, VARIANCE_ALPHA)
    variance += weight * (deviation * deviation - variance)
    left += weight * (distance * distance - left)
    mean += weight * deviation
