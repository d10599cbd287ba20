"""Group distance: how far an asset's short means together are from what they usually are together (Mahalanobis).

    u   = x - m                                       of the channels present, p of them
    S*  = (1 - ρ)·S + ρ·diag(S) + diag(r²)            ρ = 0.00001
    D²  = uᵀ S*⁻¹ u · (n - p) / (n + 1)               n: frames of the asset so far
    d   = equivalent_sigma(D, p) / c                  score = d / (d + 3)
    e   = f · clip(u, ± 20·sqrt(S_ii + r_i²))         f = min(1, 6 / d) after warm-up
    m  ← m + a·e                                      a = max(1/n, min(1/500, elapsed / 14 days)), 0 of the absent
    S  ← A S A + b bᵀ                                 A = diag(sqrt(1 - a)), b = sqrt(a·(1 - a))·e
    c  ← max(1, c·(1 + 0.95·h)) if d > 1.96, otherwise max(1, c·(1 - 0.05·h))        h = min(0.02, 4·a)

It sees what no channel shows alone: one pier that settles while sun and traffic move all gauges together, one tank
that rises while the others stand. A channel that is missing (dead, stale) leaves the marginal distance of those
present: rows and columns of S* are left out. With one a for all channels the line of S is (1 - a)·(S + a·e eᵀ); as it
stands each channel learns when it is present, and S stays positive semidefinite whatever is missing. P. C.
Mahalanobis, On the generalised distance in statistics, 1936. The factor of D² is Hotelling's, for a covariance that
was estimated itself. S is not shrunk further than numbers of 32 bits need: where channels hang together closely (a
day's heat in all gauges) even one per cent of shrinkage is more than the noise of what remains, and hides a pier. r,
the resolution, keeps a constant channel from making it singular. Huber's weight f and the clip keep a spike of 1e9
from blinding or poisoning. c follows the 95 % quantile of d itself: frames that hang together or have heavy tails
make d too large, and c takes it back; it never makes a group more sensitive than the formula.

The memory is 14 days, so that days, nights and weekends become part of the covariance, but at least 500 frames; c
follows within some days. Units: as the channels, none for d. State in memory and in a snapshot: 8·width + 4·width² +
4·width + 20 bytes an asset: of 20 channels 1.9 kB (94 bytes a channel), of 64 channels 17 kB (269 a channel). Cost:
one solution of p linear equations a frame.

When it fails: a relation that is not linear (a valve that is open or shut); several regimes; an event that moves all
channels along a direction in which they usually move together (a heat wave on a bridge); before the first day the
day's cycle is news. What builds up over many frames is learnt while it does: for a pier that settles within days,
frames are of hours, not of minutes. An event in most of the frames of warm-up is learnt as normal. Channels that are
seldom heard in the same frames count as less related than they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.record import Bools, Floats
from stream_processor.detectors.contract import Explanation, to_score
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.equivalent_sigma import COUNT_MAX, equivalent_sigma
from stream_processor.detectors.group_contract import Frames, check_frames
from stream_processor.packed_rows import Rows

WARM_UP_FRAMES: Final = 60
"""At least; and three times the width."""
_SHRINKAGE: Final = 1e-5
"""Of correlations: 64 channels of 32-bit covariances stay invertible."""
MEMORY_NS: Final = 14 * 86_400 * 1_000_000_000
MEMORY_FRAMES_MIN: Final = 500
CLIP_SIGMA: Final = 6.0
"""How far one frame can pull, in sigma."""
_CLIP_CHANNEL_SIGMA: Final = 20.0
"""How far one reading can pull, in standard deviations of its channel, in warm-up too."""
_CLIP_AFTER: Final = 5
"""Frames of a channel before that clip."""
_SCALE_STEPS: Final = 4.0
"""Steps of c, in weights of the frame."""
_SCALE_STEP_MAX: Final = 0.02
_SCALE_QUANTILE: Final = 0.95
_SCALE_SIGMA: Final = 1.96
"""|N(0, 1)| is within it in 95 % of the cases."""
_VARIANCE_MIN: Final = 1e-30
_ARRAYS: Final = ("count", "seen", "mean", "covariance", "scale", "time_ns")


class _Distance(NamedTuple):
    """What one solution of the equations tells of some frames. Absent channels are 0."""

    deviation: Floats
    is_scored: Bools
    """Channels that count: present, and out of their own warm-up."""
    solved: Floats
    """S*⁻¹ u."""
    sigma: Floats
    """d; NaN in warm-up."""
    shrunk: Floats
    """S* itself, with 1 on the diagonal where a channel does not count."""


class GroupDistance:
    """Mahalanobis distance of frames over assets of at most `width` channels. See the module for formula and limits."""

    NAME: ClassVar[str] = "group_distance"
    VERSION: ClassVar[int] = 1

    def __init__(self, width: int) -> None:
        if not 1 <= width <= COUNT_MAX:
            raise ValueError(f"a group of {width} channels is not one of 1 to {COUNT_MAX}")
        self.width = width
        self.warm_up_frames = max(WARM_UP_FRAMES, 3 * width)
        self.state_bytes = 8 * width + 4 * width * width + 4 * width + 20
        self._set_state(_empty_state(0, width))

    def _set_state(self, arrays: Sequence[NDArray[Any]]) -> None:
        self._count: NDArray[np.float32]
        """Frames of an asset."""
        self._seen: NDArray[np.float32]
        """Frames that a channel was present in. Counts are exact up to 2²⁴, and weigh nothing long before."""
        self._mean: Floats
        self._covariance: NDArray[np.float32]
        self._scale: Floats
        self._time_ns: NDArray[np.int64]
        self._count, self._seen, self._mean, self._covariance, self._scale, self._time_ns = arrays

    def _state(self) -> tuple[NDArray[Any], ...]:
        return self._count, self._seen, self._mean, self._covariance, self._scale, self._time_ns

    def grow(self, asset_count: int) -> None:
        """Makes room. See `GroupDetector`."""
        added = _empty_state(max(asset_count - len(self._count), 0), self.width)
        self._set_state([np.concatenate(pair) for pair in zip(self._state(), added, strict=True)])

    def forget(self, rows: Rows) -> None:
        """Back into warm-up. See `GroupDetector`."""
        for column, empty in zip(self._state(), _empty_state(1, self.width), strict=True):
            column[rows] = empty[0]

    def forget_places(self, row: int, places: Sequence[int]) -> None:
        """These places are in a warm-up of their own; the others go on. See `GroupDetector`."""
        at = list(places)
        self._seen[row, at], self._mean[row, at] = 0.0, 0.0
        self._covariance[row, at], self._covariance[row, :, at] = 0.0, 0.0

    def score(self, frames: Frames) -> Floats:
        """Distance from the usual, given that the channels move together as they do. See `GroupDetector`."""
        check_frames(frames, self.width)
        return to_score(self._measure(frames).sigma)

    def learn(self, frames: Frames) -> None:
        """Takes the frames into mean, covariance and scale. See `GroupDetector`."""
        self.score_and_learn(frames)

    def score_and_learn(self, frames: Frames) -> Floats:
        """Scores against what was learnt before, then learns. See `GroupDetector`."""
        check_frames(frames, self.width)
        measured = self._measure(frames)
        self._take_in(frames, measured.sigma)
        return to_score(measured.sigma)

    def _measure(self, frames: Frames) -> _Distance:
        rows = frames.rows
        count, seen = self._count[rows].astype(np.float64), self._seen[rows]
        is_scored = frames.is_present & (seen >= self.warm_up_frames) & (count >= self.warm_up_frames)[:, None]
        deviation: Floats = np.where(is_scored, frames.values - self._mean[rows], 0.0)
        shrunk = _shrink(self._covariance[rows], frames.resolutions, is_scored)
        solved = np.asarray(np.linalg.solve(shrunk, deviation[:, :, None])[:, :, 0], dtype=np.float64)
        scored = is_scored.sum(axis=1)
        square = (deviation * solved).sum(axis=1) * np.maximum(count - scored, 0.0) / (count + 1.0)
        sigma: Floats = equivalent_sigma(np.sqrt(np.maximum(square, 0.0)), scored) / self._scale[rows]
        return _Distance(deviation, is_scored, solved, sigma, shrunk)

    def _take_in(self, frames: Frames, sigma: Floats) -> None:
        rows, present = frames.rows, frames.is_present
        seen = self._seen[rows] + present
        mean, covariance = self._mean[rows], self._covariance[rows].astype(np.float64)
        deviation = _clipped(frames, mean, covariance, seen)
        deviation *= (CLIP_SIGMA / np.fmax(sigma, CLIP_SIGMA))[:, None]
        least = self._least_weight(frames)
        weight = np.where(present, np.maximum(1.0 / np.maximum(seen, 1.0).astype(np.float64), least[:, None]), 0.0)
        self._mean[rows] = mean + weight * deviation
        kept, pull = np.sqrt(1.0 - weight), np.sqrt(weight * (1.0 - weight)) * deviation
        covariance *= kept[:, :, None] * kept[:, None, :]
        covariance += pull[:, :, None] * pull[:, None, :]
        self._covariance[rows] = np.where(np.abs(covariance) < _VARIANCE_MIN, 0.0, covariance)
        self._calibrate(rows, sigma, least)
        self._seen[rows] = seen
        self._count[rows] += present.any(axis=1)
        self._time_ns[rows] = frames.times_ns

    def _least_weight(self, frames: Frames) -> Floats:
        """What a frame weighs for a channel that was seen often."""
        elapsed_ns = np.maximum(frames.times_ns - self._time_ns[frames.rows], 0)
        least: Floats = np.minimum(elapsed_ns / MEMORY_NS, 1.0 / MEMORY_FRAMES_MIN)
        return least

    def _calibrate(self, rows: Rows, sigma: Floats, least: Floats) -> None:
        weight = np.maximum(1.0 / np.maximum(self._count[rows].astype(np.float64), 1.0), least)
        step = np.minimum(_SCALE_STEPS * weight, _SCALE_STEP_MAX)
        step *= np.where(sigma > _SCALE_SIGMA, _SCALE_QUANTILE, _SCALE_QUANTILE - 1.0)
        step[np.isnan(sigma)] = 0.0
        self._scale[rows] = np.maximum(self._scale[rows] * (1.0 + step), 1.0)

    def explain(
        self, frames: Frames, names: Sequence[Sequence[str]], units: Sequence[Sequence[str]]
    ) -> list[Explanation]:
        """The channels that are furthest from what the others of the asset tell. See `GroupDetector`.

        Of channel i, given all others: u_i - u'_i = (S*⁻¹u)_i / (S*⁻¹)_ii, in standard deviations 1 / sqrt((S*⁻¹)_ii).
        """
        check_frames(frames, self.width)
        measured = self._measure(frames)
        own_inverse = np.einsum("fii->fi", np.linalg.inv(measured.shrunk))
        difference = measured.solved / own_inverse
        sigmas = difference * np.sqrt(own_inverse) / self._scale[frames.rows, None]
        return [
            _explain(
                float(measured.sigma[at]),
                [
                    _Departure(abs(sigma), name, value, value - apart, unit)
                    for sigma, name, value, apart, unit, is_scored in zip(
                        sigmas[at].tolist(),
                        names[at],
                        frames.values[at].tolist(),
                        difference[at].tolist(),
                        units[at],
                        measured.is_scored[at].tolist(),
                        strict=False,  # an asset may have fewer channels than there are places
                    )
                    if is_scored
                ],
            )
            for at in range(len(frames.rows))
        ]

    def snapshot(self) -> bytes:
        """Versioned bytes. See `GroupDetector`."""
        return encode_snapshot(self.NAME, self.VERSION, dict(zip(_ARRAYS, self._state(), strict=True)))

    def restore(self, snapshot: bytes) -> None:
        """Continues from `snapshot`, bit for bit. See `GroupDetector`."""
        arrays = decode_snapshot(snapshot, self.NAME, self.VERSION, _ARRAYS)
        if (width := arrays[1].shape[1]) != self.width:
            raise ValueError(f"state of groups of {width} channels, not {self.width}")
        self._set_state(arrays)


class _Departure(NamedTuple):
    sigma: float
    name: str
    value: float
    expected: float
    unit: str


def _empty_state(asset_count: int, width: int) -> tuple[NDArray[Any], ...]:
    return (
        np.zeros(asset_count, dtype=np.float32),
        np.zeros((asset_count, width), dtype=np.float32),
        np.zeros((asset_count, width)),
        np.zeros((asset_count, width, width), dtype=np.float32),
        np.ones(asset_count),
        np.zeros(asset_count, dtype=np.int64),
    )


def _shrink(covariance: NDArray[np.float32], resolutions: Floats, is_scored: Bools) -> Floats:
    """S* of each frame; where a channel does not count, a row and a column of the unit matrix."""
    both = is_scored[:, :, None] & is_scored[:, None, :]
    shrunk: Floats = np.where(both, covariance * (1.0 - _SHRINKAGE), 0.0)
    diagonal = np.einsum("fii->fi", covariance) + np.where(is_scored, resolutions, 0.0) ** 2
    places = np.arange(covariance.shape[1])
    shrunk[:, places, places] = np.where(is_scored, np.maximum(diagonal, _VARIANCE_MIN), 1.0)
    return shrunk


def _clipped(frames: Frames, mean: Floats, covariance: Floats, seen: NDArray[np.float32]) -> Floats:
    """How far each channel is from its mean, within what a channel may show; 0 of the absent."""
    deviation = np.where(frames.is_present, frames.values - mean, 0.0)
    usual = np.sqrt(np.einsum("fii->fi", covariance) + frames.resolutions**2)
    limit = np.where(seen > _CLIP_AFTER, _CLIP_CHANNEL_SIGMA * usual, np.inf)
    return np.clip(deviation, -limit, limit)


def _explain(sigma: float, departures: list[_Departure]) -> Explanation:
    if np.isnan(sigma):
        return Explanation(sigma, "warming up, or no channel heard")
    worst = sorted(departures, reverse=True)[:_SHOWN]
    told = "; ".join(f"{one.name} {one.sigma:.1f} sigma from {one.expected:.6g} {one.unit}".rstrip() for one in worst)
    return Explanation(sigma, f"{sigma:.1f} sigma as a group of {len(departures)}; against the others {told}")


_SHOWN: Final = 3
"""Channels that an explanation names."""
