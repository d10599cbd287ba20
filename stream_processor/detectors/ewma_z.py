"""EWMA z-score: distance from the exponentially weighted mean in exponentially weighted standard deviations.

    d   = |x - m| / sqrt(s² + r²)                 sigma, before learning; score = d / (d + 3)
    e   = clip(x - m, ± CLIP · sqrt(s² + r²))     after warm-up
    m  ← m + a·e
    s² ← (1 - a)·(s² + a·e²)

with a = max(1/n, ALPHA) for the n-th reading, so that warm-up is the plain mean and variance. Incremental weighted
variance: T. Finch, Incremental calculation of weighted mean and variance, University of Cambridge, 2009, equations
140-143. r is the channel's resolution: a flat line with resolution noise does not alarm, and s = 0 does not divide by
zero. The clip (Winsorising) keeps one 1e9 spike from blinding the detector for the next hours; a true step is still
learnt, within some tens of readings.

Units: m in the channel's unit, s² in its square. State: 16 bytes a channel (m as float64, because a value may be large
against its resolution; s² and n as float32), packed, so that a batch's share of it is one gather. Cost: see `COST_NS`.

When it fails: slow drift (the mean follows), diurnal cycles longer than 1/ALPHA readings, several regimes (on/off),
heavy tails, readings that hang together (of a random walk d is too large: its mean is always behind).
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

ALPHA: Final = 0.02
"""Weight of a new reading: a memory of about 50 readings."""
WARM_UP_READINGS: Final = 30
"""No score before a channel has been read this often."""
CLIP_SIGMA: Final = 6.0
"""How far one reading can pull, in standard deviations."""
_COUNTED: Final = 1.0 / ALPHA
"""Readings are counted up to here: from then on each weighs ALPHA."""
_VARIANCE_MIN: Final = 1e-30
"""Of a flat line, in the square of the channel's unit: the processor is slow with numbers that are nearly 0."""


class EwmaZ:
    """EWMA z-score over channels. See the module for formula, state and limits."""

    NAME: ClassVar[str] = "ewma_z"
    VERSION: ClassVar[int] = 2
    STATE_BYTES: ClassVar[int] = 16
    COST_NS: ClassVar[float] = 33.0
    WARM_UP_READINGS: ClassVar[int] = WARM_UP_READINGS

    def __init__(self) -> None:
        self._state: Floats = np.zeros((0, 2))
        """By row: mean; variance and count share the second column (`_columns`)."""

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        self._state = grown(self._state, channel_count, (0.0, 0.0))

    def score(self, batch: Batch) -> Floats:
        """Distance from the mean; NaN in warm-up. See `Detector`."""
        check_batch(batch)
        mean, variance, count = _columns(gather(self._state, batch.rows))
        deviation = batch.values - mean
        scores = _score(deviation, _sigma(variance, batch.resolutions))
        scores[count < WARM_UP_READINGS] = np.nan
        return scores

    def learn(self, batch: Batch) -> None:
        """Takes the readings into mean and variance. See `Detector`."""
        self.score_and_learn(batch)

    def score_and_learn(self, batch: Batch) -> Floats:
        """Scores against what was learnt before, then learns. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, self._step)

    def _step(self, batch: Batch) -> Floats:
        rows, _, values, resolutions = batch
        state = gather(self._state, rows)
        mean, variance, count = _columns(state)
        deviation = values - mean
        sigma = _sigma(variance, resolutions)
        scores = _score(deviation, sigma)
        limit = np.multiply(sigma, CLIP_SIGMA, out=sigma)
        weight: float | Floats = ALPHA
        if np.minimum.reduce(count, initial=_COUNTED) < _COUNTED:
            is_cold = count < WARM_UP_READINGS
            scores[is_cold] = np.nan
            limit[is_cold] = np.inf
            np.minimum(count + 1.0, _COUNTED, out=count)
            weight = 1.0 / count.astype(np.float64)
        np.minimum(deviation, limit, out=deviation)
        np.maximum(deviation, np.negative(limit, out=limit), out=deviation)
        pull = np.multiply(deviation, weight, out=limit)
        mean += pull
        pull *= deviation
        pull += variance
        pull *= 1.0 - weight
        np.maximum(pull, _VARIANCE_MIN, out=variance, casting="same_kind")
        scatter(self._state, rows, state)
        return scores

    def explain(self, batch: Batch, units: Sequence[str]) -> list[Explanation]:
        """How far above or below the mean. See `Detector`."""
        mean, variance, count = _columns(gather(self._state, batch.rows))
        deviation = batch.values - mean
        distances = np.abs(deviation) / _sigma(variance, batch.resolutions)
        return [
            _explain(float(deviation[at]), float(distances[at]), float(mean[at]), int(count[at]), unit)
            for at, unit in enumerate(units)
        ]

    def snapshot(self) -> bytes:
        """Versioned bytes. See `Detector`."""
        return encode_snapshot(self.NAME, self.VERSION, {"state": self._state})

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit. See `Detector`."""
        (self._state,) = decode_snapshot(snapshot, self.NAME, self.VERSION, ("state",))


def _columns(state: Floats) -> tuple[Floats, Singles, Singles]:
    """Mean, variance and count: views of packed rows."""
    return state[:, 0], single(state, 1, 0), single(state, 1, 1)


def _sigma(variance: Singles, resolutions: Floats) -> Floats:
    squares = resolutions * resolutions
    squares += variance
    sigma: Floats = np.sqrt(squares, out=squares)
    return sigma


def _score(deviation: Floats, sigma: Floats) -> Floats:
    """`to_score` of |deviation| / sigma, with one division."""
    distance = np.abs(deviation)
    scores: Floats = sigma * SIGMA_AT_HALF
    scores += distance
    return np.divide(distance, scores, out=scores)


def _explain(deviation: float, distance: float, mean: float, count: int, unit: str) -> Explanation:
    if count < WARM_UP_READINGS:
        return Explanation(np.nan, f"warming up: {count} of {WARM_UP_READINGS} readings seen")
    side = "above" if deviation > 0 else "below"
    return Explanation(distance, f"{distance:.1f} sigma {side} the recent mean {mean:.6g} {unit}".rstrip())
