"""Group forest: how easily an asset's short means are told apart from those of its last days (isolation forest).

    a   = isolation score of the frame in the asset's forest, 0 to 1                (`isolation_forest`)
    d   = max(0, 0.674 + 2.326 · (a - a50) / max(a997 - a50, 0.03))      score = d / (d + 3)

a50 and a997 are the quantiles 0.5 and 0.9973 of a over the frames that the forest was fitted to, so that d has the
median and the 3-sigma tail of |N(0, 1)| on them: the scale is empirical. a ends at 1, so d seldom passes 8: a frame
beyond everything seen is not told from one far beyond it. Where the group distance is blind, a forest sees: several
regimes, relations that are not linear. It asks one channel at a time, so it misses a departure that lies within the
range of every channel.

A ring keeps 512 good frames (score below 0.667, 6 sigma), 6 minutes of the data's time apart or more: two days at
least, so that it knows the day's cycle. Every 12 hours of that time, and whenever it holds twice as many, a refit is
*ordered* (`due_refits`); the caller has it fitted in the background (`refit_forest`) or on the spot
(`isolation_fit.fit_forest`: backtests, tests) and hands it back (`take_fitted`). Until then, and if it fails
(`take_failure`), the old forest scores. Nothing here waits. Samples are Winsorised, so that a spike cannot spend the
splits; a channel that is missing counts as its median; a frame within two resolutions of the median in every channel
is 0. Same seed and frames, same forest; a snapshot carries ring,
seed and the forest itself as arrays.

State in memory and in a snapshot: 2.1 kB · width of ring and medians, 140 kB of forest an asset: of 20 channels 9 kB
a channel, so it stands beside the default set, for assets that deserve it. Cost: 50 trees · 7 steps a frame; about
0.1 s of another core a refit.

When it fails: see above; before two days the day's cycle is news; the first frames are scored by a forest of 128.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.record import Floats
from stream_processor.detectors.contract import Explanation, to_score
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.group_contract import Frames, check_frames
from stream_processor.detectors.isolation_forest import (
    NODES,
    SAMPLES,
    TREES,
    FittedForest,
    Forests,
    RefitOrder,
    empty_forests,
    isolate,
)
from stream_processor.packed_rows import Rows

RING_FRAMES: Final = 512
RING_SPACING_NS: Final = 6 * 60 * 1_000_000_000
"""At least so far apart: the ring spans two days."""
REFIT_NS: Final = 12 * 3600 * 1_000_000_000
WARM_UP_FRAMES: Final = SAMPLES
"""Good frames in the ring before the first forest."""
GOOD_SIGMA: Final = 6.0
"""Frames further off are not learnt."""
WIDTH_MAX: Final = 64
_MEDIAN_SIGMA: Final = 0.6744897501960817
_TAIL_SIGMA: Final = 3.0
_SPREAD_MIN: Final = 0.03
"""Of a997 - a50: equal frames have none."""
_FLAT_RESOLUTIONS: Final = 2.0
"""A frame that is so close to the median in every channel is usual, whatever a forest of nothing but noise says."""


class _Plan(NamedTuple):
    """What is known of the refits of each asset: columns over assets."""

    pushed: NDArray[np.int64]
    """Frames that the ring ever took."""
    pushed_ns: NDArray[np.int64]
    """When it took the last one."""
    now_ns: NDArray[np.int64]
    """Time of the asset's newest frame."""
    ordered_ns: NDArray[np.int64]
    """When the last refit that was answered was ordered."""
    ordered_at: NDArray[np.int64]
    """Frames that the ring had then."""
    serial: NDArray[np.int64]
    """Of the last order that was answered."""
    samples: NDArray[np.int64]
    """Frames that each tree of the forest was grown from; 0: there is no forest."""


class _Pending(NamedTuple):
    """What an order that is under way will have been."""

    serial: int
    ordered_ns: int
    ordered_at: int


class GroupForest:
    """Isolation forests over assets of at most `width` channels. See the module for formula and limits."""

    NAME: ClassVar[str] = "group_forest"
    VERSION: ClassVar[int] = 1

    def __init__(self, width: int, seed: int = 0, refit_ns: int = REFIT_NS) -> None:
        if not 1 <= width <= WIDTH_MAX:
            raise ValueError(f"a group of {width} channels is not one of 1 to {WIDTH_MAX}")
        self.width = width
        self.warm_up_frames = WARM_UP_FRAMES
        self.state_bytes = 4 * width * (RING_FRAMES + 1) + TREES * NODES * 11 + 8 * (len(_Plan._fields) + 2)
        self._seed = seed
        self._refit_ns = refit_ns
        self._pending: dict[int, _Pending] = {}
        """Orders that are under way, by asset. Not in a snapshot: who restores it orders again."""
        self._set_state(_empty_state(0, width))

    def _set_state(self, arrays: Sequence[NDArray[Any]]) -> None:
        self._ring: NDArray[np.float32]
        self._median: NDArray[np.float32]
        self._quantiles: Floats
        """a50 and a997 of each forest."""
        self._ring, self._median, self._quantiles = arrays[:3]
        self._plan = _Plan(*arrays[3 : 3 + len(_Plan._fields)])
        self._forests = Forests(*arrays[3 + len(_Plan._fields) :])

    def _state(self) -> tuple[NDArray[Any], ...]:
        return self._ring, self._median, self._quantiles, *self._plan, *self._forests

    def grow(self, asset_count: int) -> None:
        """Makes room. See `GroupDetector`."""
        added = _empty_state(max(asset_count - len(self._ring), 0), self.width)
        self._set_state([np.concatenate(pair) for pair in zip(self._state(), added, strict=True)])

    def forget(self, rows: Rows) -> None:
        """Back into warm-up. See `GroupDetector`."""
        serial = self._plan.serial[rows] + 1  # a forest that is under way is of another serial
        for column, empty in zip(self._state(), _empty_state(1, self.width), strict=True):
            column[rows] = empty[0]
        self._plan.serial[rows] = serial
        for row in rows.tolist():
            self._pending.pop(row, None)

    def forget_places(self, row: int, places: Sequence[int]) -> None:
        """Trees ask for all channels: the whole asset is forgotten. See `GroupDetector`."""
        if len(places):
            self.forget(np.array([row]))

    def score(self, frames: Frames) -> Floats:
        """How easily the frame is isolated. See `GroupDetector`."""
        check_frames(frames, self.width)
        return to_score(self._measure(frames))

    def learn(self, frames: Frames) -> None:
        """Takes good frames into the ring. See `GroupDetector`."""
        self.score_and_learn(frames)

    def score_and_learn(self, frames: Frames) -> Floats:
        """Scores with the forest that there is, then takes good frames into the ring. See `GroupDetector`."""
        check_frames(frames, self.width)
        sigma = self._measure(frames)
        plan, rows = self._plan, frames.rows
        is_spaced = (plan.pushed[rows] == 0) | (frames.times_ns - plan.pushed_ns[rows] >= RING_SPACING_NS)
        is_good = ~(sigma >= GOOD_SIGMA) & frames.is_present.any(axis=1)
        at = np.flatnonzero(is_spaced & is_good)
        kept = rows[at]
        self._ring[kept, plan.pushed[kept] % RING_FRAMES] = frames.values[at]
        plan.pushed[kept] += 1
        plan.pushed_ns[kept] = frames.times_ns[at]
        plan.now_ns[rows] = frames.times_ns
        return to_score(sigma)

    def due_refits(self, limit: int | None = None) -> list[RefitOrder]:
        """What is to be fitted now (so many at most), each asset once until it is handed back."""
        plan = self._plan
        is_first = plan.ordered_at == 0
        is_old = plan.now_ns - plan.ordered_ns >= self._refit_ns
        has_more = (plan.pushed >= 2 * plan.ordered_at) & (plan.ordered_at < RING_FRAMES)
        has_news = plan.pushed > plan.ordered_at
        due = np.flatnonzero((plan.pushed >= WARM_UP_FRAMES) & has_news & (is_first | is_old | has_more))
        return [self._order(row) for row in [row for row in due.tolist() if row not in self._pending][:limit]]

    def _order(self, row: int) -> RefitOrder:
        plan = self._plan
        pending = _Pending(int(plan.serial[row]) + 1, int(plan.now_ns[row]), int(plan.pushed[row]))
        self._pending[row] = pending
        seed = (self._seed * 1_000_003 + row * 8_191 + pending.serial) % 2**32
        return RefitOrder(row, pending.serial, seed, self._good_frames(row))

    def _answer(self, row: int, serial: int) -> bool:
        """Whether an answer was waited for; then its order is done."""
        pending = self._pending.get(row)
        if pending is None or pending.serial != serial:
            return False
        del self._pending[row]
        self._plan.serial[row], self._plan.ordered_ns[row], self._plan.ordered_at[row] = pending
        return True

    def take_fitted(self, fitted: FittedForest) -> None:
        """Scores with this forest from now on. One that was not waited for is left out."""
        row = fitted.row
        if not self._answer(row, fitted.serial):
            return
        columns: Sequence[NDArray[Any]] = self._forests
        fitted_columns: Sequence[NDArray[Any]] = fitted.forests
        for column, one in zip(columns, fitted_columns, strict=True):
            column[row] = one[0]
        self._plan.samples[row] = fitted.samples
        self._median[row], self._quantiles[row] = fitted.median, fitted.quantiles

    def take_failure(self, row: int, serial: int) -> None:
        """The refit failed: the old forest stays, and the next is ordered when it would have been anyway."""
        self._answer(row, serial)

    def _good_frames(self, row: int) -> NDArray[np.float32]:
        """The ring from the oldest to the newest."""
        pushed = int(self._plan.pushed[row])
        frames: NDArray[np.float32] = self._ring[row, np.arange(max(pushed - RING_FRAMES, 0), pushed) % RING_FRAMES]
        return frames

    def _measure(self, frames: Frames) -> Floats:
        """d; NaN in warm-up."""
        sigma = np.full(len(frames.rows), np.nan)
        at = np.flatnonzero((self._plan.samples[frames.rows] > 0) & frames.is_present.any(axis=1))
        rows = frames.rows[at]
        values = np.where(frames.is_present[at], frames.values[at], self._median[rows])
        room = np.where(frames.is_present[at], _FLAT_RESOLUTIONS * frames.resolutions[at], np.inf)
        is_flat = (np.abs(values - self._median[rows]) <= room).all(axis=1)
        sigma[at] = np.where(is_flat, 0.0, self._sigma(rows, values))
        return sigma

    def _sigma(self, rows: Rows, values: Floats) -> Floats:
        isolation = isolate(self._forests, rows, values.astype(np.float32), self._plan.samples[rows])
        usual, tail = self._quantiles[rows].T
        a_sigma = np.maximum(tail - usual, _SPREAD_MIN) / (_TAIL_SIGMA - _MEDIAN_SIGMA)
        sigma: Floats = np.maximum(_MEDIAN_SIGMA + (isolation - usual) / a_sigma, 0.0)
        return sigma

    def explain(
        self, frames: Frames, names: Sequence[Sequence[str]], units: Sequence[Sequence[str]]
    ) -> list[Explanation]:
        """How much less each channel would make it, put at its median: the largest. See `GroupDetector`."""
        check_frames(frames, self.width)
        return [self._explain(frames.take(np.array([at])), names[at], units[at]) for at in range(len(frames.rows))]

    def _explain(self, frame: Frames, names: Sequence[str], units: Sequence[str]) -> Explanation:
        sigma = float(self._measure(frame)[0])
        if np.isnan(sigma):
            return Explanation(sigma, "warming up, or no channel heard")
        median = self._median[frame.rows[0]]
        values = np.where(frame.is_present[0], frame.values[0], median)
        heard = np.flatnonzero(frame.is_present[0])
        without = np.repeat(values[None, :], len(heard), axis=0)
        without[np.arange(len(heard)), heard] = median[heard]
        shares = sigma - self._sigma(np.repeat(frame.rows, len(heard)), without)
        told = "; ".join(
            f"{names[at]} {values[at]:.6g} {units[at]}".rstrip() + f" (median {median[at]:.6g}) gives {share:.1f}"
            for share, at in sorted(zip(shares.tolist(), heard.tolist(), strict=True), key=lambda one: -one[0])[:_SHOWN]
        )
        return Explanation(sigma, f"group {sigma:.1f} sigma by isolation; of it {told}")

    def snapshot(self) -> bytes:
        """Versioned bytes, the seed in them. See `GroupDetector`."""
        arrays = dict(zip(_ARRAYS, self._state(), strict=True))
        return encode_snapshot(self.NAME, self.VERSION, {"seed": np.array(self._seed), **arrays})

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit; an order that was under way is given again. See `GroupDetector`."""
        seed, *arrays = decode_snapshot(snapshot, self.NAME, self.VERSION, ("seed", *_ARRAYS))
        if (width := arrays[0].shape[2]) != self.width:
            raise ValueError(f"state of groups of {width} channels, not {self.width}")
        self._seed = int(seed)
        self._pending = {}
        self._set_state(arrays)


_ARRAYS: Final = ("ring", "median", "quantiles", *_Plan._fields, *Forests._fields)
_SHOWN: Final = 3
"""Channels that an explanation names."""


def _empty_state(asset_count: int, width: int) -> tuple[NDArray[Any], ...]:
    return (
        np.zeros((asset_count, RING_FRAMES, width), dtype=np.float32),
        np.zeros((asset_count, width), dtype=np.float32),
        np.zeros((asset_count, 2)),
        *(np.zeros(asset_count, dtype=np.int64) for _ in _Plan._fields),
        *empty_forests(asset_count),
    )
