"""Rate of change: how fast the value moves, against how fast it usually does.

    t  = time since the channel's last reading, at least half of the usual time between two, i/2
    v  = (x - x₋₁) / t                                  the channel's unit per second
    d  = |v| / sqrt(s² + (r/t)²)                        sigma, before learning; score = d / (d + 3)
    e  = min(|v|, CLIP · sqrt(s² + (r/t)²))             after warm-up
    s² ← (1 - a)·s² + a·e²,   i ← i + a·(min(t, 10·i) - i)

with a = max(1/n, ALPHA) for the n-th difference: the chart of moving ranges of individual values (ISO 7870-2:2013, 8;
W. Shewhart 1931) over time, exponentially weighted, about 0: a value that may rise and fall as fast has no mean rate.
r is the channel's resolution, so that a step by one digit after a long rest is none. The lower limit of t keeps two
readings that came a millisecond apart, because one was delayed, from being a jump.

Units: v and s in the channel's unit per second, i in seconds. State: 32 bytes a channel (last value as float64, its
time as int64; s², i and n as float32). Cost: see `COST_NS`.

When it fails: a fast rise in many small steps is seen in no single one of them (a longer mean is the group's and the
baseline's part); a gap hides how fast it went on its far side; of a noisy channel the noise is what moves, and a true
rise has to beat it; a sensor that is stuck does not move at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.record import Floats, Int64s
from stream_processor.detectors.contract import SIGMA_AT_HALF, Batch, Explanation, check_batch
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.packed_state import Singles, grown, integer, score_in_blocks, single
from stream_processor.packed_rows import gather, scatter

ALPHA: Final = 0.02
"""Weight of a new difference: a memory of about 50."""
WARM_UP_READINGS: Final = 30
"""No score before a channel has been read this often."""
CLIP_SIGMA: Final = 6.0
"""How far one difference can pull, in standard deviations."""
GAP_INTERVALS: Final = 10.0
"""A longer time between two readings is a gap and says nothing of the usual one."""
_COUNTED: Final = 1.0 / ALPHA
_INTERVAL_MIN_S: Final = 1e-6
_VARIANCE_MIN: Final = 1e-30
_VARIANCE_MAX: Final = 1e37
"""float32 ends at 3·10³⁸."""


class RateOfChange:
    """Rates over channels. See the module for formula, state and limits."""

    NAME: ClassVar[str] = "rate_of_change"
    VERSION: ClassVar[int] = 1
    STATE_BYTES: ClassVar[int] = 32
    COST_NS: ClassVar[float] = 90.0
    WARM_UP_READINGS: ClassVar[int] = WARM_UP_READINGS

    def __init__(self) -> None:
        self._state: Floats = np.zeros((0, 4))
        """By row: last value; its time; variance and interval; count (`_columns`)."""

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        self._state = grown(self._state, channel_count, (0.0, 0.0, 0.0, 0.0))

    def score(self, batch: Batch) -> Floats:
        """How unusually fast the value moved; NaN in warm-up. See `Detector`."""
        check_batch(batch)
        return _Motion(gather(self._state, batch.rows), batch).scores()

    def learn(self, batch: Batch) -> None:
        """Takes the rates into their variance. See `Detector`."""
        self.score_and_learn(batch)

    def score_and_learn(self, batch: Batch) -> Floats:
        """Scores against what was learnt before, then learns. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, self._step)

    def _step(self, batch: Batch) -> Floats:
        state = gather(self._state, batch.rows)
        motion = _Motion(state, batch)
        scores = motion.scores()
        motion.learn(batch)
        scatter(self._state, batch.rows, state)
        return scores

    def explain(self, batch: Batch, units: Sequence[str]) -> list[Explanation]:
        """How fast it moved and how fast it usually does. See `Detector`."""
        motion = _Motion(gather(self._state, batch.rows), batch)
        return [motion.explain(at, unit) for at, unit in enumerate(units)]

    def snapshot(self) -> bytes:
        """Versioned bytes. See `Detector`."""
        return encode_snapshot(self.NAME, self.VERSION, {"state": self._state})

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit. See `Detector`."""
        (self._state,) = decode_snapshot(snapshot, self.NAME, self.VERSION, ("state",))


class _Motion:
    """Readings against the gathered state of their channels, which `learn` changes in place."""

    def __init__(self, state: Floats, batch: Batch) -> None:
        self.last, self.last_ns = state[:, 0], integer(state, 1)
        self.variance, self.interval_s = single(state, 2, 0), single(state, 2, 1)
        self.count: Singles = single(state, 3, 0)
        self.since_s = _since_s(batch.times_ns, self.last_ns)
        self.time_s = np.maximum(self.since_s, np.maximum(0.5 * self.interval_s, _INTERVAL_MIN_S))
        self.rate = np.abs(batch.values - self.last)
        self.rate /= self.time_s
        squares = batch.resolutions / self.time_s
        squares *= squares
        squares += self.variance
        self.sigma: Floats = np.sqrt(squares, out=squares)

    def scores(self) -> Floats:
        scores = self.sigma * SIGMA_AT_HALF
        scores += self.rate
        np.divide(self.rate, scores, out=scores)
        scores[self.count < WARM_UP_READINGS] = np.nan
        return scores

    def learn(self, batch: Batch) -> None:
        """The first reading gives no rate, the second one the interval."""
        count = self.count.astype(np.float64)
        weight = 1.0 / np.minimum(np.maximum(count, 1.0), _COUNTED)
        limit = CLIP_SIGMA * self.sigma
        limit[count < WARM_UP_READINGS] = np.inf
        pull = np.minimum(self.rate, limit)
        pull *= pull
        pull -= self.variance
        pull *= weight
        pull += self.variance
        has_rate = count > 0.0
        np.minimum(np.maximum(pull, _VARIANCE_MIN, out=pull), _VARIANCE_MAX, out=pull)
        np.copyto(self.variance, pull, where=has_rate, casting="same_kind")
        interval_s = self.interval_s.astype(np.float64)
        usual_s = np.where(count < 2.0, self.since_s, np.minimum(self.since_s, GAP_INTERVALS * interval_s))
        interval_s += weight * (usual_s - interval_s)
        np.copyto(self.interval_s, interval_s, where=has_rate, casting="same_kind")
        self.last[:] = batch.values
        self.last_ns[:] = batch.times_ns
        np.minimum(self.count + np.float32(1.0), np.float32(_COUNTED), out=self.count)

    def explain(self, at: int, unit: str) -> Explanation:
        if self.count[at] < WARM_UP_READINGS:
            return Explanation(np.nan, f"warming up: {int(self.count[at])} of {WARM_UP_READINGS} readings seen")
        rate, sigma = float(self.rate[at]), float(self.sigma[at])
        return Explanation(
            rate / sigma,
            f"moved {rate:.3g} {unit}/s within {self.time_s[at]:.3g} s, usually {sigma:.3g} {unit}/s",
        )


def _since_s(times_ns: Int64s, last_ns: Int64s) -> Floats:
    """Time since the last reading; 0 for one that is older."""
    since: Floats = (times_ns - last_ns) / NANOSECONDS_PER_SECOND
    return np.maximum(since, 0.0, out=since)
