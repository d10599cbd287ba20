"""Residual: error of a prediction from the last 24 values, against the channel's usual errors and their tail.

    e = x - p                                                 p by NLMS autoregression (`autoregression`)
    σ = sqrt(max(π/2 · a², v) + r²)                           the usual error
    d = |e| / σ · 3 / t,   score = d / (d + 3)                t >= 3: the error, in σ, that one reading in 1,000 passes
    a ← a + g·(|e'| - a),   v ← v + g·(e'² - v)               e' = clip(e, ± CLIP · σ) after warm-up
    t ← t · (1 + TAIL_STEP) if |e| > t·σ, else t · (1 - TAIL_STEP · TAIL_RATIO / (1 - TAIL_RATIO))
    g = max(1/n, SCALE_ALPHA)

For normal errors sqrt(π/2)·mean|e| and the root mean square are the same σ (R. Geary, The ratio of the mean deviation
to the standard deviation as a test of normality, Biometrika 27, 1935), and t stays at 3. Where errors have heavy
tails, t is their quantile, tracked by steps (stochastic approximation: H. Robbins, S. Monro, Annals of Mathematical
Statistics 22, 1951): in the long run one reading in 1,000 is beyond 3 sigma, whatever the tail. The clip keeps one
spike from widening σ for long. What is learnt reaches at most `REACH` widths of the range beyond it, and the range is
what was so learnt: one spike of 1e9 leaves the predictor usable.

It sees what `novelty` is blind to: a usual value at an unusual moment, a broken rhythm, noise of another colour.

Units: d in sigma. State: 240 bytes a channel: 24 weights, 24 values, mean and count, a, v, t, count and range as
float32, the origin as float64. r is the channel's resolution. When it fails: slow drifts and smooth departures are
predicted, hence usual; it counts readings, so a changed interval or a gap is a jump at first; multiplicative noise
makes high levels look unusual; a channel that is wild for long makes its own tail (t), and needs thousands of calm
readings to forget it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.record import Bools, Floats
from stream_processor.detectors.autoregression import Autoregression
from stream_processor.detectors.contract import Batch, Explanation, check_batch, to_score
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.packed_state import Singles, score_in_blocks
from stream_processor.detectors.seen_values import COUNTED
from stream_processor.packed_rows import gather, scatter

WARM_UP_READINGS: Final = 100
SCALE_ALPHA: Final = np.float32(1 / 200)
"""Weight of a reading in the scale of the errors: a memory of 200 readings."""
CLIP_SIGMA: Final = np.float32(6.0)
TAIL_SIGMA: Final = np.float32(3.0)
TAIL_RATIO: Final = 0.001
TAIL_STEP: Final = 0.3
_TAIL_RISE: Final = np.float32(1.0 + TAIL_STEP)
_TAIL_FALL: Final = np.float32(1.0 - TAIL_STEP * TAIL_RATIO / (1.0 - TAIL_RATIO))
REACH: Final = np.float32(3.0)
_WIDTH_MIN: Final = np.float32(10.0)
"""Of the range, in resolutions."""
_NORMAL_RATIO: Final = np.float32(np.pi / 2)
_ONE: Final = np.float32(1.0)
_BLOCK: Final = 2_048
_COUNT, _MAGNITUDE, _SQUARE, _TAIL, _LOW, _HIGH = range(6)
_COLUMNS: Final = 6


class _Error(NamedTuple):
    """What was made of some readings."""

    prediction: Singles
    """From the origin."""
    distance: Singles
    """d above."""
    seen: Singles
    """Readings of the channel before."""


class Residual:
    """Error of a prediction. See the module for formula, state and limits."""

    NAME: ClassVar[str] = "residual"
    VERSION: ClassVar[int] = 1
    STATE_BYTES: ClassVar[int] = 240
    COST_NS: ClassVar[float] = 500.0
    WARM_UP_READINGS: ClassVar[int] = WARM_UP_READINGS

    def __init__(self) -> None:
        self._origins: Floats = np.zeros(0)
        """By row: the first value, NaN before."""
        self._predictor = Autoregression()
        self._scale: Singles = np.zeros((0, _COLUMNS), dtype=np.float32)

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        added = max(channel_count - len(self._origins), 0)
        self._origins = np.concatenate([self._origins, np.full(added, np.nan)])
        self._scale = np.concatenate([self._scale, np.zeros((added, _COLUMNS), dtype=np.float32)])
        self._predictor.grow(channel_count)

    def score(self, batch: Batch) -> Floats:
        """Error of the prediction; NaN in warm-up. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, partial(self._scores, learns=False), _BLOCK)

    def learn(self, batch: Batch) -> None:
        """Takes the readings into predictor and scale. See `Detector`."""
        self.score_and_learn(batch)

    def score_and_learn(self, batch: Batch) -> Floats:
        """Scores against the prediction, then learns. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, partial(self._scores, learns=True), _BLOCK)

    def explain(self, batch: Batch, units: Sequence[str]) -> list[Explanation]:
        """What was predicted. See `Detector`."""
        error = self._step(batch, learns=False)
        predicted = self._origins[batch.rows] + error.prediction
        return [
            _explain(float(predicted[at]), float(error.distance[at]), int(error.seen[at]), unit)
            for at, unit in enumerate(units)
        ]

    def snapshot(self) -> bytes:
        """Versioned bytes. See `Detector`."""
        arrays: dict[str, NDArray[Any]] = {
            "origins": self._origins,
            "predictor": self._predictor.state,
            "scale": self._scale,
        }
        return encode_snapshot(self.NAME, self.VERSION, arrays)

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit. See `Detector`."""
        names = ("origins", "predictor", "scale")
        arrays = decode_snapshot(snapshot, self.NAME, self.VERSION, names)
        self._origins, self._predictor.state, self._scale = arrays

    def _scores(self, batch: Batch, *, learns: bool) -> Floats:
        error = self._step(batch, learns=learns)
        scores = to_score(error.distance.astype(np.float64))
        scores[error.seen < WARM_UP_READINGS] = np.nan
        return scores

    def _step(self, batch: Batch, *, learns: bool) -> _Error:
        rows = batch.rows
        origins = self._origins.take(rows)
        np.copyto(origins, batch.values, where=np.isnan(origins))
        value = (batch.values - origins).astype(np.float32)
        resolutions = batch.resolutions.astype(np.float32)
        scale = gather(self._scale, rows)
        limited = _limit(scale, value, resolutions)
        predictor = self._predictor
        prediction = predictor.learn(rows, limited, resolutions) if learns else predictor.predict(rows)
        sigma = _sigma(scale, resolutions)
        magnitude = np.abs(value - prediction) / sigma
        tail = np.maximum(scale[:, _TAIL], TAIL_SIGMA)
        error = _Error(prediction, magnitude * (TAIL_SIGMA / tail), scale[:, _COUNT].copy())
        if learns:
            self._origins[rows] = origins
            is_cold = error.seen < WARM_UP_READINGS
            _learn_tail(scale, magnitude, tail, is_cold)
            _learn_scale(scale, np.abs(limited - prediction), sigma, is_cold)
            _learn_range(scale, limited)
            scatter(self._scale, rows, scale)
        return error


def _limit(scale: Singles, value: Singles, resolutions: Singles) -> Singles:
    """The value, not further beyond the range than `REACH` of its widths; a channel's first value is its range."""
    low, high = scale[:, _LOW], scale[:, _HIGH]
    reach = REACH * np.maximum(high - low, _WIDTH_MIN * resolutions)
    limited: Singles = np.minimum(np.maximum(value, low - reach), high + reach)
    return limited


def _sigma(scale: Singles, resolutions: Singles) -> Singles:
    magnitude, square = scale[:, _MAGNITUDE], scale[:, _SQUARE]
    sigma: Singles = np.sqrt(np.maximum(_NORMAL_RATIO * magnitude * magnitude, square) + resolutions * resolutions)
    return sigma


def _learn_tail(scale: Singles, magnitude: Singles, tail: Singles, is_cold: Bools) -> None:
    """Takes the errors, in sigma, into the tail."""
    moved = np.where(magnitude > tail, _TAIL_RISE, _TAIL_FALL) * tail
    np.copyto(scale[:, _TAIL], np.maximum(moved, TAIL_SIGMA), where=~is_cold)


def _learn_scale(scale: Singles, magnitude: Singles, sigma: Singles, is_cold: Bools) -> None:
    """Takes the errors into the usual one, and counts them."""
    clipped = np.minimum(magnitude, CLIP_SIGMA * sigma)
    np.copyto(clipped, magnitude, where=is_cold)
    count = scale[:, _COUNT]
    np.minimum(count + _ONE, COUNTED, out=count)
    weight = np.maximum(_ONE / count, SCALE_ALPHA)
    scale[:, _MAGNITUDE] += weight * (clipped - scale[:, _MAGNITUDE])
    scale[:, _SQUARE] += weight * (clipped * clipped - scale[:, _SQUARE])


def _learn_range(scale: Singles, limited: Singles) -> None:
    np.minimum(scale[:, _LOW], limited, out=scale[:, _LOW])
    np.maximum(scale[:, _HIGH], limited, out=scale[:, _HIGH])


def _explain(predicted: float, distance: float, count: int, unit: str) -> Explanation:
    if count < WARM_UP_READINGS:
        return Explanation(np.nan, f"warming up: {count} of {WARM_UP_READINGS} readings seen")
    return Explanation(distance, f"predicted {predicted:.6g}{unit and f' {unit}'}, residual {distance:.1f} sigma")
