"""Flat line: for how many readings the value has not moved, against how long it usually rests.

    n  = readings since the value last moved by more than its resolution r
    L  = ln(100)·n / q                                  -ln of the share of runs that are so long: 1 in 100 is q or more
    d  = sqrt(2·L + 0.2) - 0.45                         sigma as rare as that; score = d / (d + 3), 0 while it moves
    q ← min(1.5·q, n) if a run ends that was longer than q, else 0.999·q, at least QUIET_READINGS

q is a high percentile of the runs, tracked by multiplicative steps (A. Yazidi, H. Hammer, Multiplicative update methods
for incremental quantile estimation, IEEE Trans. Cybernetics 49, 2019): one run in 400 is longer in the balance of the
steps, and because q wavers by a third, one in 100 is what it is taken for. Beyond it runs end like radioactive atoms do
(geometric tail: each reading moves with the same chance). d inverts the two tails of the
normal distribution, -ln P(|N| > d) ≈ d²/2 + 0.45·d, within 0.15 sigma. Nothing is learnt while a run lasts: a sensor
that is stuck for a month stays as strange as it was. The reading from which it has not moved stays the reference, so
that drift by less than r a reading is seen as the motion that it is.

Units: n and q in readings. State: 24 bytes a channel (reference as float64; n, q and number of runs as float32). Cost:
see `COST_NS`.

When it fails: a channel that has never moved has no score (nobody knows how long it rests); a sensor that sticks with
noise on its line moves; a pump that is switched off for longer than ever before is a flat line; of a channel that is
read at another rate q is wrong until some hundred runs later. How long a quantity may rest at all is quality control's
(`flat_line_s` of its quantity), which looks at time and needs no warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from contracts.record import Bools, Floats
from stream_processor.detectors.contract import Batch, Explanation, check_batch, to_score
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.packed_state import Singles, grown, score_in_blocks, single
from stream_processor.packed_rows import gather, scatter

QUIET_READINGS: Final = 5.0
"""A run as short as this is usual in every channel."""
LENGTHENING: Final = 1.5
"""By what factor one run that is longer than usual moves q at most."""
SHORTENING: Final = 0.999
"""By what factor each other run moves it. One longer run in 400 keeps the balance."""
WARM_UP_RUNS: Final = 100
"""No score before so many runs have ended: one in a hundred is what q is about."""
_RUN_MAX: Final = 1e7
"""Readings are counted up to here: float32 counts no further than 16 million."""
_RARITY_AT_QUANTILE: Final = math.log(100.0)


class FlatLine:
    """Runs without motion over channels. See the module for formula, state and limits."""

    NAME: ClassVar[str] = "flat_line"
    VERSION: ClassVar[int] = 1
    STATE_BYTES: ClassVar[int] = 24
    COST_NS: ClassVar[float] = 60.0
    WARM_UP_READINGS: ClassVar[int] = WARM_UP_RUNS

    def __init__(self) -> None:
        self._state: Floats = np.zeros((0, 3))
        """By row: reference; run and quantile, then runs, share the other columns (`_columns`)."""

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        self._state = grown(self._state, channel_count, (np.inf, 0.0, 0.0))

    def score(self, batch: Batch) -> Floats:
        """How unusually long the run is to which a reading belongs; NaN in warm-up. See `Detector`."""
        check_batch(batch)
        reference, run, quantile, runs = _columns(gather(self._state, batch.rows))
        has_moved = _has_moved(batch.values, reference, batch.resolutions)
        return _score(_run_now(run, has_moved), quantile, runs)

    def learn(self, batch: Batch) -> None:
        """Counts the runs. See `Detector`."""
        self.score_and_learn(batch)

    def score_and_learn(self, batch: Batch) -> Floats:
        """Scores against what was learnt before, then learns. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, self._step)

    def _step(self, batch: Batch) -> Floats:
        rows, _, values, resolutions = batch
        state = gather(self._state, rows)
        reference, run, quantile, runs = _columns(state)
        has_moved = _has_moved(values, reference, resolutions)
        run_now = _run_now(run, has_moved)
        scores = _score(run_now, quantile, runs)
        np.copyto(reference, values, where=has_moved)
        is_longer = run > quantile
        usual = np.where(
            is_longer, np.minimum(run, quantile * np.float32(LENGTHENING)), quantile * np.float32(SHORTENING)
        )
        np.copyto(quantile, np.maximum(usual, np.float32(QUIET_READINGS)), where=has_moved)
        runs += has_moved
        np.minimum(runs, np.float32(WARM_UP_RUNS), out=runs)
        run[:] = run_now
        scatter(self._state, rows, state)
        return scores

    def explain(self, batch: Batch, units: Sequence[str]) -> list[Explanation]:
        """For how many readings the value has not moved. See `Detector`."""
        reference, run, quantile, runs = _columns(gather(self._state, batch.rows))
        run_now = _run_now(run, _has_moved(batch.values, reference, batch.resolutions))
        distances = _distance(run_now, quantile)
        return [
            _explain(float(distances[at]), int(run_now[at]), float(quantile[at]), int(runs[at]), float(value), unit)
            for at, (value, unit) in enumerate(zip(batch.values.tolist(), units, strict=True))
        ]

    def snapshot(self) -> bytes:
        """Versioned bytes. See `Detector`."""
        return encode_snapshot(self.NAME, self.VERSION, {"state": self._state})

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit. See `Detector`."""
        (self._state,) = decode_snapshot(snapshot, self.NAME, self.VERSION, ("state",))


def _columns(state: Floats) -> tuple[Floats, Singles, Singles, Singles]:
    """Reference, run, quantile and number of runs: views of packed rows."""
    return state[:, 0], single(state, 1, 0), single(state, 1, 1), single(state, 2, 0)


def _has_moved(values: Floats, reference: Floats, resolutions: Floats) -> Bools:
    moved: Bools = np.abs(values - reference) > resolutions
    return moved


def _run_now(run: Singles, has_moved: Bools) -> Singles:
    """The run with this reading; 0 where it has moved."""
    longer: Singles = np.minimum(run + np.float32(1.0), np.float32(_RUN_MAX))
    longer[has_moved] = 0.0
    return longer


def _distance(run: Singles, quantile: Singles) -> Floats:
    rarity = run.astype(np.float64)
    rarity /= np.maximum(quantile, np.float32(QUIET_READINGS))
    rarity *= 2.0 * _RARITY_AT_QUANTILE
    rarity += 0.45 * 0.45
    distance: Floats = np.sqrt(rarity, out=rarity)
    distance -= 0.45
    return np.maximum(distance, 0.0, out=distance)


def _score(run: Singles, quantile: Singles, runs: Singles) -> Floats:
    scores = to_score(_distance(run, quantile))
    scores[runs < WARM_UP_RUNS] = np.nan
    return scores


def _explain(distance: float, run: int, quantile: float, runs: int, value: float, unit: str) -> Explanation:
    if runs < WARM_UP_RUNS:
        return Explanation(np.nan, f"warming up: moved {runs} of {WARM_UP_RUNS} times")
    usual = max(quantile, QUIET_READINGS)
    return Explanation(distance, f"unmoved near {value:.6g} {unit} for {run} readings, usually for {usual:.0f} at most")
