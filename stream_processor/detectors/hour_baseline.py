"""Hour-of-day baseline: distance from what the channel usually reads at this time of day.

    p  = hour of the day in UTC - ½ (bins stand at half past), h = floor(p), f = p - h
    m  = (1 - f)·mₕ + f·mₕ₊₁,  s² = (1 - f)·s²ₕ + f·s²ₕ₊₁         between two of 24 bins; 23 is followed by 0
    d  = |x - m| / sqrt(s² + r²)                                  sigma, before learning; score = d / (d + 3)
    e  = clip(x - m, ± CLIP · sqrt(s² + r²))                      once both bins are warm
    for both bins b, with their shares (1 - f and f) of w = min(1, time since the last reading / 600 s):
        n_b ← min(n_b + share·w, MEMORY),  g = share·w / n_b
        m_b ← m_b + g·(m + e - m_b),  s²_b ← (1 - g)·s²_b + g·e²

A seasonal baseline without trend: the seasonal part of exponential smoothing (C. Holt 1957; P. Winters, Forecasting
sales by exponentially weighted moving averages, Management Science 6, 1960) with a variance for each season, updated as
in `ewma_z` (T. Finch 2009). Readings a second apart say nearly the same, so that n counts ten minutes, not readings: an
hour gives six a day: `WARM_UP` takes three days (two weeks, if a channel is read once an hour), `MEMORY` is ten days.
r is the channel's resolution; the clip keeps a spike from blinding the hour for days.

Bins are of UTC and go round in a circle: in which time zone people live shifts which bin is which and nothing else.
Where clocks change twice a year, what follows them (traffic, heating) is an hour off until it is learnt again, for
some days; what follows the sun is not.

Units: m in the channel's unit, s² in its square, n in tens of minutes. State: 392 bytes a channel (24 bins with m as
float64, s² and n as float32; the time of the last reading as int64). Cost: see `COST_NS`; most of it is waiting for
memory, 40 MB at 100,000 channels.

When it fails: weekends, holidays and the season are no hours of a day: a quantity that rests on Sundays is strange on
Sundays; weather that stays for days; all that has no daily cycle gains nothing over EWMA z and is slower to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import numpy as np

from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.record import Bools, Floats, Int64s
from stream_processor.detectors.contract import SIGMA_AT_HALF, Batch, Explanation, check_batch
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.packed_state import Singles, grown, score_in_blocks, single
from stream_processor.packed_rows import Rows, gather, scatter

BINS: Final = 24
HOUR_NS: Final = 3_600 * NANOSECONDS_PER_SECOND
INDEPENDENT_NS: Final = 600 * NANOSECONDS_PER_SECOND
"""Readings this far apart count as two."""
WARM_UP: Final = 14.0
"""No score between bins that have not learnt so much, in tens of minutes."""
MEMORY: Final = 60.0
"""In tens of minutes of a bin: ten days."""
CLIP_SIGMA: Final = 6.0
_NEVER_NS: Final = -(2**62)


class HourBaseline:
    """A daily baseline over channels. See the module for formula, state and limits."""

    NAME: ClassVar[str] = "hour_baseline"
    VERSION: ClassVar[int] = 1
    STATE_BYTES: ClassVar[int] = BINS * 16 + 8
    COST_NS: ClassVar[float] = 250.0
    WARM_UP_READINGS: ClassVar[int] = 14
    """Of each hour; how many there must be of all hours depends on how often the channel is read."""

    def __init__(self) -> None:
        self._bins: Floats = np.zeros((0, 2))
        """By row and hour: mean; variance and n share the second column (`_Bin`)."""
        self._latest_ns: Int64s = np.zeros(0, dtype=np.int64)

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        self._bins = grown(self._bins, channel_count * BINS, (0.0, 0.0))
        added = channel_count - len(self._latest_ns)
        if added > 0:
            self._latest_ns = np.concatenate([self._latest_ns, np.full(added, _NEVER_NS, dtype=np.int64)])

    def score(self, batch: Batch) -> Floats:
        """Distance from the baseline of this time of day; NaN in warm-up. See `Detector`."""
        check_batch(batch)
        return _Hours(self._bins, batch).scores(batch)

    def learn(self, batch: Batch) -> None:
        """Takes the readings into the bins around them. See `Detector`."""
        self.score_and_learn(batch)

    def score_and_learn(self, batch: Batch) -> Floats:
        """Scores against what was learnt before, then learns. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, self._step)

    def _step(self, batch: Batch) -> Floats:
        hours = _Hours(self._bins, batch)
        scores = hours.scores(batch)
        hours.learn(batch, _weight(batch.times_ns, self._latest_ns.take(batch.rows)))
        hours.store(self._bins)
        self._latest_ns[batch.rows] = np.maximum(self._latest_ns.take(batch.rows), batch.times_ns)
        return scores

    def explain(self, batch: Batch, units: Sequence[str]) -> list[Explanation]:
        """How far above or below what is usual at this time of day. See `Detector`."""
        hours = _Hours(self._bins, batch)
        return [hours.explain(batch, at, unit) for at, unit in enumerate(units)]

    def snapshot(self) -> bytes:
        """Versioned bytes. See `Detector`."""
        return encode_snapshot(self.NAME, self.VERSION, {"bins": self._bins, "latest_ns": self._latest_ns})

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit. See `Detector`."""
        self._bins, self._latest_ns = decode_snapshot(snapshot, self.NAME, self.VERSION, ("bins", "latest_ns"))


class _Bin(NamedTuple):
    """One of the two bins of each reading."""

    rows: Rows
    """Of the table of bins."""
    share: Floats
    """0 to 1; both of a reading are 1."""
    state: Floats
    mean: Floats
    variance: Singles
    weight: Singles
    """n: what it has learnt, in tens of minutes."""

    @classmethod
    def take(cls, bins: Floats, rows: Rows, share: Floats) -> _Bin:
        state = gather(bins, rows)
        return cls(rows, share, state, state[:, 0], single(state, 1, 0), single(state, 1, 1))


class _Hours:
    """Readings between the bins before and after them; `learn` changes what was gathered."""

    def __init__(self, bins: Floats, batch: Batch) -> None:
        hour, share = _hour_of_day(batch.times_ns)
        first = batch.rows * BINS
        self.before = _Bin.take(bins, first + hour, 1.0 - share)
        self.after = _Bin.take(bins, first + (hour + 1) % BINS, share)
        known = [each.share * (each.weight > 0.0) for each in (self.before, self.after)]
        total = known[0] + known[1]
        self.is_new: Bools = total == 0.0
        total[self.is_new] = 1.0
        self.mean: Floats = (known[0] * self.before.mean + known[1] * self.after.mean) / total
        squares = (known[0] * self.before.variance + known[1] * self.after.variance) / total
        squares += batch.resolutions * batch.resolutions
        self.sigma: Floats = np.sqrt(squares, out=squares)
        self.is_cold: Bools = np.minimum(self.before.weight, self.after.weight) < WARM_UP

    def scores(self, batch: Batch) -> Floats:
        distance = np.abs(batch.values - self.mean)
        scores = self.sigma * SIGMA_AT_HALF
        scores += distance
        np.divide(distance, scores, out=scores)
        scores[self.is_cold] = np.nan
        return scores

    def learn(self, batch: Batch, weight: Floats) -> None:
        limit = CLIP_SIGMA * self.sigma
        limit[self.is_cold] = np.inf
        error = np.minimum(np.maximum(batch.values - self.mean, -limit), limit)
        target = self.mean + error
        error[self.is_new] = 0.0
        squares = error * error
        for each in (self.before, self.after):
            learnt = each.share * weight
            total = np.minimum(each.weight + learnt, MEMORY)
            gain = learnt / np.where(total > 0.0, total, 1.0)
            each.mean[:] += gain * (target - each.mean)
            each.variance[:] += gain * (squares - each.variance)
            each.weight[:] = total

    def store(self, bins: Floats) -> None:
        scatter(bins, self.before.rows, self.before.state)
        scatter(bins, self.after.rows, self.after.state)

    def explain(self, batch: Batch, at: int, unit: str) -> Explanation:
        minute = int(batch.times_ns[at]) // (60 * NANOSECONDS_PER_SECOND) % (24 * 60)
        clock = f"{minute // 60:02d}:{minute % 60:02d} UTC"
        if self.is_cold[at]:
            return Explanation(np.nan, f"warming up: too few days seen at {clock}")
        offset, sigma, mean = float(batch.values[at] - self.mean[at]), float(self.sigma[at]), float(self.mean[at])
        distance, side = abs(offset) / sigma, "above" if offset > 0 else "below"
        usual = f"{mean:.6g} {unit}".rstrip()
        return Explanation(distance, f"{distance:.1f} sigma {side} the {usual} usual at {clock}")


def _hour_of_day(times_ns: Int64s) -> tuple[Rows, Floats]:
    """The bin before each time, and how far it is on the way to the next one (0 to 1)."""
    since = times_ns - HOUR_NS // 2
    share = (since % HOUR_NS) / HOUR_NS
    hour: Rows = (since // HOUR_NS % BINS).astype(np.intp, copy=False)
    return hour, share


def _weight(times_ns: Int64s, latest_ns: Int64s) -> Floats:
    """How much each reading adds to what is known; nothing, if it is not newer than the last."""
    weight: Floats = (times_ns - latest_ns) / INDEPENDENT_NS
    return np.minimum(np.maximum(weight, 0.0, out=weight), 1.0, out=weight)
