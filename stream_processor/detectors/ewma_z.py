"""EWMA z-score: distance from the exponentially weighted mean in exponentially weighted standard deviations.

    z   = (x - m) / sqrt(s² + r²)                 score, before learning
    d   = clip(x - m, ± CLIP · sqrt(s² + r²))     after warm-up
    m  ← m + a·d
    s² ← (1 - a)·(s² + a·d²)

with a = max(1/n, ALPHA) for the n-th reading, so that warm-up is the plain mean and variance. Incremental weighted
variance: T. Finch, Incremental calculation of weighted mean and variance, University of Cambridge, 2009, equations
140-143. r is the channel's resolution: a flat line with resolution noise does not alarm, and s = 0 does not divide by
zero. The clip (Winsorising) keeps one 1e9 spike from blinding the detector for the next hours; a true step is still
learnt, within some tens of readings.

Units: z has none. State: 20 bytes a channel (mean f64, variance f64, count u32). Cost: a few tens of nanoseconds a
reading. When it fails: slow drift (the mean follows), diurnal cycles longer than 1/ALPHA readings, several regimes
(on/off), heavy tails. Those are for the detectors of issue 7.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np

from contracts.record import Floats
from stream_processor.detectors.contract import Rows, occurrence_rounds

ALPHA: Final = 0.02
"""Weight of a new reading: a memory of about 50 readings."""
WARM_UP_READINGS: Final = 30
"""No score before a channel has been read this often."""
CLIP_SIGMA: Final = 6.0
"""How far one reading can pull, in standard deviations."""
_VERSION: Final = 1


class EwmaZ:
    """EWMA z-score over channels. See the module for formula, state and limits."""

    def __init__(self) -> None:
        self._mean = np.zeros(0)
        self._variance = np.zeros(0)
        self._count = np.zeros(0, dtype=np.uint32)

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        added = channel_count - len(self._count)
        if added <= 0:
            return
        self._mean = np.concatenate([self._mean, np.zeros(added)])
        self._variance = np.concatenate([self._variance, np.zeros(added)])
        self._count = np.concatenate([self._count, np.zeros(added, dtype=np.uint32)])

    def score_and_learn(self, rows: Rows, values: Floats, resolutions: Floats) -> Floats:
        """Scores then learns, reading by reading per channel. See `Detector`."""
        scores = np.empty(len(rows))
        for chunk in occurrence_rounds(rows):
            scores[chunk] = self._round(rows[chunk], values[chunk], resolutions[chunk])
        return scores

    def _round(self, rows: Rows, values: Floats, resolutions: Floats) -> Floats:
        mean = self._mean[rows]
        variance = self._variance[rows]
        count = self._count[rows]
        is_warm = count >= WARM_UP_READINGS
        deviation = values - mean
        sigma = np.sqrt(variance + resolutions * resolutions)
        scores: Floats = np.where(is_warm, deviation / sigma, np.nan)
        limit = np.where(is_warm, CLIP_SIGMA * sigma, np.inf)
        deviation = np.clip(deviation, -limit, limit)
        weight = np.maximum(ALPHA, 1.0 / (count + 1.0))
        self._mean[rows] = mean + weight * deviation
        self._variance[rows] = (1.0 - weight) * (variance + weight * deviation * deviation)
        self._count[rows] = np.minimum(count, np.iinfo(np.uint32).max - 1) + 1
        return scores

    def snapshot(self) -> bytes:
        """Versioned bytes (npz without pickle)."""
        buffer = io.BytesIO()
        np.savez(buffer, version=np.array(_VERSION), mean=self._mean, variance=self._variance, count=self._count)
        return buffer.getvalue()

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit."""
        with np.load(io.BytesIO(snapshot), allow_pickle=False) as state:
            if int(state["version"]) != _VERSION:
                raise ValueError(f"EWMA z state of version {int(state['version'])}, not {_VERSION}")
            self._mean = state["mean"]
            self._variance = state["variance"]
            self._count = state["count"]
