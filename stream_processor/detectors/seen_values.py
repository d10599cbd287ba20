"""Which values a series has had, remembered by a few of them: how far is a new one from the nearest? Pure.

    n  = distance to the nearest remembered value; 0 where n <= 2·g, and less 2·r              what is new
    q  = n / sqrt(w · m)                                                                       against what is usual
    m ← m + a·(min(n, w) - m),   a = max(1/count, MEMORY_ALPHA)                                the mean of what was new
    w  = highest - lowest so far, of values that reach at most `REACH` w beyond                the width of the range

w alone says nothing of how often a series has something new, m alone nothing of how far it goes: a series whose records
lie far apart (heavy tails) has a large m, one between fixed bounds a small one. Their geometric mean is a scale that
takes both. r is the resolution: w >= 10 r and m >= r, so that a flat line in steps of its resolution is nothing new.

A value is remembered if it is further than g from all others. When there is no room, one of the closest pair is
forgotten, and g is the closest distance that is left. What was forgotten lies within about 2·g of what is kept, as
with centres that double their radius (M. Charikar, C. Chekuri, T. Feder, R. Motwani, Incremental clustering and
dynamic information retrieval, STOC 1997), hence the 2·g above. A value is remembered as it is, but it widens the
range by at most `REACH` w, so that one spike of 1e9 does not make all later jumps look small.

Units: those of the series; q has none. State: 32 bytes and 4 a remembered value, float32, so the caller gives distances
from an origin near the series. When it fails: whatever happened once is never new again (it has no memory of when, nor
of how often); a slow drift is new in small steps only.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

import numpy as np

from stream_processor.detectors.packed_state import Singles
from stream_processor.packed_rows import Rows, gather, scatter

MEMORY_ALPHA: Final = np.float32(1 / 2_000)
"""Weight of a reading in the mean of what was new: a memory of 2,000 readings."""
REACH: Final = np.float32(10.0)
"""One value widens the range by at most this many of its widths."""
COUNTED: Final = np.float32(1e6)
"""Readings are counted up to here."""
_ONE: Final = np.float32(1.0)
_WIDTH_MIN: Final = np.float32(10.0)
"""Of the range, in resolutions."""
_COUNT, _LOW, _HIGH, _MEAN, _GAP = range(5)
"""Columns of a series' head."""
_HEAD: Final = 8
"""Columns that it has: rows of 32 bytes are gathered three times as fast as those of 20."""

_FEW: Final = 128
"""With so few readings, looking at all remembered values is cheaper than bisection: fewer calls of numpy."""


class Found(NamedTuple):
    """What was known of each reading's series before it."""

    ratio: Singles
    """q above."""
    readings: Singles
    """Readings learnt before."""
    limited: Singles
    """The value, at most `REACH` widths beyond the range: what others may learn of it."""


class SeenValues:
    """The values that many series have had. See the module for formula, state and limits."""

    ARRAYS: ClassVar[tuple[str, ...]] = ("heads", "values")
    """What a snapshot holds."""

    def __init__(self, remembered: int) -> None:
        """Up to `remembered` values of each series: a power of two."""
        self.heads: Singles = np.zeros((0, _HEAD), dtype=np.float32)
        self.values: Singles = np.zeros((0, remembered), dtype=np.float32)
        """By row: the remembered values in order, then what is free: infinite."""

    def grow(self, count: int) -> None:
        """Makes room for rows up to `count` - 1."""
        added = count - len(self.heads)
        if added > 0:
            free = np.full((added, self.values.shape[1]), np.inf, dtype=np.float32)
            self.heads = np.concatenate([self.heads, np.zeros((added, _HEAD), dtype=np.float32)])
            self.values = np.concatenate([self.values, free])

    def compare(self, rows: Rows, values: Singles, resolutions: Singles) -> Found:
        """Compares with what was seen; learns nothing."""
        return _compare(gather(self.heads, rows), self._distances(rows, values), values, resolutions)[0]

    def learn(self, rows: Rows, values: Singles, resolutions: Singles) -> Found:
        """Compares, then learns; a row stands at most once."""
        heads = gather(self.heads, rows)
        distances = self._distances(rows, values)
        found, new, width = _compare(heads, distances, values, resolutions)
        _learn_usual(heads, new, width, found)
        unseen = (distances > heads[:, _GAP]).nonzero()[0]
        if len(unseen):
            self._remember(rows[unseen], values[unseen], heads, unseen)
        scatter(self.heads, rows, heads)
        return found

    def nearest(self, row: int, value: float) -> float:
        """The remembered value that is nearest; NaN if there is none."""
        seen = self.values[row]
        seen = seen[np.isfinite(seen)]
        return float(seen[np.argmin(np.abs(seen - np.float32(value)))]) if len(seen) else np.nan

    def _distances(self, rows: Rows, values: Singles) -> Singles:
        """Of each value to the nearest remembered one; infinite if there is none."""
        if len(rows) > _FEW:
            return self._search(rows, values)
        distances = gather(self.values, rows)
        distances -= values[:, np.newaxis]
        nearest: Singles = np.minimum.reduce(np.abs(distances, out=distances), axis=1)
        return nearest

    def _search(self, rows: Rows, values: Singles) -> Singles:
        """The same by bisection: a row is in order, so that the nearest stands beside the place of the value."""
        seen, remembered = self.values.reshape(-1), self.values.shape[1]
        first = rows * remembered
        place = first.copy()
        step = remembered // 2
        while step:
            place += step * (seen.take(place + (step - 1)) < values)
            step //= 2
        above, below = seen.take(place), seen.take(np.maximum(place - 1, first))
        nearest: Singles = np.minimum(np.abs(above - values), np.abs(below - values))
        return nearest

    def _remember(self, rows: Rows, values: Singles, heads: Singles, unseen: Rows) -> None:
        """Puts each value in its place; where there is no room, one of the closest pair makes it."""
        seen = np.concatenate([gather(self.values, rows), values[:, np.newaxis]], axis=1)
        seen.sort(axis=1)
        full = (seen[:, -1] < np.inf).nonzero()[0]
        kept = seen[:, :-1]
        if len(full):
            kept[full], heads[unseen[full], _GAP] = _without_the_closest(seen[full])
        scatter(self.values, rows, kept)


def _compare(heads: Singles, nearest: Singles, values: Singles, resolutions: Singles) -> tuple[Found, Singles, Singles]:
    """What was known; and what is new, the width of the range."""
    count, low, high, mean, gap = (heads[:, column] for column in range(_GAP + 1))
    width = np.maximum(high - low, _WIDTH_MIN * resolutions)
    new = np.maximum(nearest - (resolutions + resolutions), np.float32(0.0))
    is_first = count == 0
    new[(nearest <= gap + gap) | is_first] = 0.0
    ratio = new / np.sqrt(width * np.maximum(mean, resolutions))
    reach = REACH * width
    limited = np.minimum(np.maximum(values, low - reach), high + reach)
    np.copyto(limited, values, where=is_first)
    return Found(ratio, count.copy(), limited), new, width


def _learn_usual(heads: Singles, new: Singles, width: Singles, found: Found) -> None:
    """Takes the readings into the range and into the mean of what was new."""
    count, low, high, mean = (heads[:, column] for column in range(_MEAN + 1))
    is_first = found.readings == 0
    np.copyto(low, found.limited, where=is_first)
    np.copyto(high, found.limited, where=is_first)
    np.minimum(low, found.limited, out=low)
    np.maximum(high, found.limited, out=high)
    np.minimum(count + _ONE, COUNTED, out=count)
    mean += np.maximum(_ONE / count, MEMORY_ALPHA) * (np.minimum(new, width) - mean)


def _without_the_closest(seen: Singles) -> tuple[Singles, Singles]:
    """Each row without one of its closest pair (never the lowest or the highest), and the closest distance left."""
    width = seen.shape[1]
    at = np.arange(len(seen))
    gaps = np.diff(seen, axis=1)
    closest = np.argmin(gaps, axis=1)
    before = gaps[at, np.maximum(closest - 1, 0)]
    behind = gaps[at, np.minimum(closest + 1, width - 2)]
    is_left = (closest == width - 2) | ((closest > 0) & (before < behind))
    forgotten = np.where(is_left, closest, closest + 1)
    kept = seen[np.arange(width) != forgotten[:, np.newaxis]].reshape(len(seen), width - 1)
    return kept, np.diff(kept, axis=1).min(axis=1)
