"""Combined: one alarm figure of four looks at a channel, which says something once and then waits for something worse.

    c  = max(q(value), LOOK_WEIGHT · max(q(level), q(departure from the week), q(error level)))
    d  = SIGMA · c / sqrt(1 + HABIT_WEIGHT · h)   if c exceeds the peak of the last HOLD_READINGS, else 0
    h ← h · HABIT_DECAY (before), + min(c, 1) (after) at each c that exceeds the peak

q is how new a look is (`seen_values`); score = d / (d + 3). The looks: the value; its exponentially weighted mean
over some 12 readings (a shift that single readings hide); its departure from the usual of this time of the week
(`week_profile`; only where the week explains half of the variance); the same mean of the magnitude of the prediction
error (`autoregression`: a changed texture, a missing rhythm). The derived looks weigh half: of three more series,
each with chance records of its own, one must be twice as new. After a peak only something worse is news (a refractory
period); a channel that had much to say lately must be somewhat more unusual to be heard (habituation: an alarm that
needs no answer is none, ISA-18.2). So this is a score of events, "something happens now", and falls to 0 while it
lasts: `novelty` and `residual` are the scores of states.

How it does on the Numenta Anomaly Benchmark, and how many variants were looked at for that: docs/scores.md.

Units: d in sigma; SIGMA is such that independent normal readings are beyond 3 at most as often as |N(0, 1)|, once 1,000
are seen. State: 1,672 bytes a channel, float32 but for the origin and a time. It counts readings, save for the week.
When it fails: what happened once before is not new; the end of an event is none; events closer than HOLD_READINGS are
one; a first week of data has no rhythm yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Final, NamedTuple

import numpy as np

from contracts.record import Bools, Floats
from stream_processor.detectors.autoregression import Autoregression
from stream_processor.detectors.contract import Batch, Explanation, check_batch, to_score, to_sigma
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.packed_state import Singles, score_in_blocks
from stream_processor.detectors.seen_values import SeenValues
from stream_processor.detectors.week_profile import Departure, WeekProfile
from stream_processor.packed_rows import Rows, gather, scatter

WARM_UP_READINGS: Final = 100
REMEMBERED: Final = 64
"""Values of each look."""
LEVEL_ALPHA: Final = np.float32(1 / 12)
"""Weight of a reading in the short means."""
LOOK_WEIGHT: Final = np.float32(0.5)
"""Of the three derived looks."""
HOLD_READINGS: Final = np.float32(100)
"""How long only something worse is said."""
HABIT_DECAY: Final = np.float32(1 - 1 / 5_000)
"""What a channel said is forgotten over 5,000 readings."""
HABIT_WEIGHT: Final = np.float32(0.5)
SIGMA: Final = 6.0
"""d of a look that is as new as the geometric mean of its range and its mean novelty (q = 1)."""
_ONE: Final = np.float32(1.0)
_BLOCK: Final = 2_048
_LEVEL, _ERROR, _PEAK, _AGE, _HABIT = range(5)
_MEMORY_COLUMNS: Final = 5
LOOKS: Final = ("value", "level", "departure", "error")
DERIVED: Final = len(LOOKS) - 1
_DERIVED_AT: Final = np.arange(DERIVED)
_WORDS: Final = (
    "nearest seen before {nearest:.6g}{unit}",
    "recent mean {seen:.6g}{unit}, nearest seen before {nearest:.6g}{unit}",
    "{seen:+.6g}{unit} from the usual at this time of the week, nearest seen before {nearest:+.6g}{unit}",
    "recent prediction error {seen:.6g}{unit}, nearest seen before {nearest:.6g}{unit}",
)
"""What each look saw, and what it saw before."""

_Part = SeenValues | WeekProfile | Autoregression


class _Looks(NamedTuple):
    """What was found of some readings, look by look."""

    seen: tuple[Singles, Singles, Singles, Singles]
    """What each look sees: a value near the origin, a mean near it, a distance, a magnitude."""
    newness: Singles
    """By look and reading: q, weighted."""
    readings: Singles
    """Readings of the channel before."""


class Combined:
    """One alarm figure a channel. See the module for formula, state and limits."""

    NAME: ClassVar[str] = "combined"
    VERSION: ClassVar[int] = 1
    STATE_BYTES: ClassVar[int] = 1_672
    COST_NS: ClassVar[float] = 4_000.0
    WARM_UP_READINGS: ClassVar[int] = WARM_UP_READINGS

    def __init__(self) -> None:
        self._origins: Floats = np.zeros(0)
        self._memory: Singles = np.zeros((0, _MEMORY_COLUMNS), dtype=np.float32)
        self._seen = SeenValues(REMEMBERED)
        """Of the first look."""
        self._derived = SeenValues(REMEMBERED)
        """Of the other three, side by side (`_derived_rows`): one call for all costs little more than for one."""
        self._week = WeekProfile()
        self._predictor = Autoregression()

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        added = channel_count - len(self._origins)
        if added <= 0:
            return
        self._origins = np.concatenate([self._origins, np.full(added, np.nan)])
        self._memory = np.concatenate([self._memory, np.zeros((added, _MEMORY_COLUMNS), dtype=np.float32)])
        for part in (self._seen, self._week, self._predictor):
            part.grow(channel_count)
        self._derived.grow(channel_count * DERIVED)

    def score(self, batch: Batch) -> Floats:
        """How new the most unusual look is, unless that was said lately; NaN in warm-up. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, partial(self._step, learns=False), _BLOCK)

    def learn(self, batch: Batch) -> None:
        """Takes the readings into all looks. See `Detector`."""
        self.score_and_learn(batch)

    def score_and_learn(self, batch: Batch) -> Floats:
        """Scores against what was learnt before, then learns. See `Detector`."""
        check_batch(batch)
        return score_in_blocks(batch, partial(self._step, learns=True), _BLOCK)

    def explain(self, batch: Batch, units: Sequence[str]) -> list[Explanation]:
        """Which look is the most unusual, and what it saw before. See `Detector`."""
        sigmas = [to_sigma(float(score)) for score in self.score(batch)]
        looks = self._look(batch, gather(self._memory, batch.rows), learns=False)
        return [self._explain(batch, looks, at, sigmas[at], unit) for at, unit in enumerate(units)]

    def snapshot(self) -> bytes:
        """Versioned bytes. See `Detector`."""
        arrays = {name: getattr(part, array) for name, part, array in self._arrays()}
        return encode_snapshot(self.NAME, self.VERSION, {"origins": self._origins, "memory": self._memory, **arrays})

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit. See `Detector`."""
        of_parts = self._arrays()
        names = ("origins", "memory", *(name for name, _, _ in of_parts))
        self._origins, self._memory, *arrays = decode_snapshot(snapshot, self.NAME, self.VERSION, names)
        for (_, part, array), state in zip(of_parts, arrays, strict=True):
            setattr(part, array, state)

    def _arrays(self) -> list[tuple[str, _Part, str]]:
        """What a snapshot holds of each part: name there, part, name of the array."""
        return [(f"{name}_{array}", part, array) for name, part in self._parts().items() for array in part.ARRAYS]

    def _parts(self) -> dict[str, _Part]:
        return {"seen": self._seen, "derived": self._derived, "week": self._week, "predictor": self._predictor}

    def _step(self, batch: Batch, *, learns: bool) -> Floats:
        memory = gather(self._memory, batch.rows)
        looks = self._look(batch, memory, learns=learns)
        is_warm = looks.readings >= WARM_UP_READINGS
        said = _say(memory, np.maximum.reduce(looks.newness, axis=0), is_warm)
        if learns:
            scatter(self._memory, batch.rows, memory)
        scores = to_score(SIGMA * said.astype(np.float64))
        scores[~is_warm] = np.nan
        return scores

    def _look(self, batch: Batch, memory: Singles, *, learns: bool) -> _Looks:
        """Takes all looks; the level and the error level in `memory` are those with the readings."""
        rows = batch.rows
        origins = self._origins.take(rows)
        np.copyto(origins, batch.values, where=np.isnan(origins))
        resolutions = batch.resolutions.astype(np.float32)
        ask = SeenValues.learn if learns else SeenValues.compare
        value = (batch.values - origins).astype(np.float32)
        of_value = ask(self._seen, rows, value, resolutions)
        if learns:
            self._origins[rows] = origins
        departure, predictions = self._expect(batch, of_value.limited, resolutions, learns=learns)
        weight = np.maximum(_ONE / (of_value.readings + _ONE), LEVEL_ALPHA)
        level, error = memory[:, _LEVEL], memory[:, _ERROR]
        level += weight * (of_value.limited - level)
        error += weight * (np.abs(of_value.limited - predictions) - error)
        seen = (value, level, departure.distance, error)
        derived = np.concatenate(seen[1:]).reshape(DERIVED, -1).T.reshape(-1)
        of_derived = ask(self._derived, _derived_rows(rows), derived, resolutions.repeat(DERIVED))
        newness = np.empty((len(LOOKS), len(rows)), dtype=np.float32)
        newness[0] = of_value.ratio
        np.multiply(of_derived.ratio.reshape(-1, DERIVED).T, LOOK_WEIGHT, out=newness[1:])
        newness[2, ~departure.is_explained] = 0.0
        return _Looks(seen, newness, of_value.readings)

    def _expect(
        self, batch: Batch, limited: Singles, resolutions: Singles, *, learns: bool
    ) -> tuple[Departure, Singles]:
        """What the week and the last readings let expect: how far from it, and the predictions."""
        rows, times_ns = batch.rows, batch.times_ns
        if learns:
            return self._week.learn(rows, times_ns, limited), self._predictor.learn(rows, limited, resolutions)
        return self._week.compare(rows, times_ns, limited), self._predictor.predict(rows)

    def _explain(self, batch: Batch, looks: _Looks, at: int, sigma: float, unit: str) -> Explanation:
        if looks.readings[at] < WARM_UP_READINGS:
            count = int(looks.readings[at])
            return Explanation(np.nan, f"warming up: {count} of {WARM_UP_READINGS} readings seen")
        row, look = int(batch.rows[at]), int(looks.newness[:, at].argmax())
        origin = float(self._origins[row]) if look <= 1 else 0.0
        seen = float(looks.seen[look][at])
        nearest = self._nearest(row, look, seen) + origin
        alone = SIGMA * float(looks.newness[look, at])
        text = _WORDS[look].format(seen=seen + origin, nearest=nearest, unit=unit and f" {unit}")
        return Explanation(sigma, f"{text} ({alone:.1f} sigma{', said lately' if alone > sigma == 0 else ''})")

    def _nearest(self, row: int, look: int, seen: float) -> float:
        if look == 0:
            return self._seen.nearest(row, seen)
        return self._derived.nearest(row * DERIVED + look - 1, seen)


def _derived_rows(rows: Rows) -> Rows:
    """The rows of the three derived looks of each channel."""
    return (rows[:, np.newaxis] * DERIVED + _DERIVED_AT).reshape(-1)


def _say(memory: Singles, newness: Singles, is_warm: Bools) -> Singles:
    """What is said of each reading, and 0 where nothing is; the memory becomes that with the readings."""
    peak, age, habit = memory[:, _PEAK], memory[:, _AGE], memory[:, _HABIT]
    np.copyto(peak, np.float32(0.0), where=age >= HOLD_READINGS)
    speaks = is_warm & (newness > peak)
    habit *= HABIT_DECAY
    said = np.where(speaks, newness / np.sqrt(_ONE + HABIT_WEIGHT * habit), np.float32(0.0))
    habit += np.where(speaks, np.minimum(newness, _ONE), np.float32(0.0))
    np.copyto(peak, newness, where=speaks)
    np.copyto(age, np.where(speaks, np.float32(0.0), np.minimum(age + _ONE, HOLD_READINGS)))
    return said
