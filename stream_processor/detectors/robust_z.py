"""Robust z: distance from the running median in running median absolute deviations, by steps of fixed share.

    d  = |x - m| / sqrt((1.4826·v)² + r²)              sigma, before learning; score = d / (d + 3)
    m ← m + g·1.4826·v·sign(x - m)                     the median: as many readings above as below
    v ← v·(1 + l) if |x - m| > v, else v·(1 - l)       the median absolute deviation, at least r

g = max(STEP, 1.5/n) and l = max(GROWTH, 2/(n + 2)) for the n-th reading. The median is found by steps in the direction
of each reading (stochastic approximation: H. Robbins, S. Monro, A stochastic approximation method, Ann. Math. Stat. 22,
1951; with steps that need no memory, Q. Ma, S. Muthukrishnan, M. Sandler, Frugal streaming for estimating quantiles,
2013), scaled by the deviation, which scales itself (multiplicative steps: A. Yazidi, H. Hammer, Multiplicative update
methods for incremental quantile estimation, IEEE Trans. Cybernetics 49, 2019). 1.4826 makes the median absolute
deviation of normal readings their standard deviation. How far away a reading is does not matter to what is learnt, only
on which side: half of the readings may be wrong before the median follows them.

Units: m and v in the channel's unit. State: 16 bytes a channel (m as float64; v and n as float32). Cost: see `COST_NS`.

When it fails: a channel that stands still for more than half of its readings (rain, a pump) has v = r, and everything
else is far away; of two regimes that take turns it knows one; slow drift; a step of 20 sigma is told for some hundred
readings, where EWMA z follows within fifty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from contracts.record import Floats
from stream_processor.detectors.contract import SIGMA_AT_HALF, Batch, Explanation, check_batch
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.packed_state import Singles, grown, score_in_blocks, single
from stream_processor.packed_rows import gather, scatter

SIGMA_OF_DEVIATION: Final = 1.4826
"""Standard deviation of normal readings, in median absolute deviations."""
STEP: Final = 0.05
"""How far one reading moves the median, in standard deviations: it then errs by 0.18 of them."""
GROWTH: Final = 0.02
"""By what share one reading changes the deviation: it then errs by a tenth."""
WARM_UP_READINGS: Final = 50
"""Until then the deviation may have to grow a thousandfold from where it begins."""
_COUNTED: Final = 2.0 / GROWTH
"""Readings are counted up to here: from then on each changes as much."""


class RobustZ:
    """Median and median absolute deviation over channels. See the module for formula, state and limits."""

    NAME: ClassVar[str] = "robust_z"
    VERSION: ClassVar[int] = 1
    STATE_BYTES: ClassVar[int] = 16
    COST_NS: ClassVar[float] = 60.0
    WARM_UP_READINGS: ClassVar[int] = WARM_UP_READINGS

    def __init__(self) -> None:
        self._state: Floats = np.zeros((0, 2))
        """By row: median; deviation and count share the second column (`_columns`)."""

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        self._state = grown(self._state, channel_count, (0.0, 0.0))

    def score(self, batch: Batch) -> Floats:
        """Distance from the median; NaN in warm-up. See `Detector`."""
        check_batch(batch)
        median, deviation, count = _columns(gather(self._state, batch.rows))
        scores = _score(np.abs(batch.values - median), _sigma(deviation, batch.resolutions))
        scores[count < WARM_UP_READINGS] = np.nan
        return scores

    def learn(self, batch: Batch) -> None:
        """Moves median and deviation. See `Detector`."""
        self.score_and_learn(batch)

    def score_and_learn(self, batch: Batch) -> Floats:
        """Scores against what was learnt before, then learns. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, self._step)

    def _step(self, batch: Batch) -> Floats:
        rows, _, values, resolutions = batch
        state = gather(self._state, rows)
        median, deviation, count = _columns(state)
        offset = values - median
        distance = np.abs(offset)
        scores = _score(distance, _sigma(deviation, resolutions))
        is_far = distance > deviation
        step: float | Floats = STEP * SIGMA_OF_DEVIATION
        growth: float | Floats = GROWTH
        has_cold = bool(np.minimum.reduce(count, initial=_COUNTED) < _COUNTED)
        if has_cold:
            scores[count < WARM_UP_READINGS] = np.nan
            step = np.maximum(STEP, 1.5 / np.maximum(count, 1.0)) * SIGMA_OF_DEVIATION
            growth = np.maximum(GROWTH, 2.0 / (count.astype(np.float64) + 2.0))
        median += np.sign(offset) * (step * deviation)
        grown_by = np.where(is_far, 1.0 + growth, 1.0 - growth)
        grown_by *= deviation
        np.maximum(grown_by, resolutions, out=deviation, casting="same_kind")
        if has_cold:
            _begin(median, deviation, count, values, distance)
        np.minimum(count + np.float32(1.0), _COUNTED, out=count)
        scatter(self._state, rows, state)
        return scores

    def explain(self, batch: Batch, units: Sequence[str]) -> list[Explanation]:
        """How far above or below the median. See `Detector`."""
        median, deviation, count = _columns(gather(self._state, batch.rows))
        sigma = _sigma(deviation, batch.resolutions)
        return [
            _explain(float(batch.values[at] - median[at]), float(sigma[at]), float(median[at]), int(count[at]), unit)
            for at, unit in enumerate(units)
        ]

    def snapshot(self) -> bytes:
        """Versioned bytes. See `Detector`."""
        return encode_snapshot(self.NAME, self.VERSION, {"state": self._state})

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit. See `Detector`."""
        (self._state,) = decode_snapshot(snapshot, self.NAME, self.VERSION, ("state",))


def _columns(state: Floats) -> tuple[Floats, Singles, Singles]:
    """Median, deviation and count: views of packed rows."""
    return state[:, 0], single(state, 1, 0), single(state, 1, 1)


def _begin(median: Floats, deviation: Singles, count: Singles, values: Floats, distance: Floats) -> None:
    """The first reading is the median, how far the second one is from it the deviation."""
    np.copyto(median, values, where=count == 0.0)
    np.copyto(deviation, np.maximum(deviation, distance), where=count == 1.0, casting="same_kind")


def _sigma(deviation: Singles, resolutions: Floats) -> Floats:
    squares = deviation.astype(np.float64)
    squares *= SIGMA_OF_DEVIATION
    squares *= squares
    squares += resolutions * resolutions
    sigma: Floats = np.sqrt(squares, out=squares)
    return sigma


def _score(distance: Floats, sigma: Floats) -> Floats:
    """`to_score` of distance / sigma, with one division."""
    scores: Floats = sigma * SIGMA_AT_HALF
    scores += distance
    return np.divide(distance, scores, out=scores)


def _explain(offset: float, sigma: float, median: float, count: int, unit: str) -> Explanation:
    if count < WARM_UP_READINGS:
        return Explanation(np.nan, f"warming up: {count} of {WARM_UP_READINGS} readings seen")
    distance = abs(offset) / sigma
    side = "above" if offset > 0 else "below"
    return Explanation(distance, f"{distance:.1f} robust sigma {side} the recent median {median:.6g} {unit}".rstrip())
