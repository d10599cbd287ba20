"""Novelty: distance to the nearest value that the channel ever had.

    d = SIGMA · n / sqrt(w · m)          score = d / (d + 3)

with n the distance to the nearest of `REMEMBERED` values, w the width of the range seen, m the mean distance of a new
value from the old ones (`seen_values` has the formulas, the source, and how values are forgotten). It needs no model
of the channel: levels, cycles and regimes that it had are known, in any order; what it never had is new. Bounded
quantities (a tank, a valve, a strain under known trucks) suit it best.

Units: d in sigma, calibrated so that independent normal readings are beyond 3 at most as often as |N(0, 1)| once 1,000
readings are seen. State: 552 bytes a channel: 128 values, the range, m and a count as float32, the origin as float64.
When it fails: what happened once is never new again, be it in a wrong place (a day's value at night); a slow drift; a
missing change (`flat_line`). A channel with a trend is always at its highest, hence always a little new.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from contracts.record import Floats
from stream_processor.detectors.contract import Batch, Explanation, check_batch, to_score
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.packed_state import score_in_blocks
from stream_processor.detectors.seen_values import Found, SeenValues

WARM_UP_READINGS: Final = 100
REMEMBERED: Final = 128
SIGMA: Final = 6.0
"""Of a value that is as new as the geometric mean of the range and of the mean novelty."""
_BLOCK: Final = 2_048
"""Readings worked on at once: 2 MB with what is computed of them, which stays in the processor's cache."""


class Novelty:
    """Distance to the nearest value seen. See the module for formula, state and limits."""

    NAME: ClassVar[str] = "novelty"
    VERSION: ClassVar[int] = 1
    STATE_BYTES: ClassVar[int] = 552
    COST_NS: ClassVar[float] = 500.0
    WARM_UP_READINGS: ClassVar[int] = WARM_UP_READINGS

    def __init__(self) -> None:
        self._origins: Floats = np.zeros(0)
        """By row: the first value, NaN before."""
        self._seen = SeenValues(REMEMBERED)

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        added = max(channel_count - len(self._origins), 0)
        self._origins = np.concatenate([self._origins, np.full(added, np.nan)])
        self._seen.grow(channel_count)

    def score(self, batch: Batch) -> Floats:
        """Distance to the nearest value seen; NaN in warm-up. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, partial(self._scores, learns=False), _BLOCK)

    def learn(self, batch: Batch) -> None:
        """Remembers what is new. See `Detector`."""
        self.score_and_learn(batch)

    def score_and_learn(self, batch: Batch) -> Floats:
        """Scores against what was seen before, then learns. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, partial(self._scores, learns=True), _BLOCK)

    def explain(self, batch: Batch, units: Sequence[str]) -> list[Explanation]:
        """The nearest value seen before. See `Detector`."""
        found = [self._step(batch.take(np.array([at])), learns=False) for at in range(len(units))]
        return [
            self._explain(int(batch.rows[at]), float(batch.values[at]), found[at], unit)
            for at, unit in enumerate(units)
        ]

    def snapshot(self) -> bytes:
        """Versioned bytes. See `Detector`."""
        seen = self._seen
        arrays: dict[str, NDArray[Any]] = {"origins": self._origins, "heads": seen.heads, "values": seen.values}
        return encode_snapshot(self.NAME, self.VERSION, arrays)

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit. See `Detector`."""
        names = ("origins", "heads", "values")
        arrays = decode_snapshot(snapshot, self.NAME, self.VERSION, names)
        self._origins, self._seen.heads, self._seen.values = arrays

    def _scores(self, batch: Batch, *, learns: bool) -> Floats:
        found = self._step(batch, learns=learns)
        scores = to_score(SIGMA * found.ratio.astype(np.float64))
        scores[found.readings < WARM_UP_READINGS] = np.nan
        return scores

    def _step(self, batch: Batch, *, learns: bool) -> Found:
        rows = batch.rows
        origins = self._origins.take(rows)
        np.copyto(origins, batch.values, where=np.isnan(origins))
        distances = (batch.values - origins).astype(np.float32)
        resolutions = batch.resolutions.astype(np.float32)
        if not learns:
            return self._seen.compare(rows, distances, resolutions)
        self._origins[rows] = origins
        return self._seen.learn(rows, distances, resolutions)

    def _explain(self, row: int, value: float, found: Found, unit: str) -> Explanation:
        if found.readings[0] < WARM_UP_READINGS:
            return Explanation(np.nan, f"warming up: {int(found.readings[0])} of {WARM_UP_READINGS} readings seen")
        origin = float(self._origins[row])
        nearest = origin + self._seen.nearest(row, value - origin)
        sigma = SIGMA * float(found.ratio[0])
        return Explanation(sigma, f"nearest seen before {nearest:.6g}{unit and f' {unit}'} ({sigma:.1f} sigma)")
