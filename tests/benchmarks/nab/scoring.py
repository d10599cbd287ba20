"""NAB's score from first principles: what a list of anomaly scores is worth by the published rules. Pure.

A. Lavin, S. Ahmad, Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark, ICMLA 2015
(arXiv 1510.03336), section II; constants of NAB 1.1.

- Probation: the first 15 % of a file's rows, at most 750, are not scored.
- A row is a detection when its score is at or above the threshold. Of the detections inside a label's window only the
  best counts: sigma(y) / sigma(-1) with sigma(y) = 2 / (1 + e^5y) - 1 and y from -1 at the window's first row to just
  below 0 at its last. A window without one costs the weight of a false negative.
- Every detection outside costs the weight of a false positive times -sigma(y), where y is its distance behind the last
  window in widths of that window; the whole weight beyond three widths or before the first window.
- One threshold for all files, the best for the profile. Normalised so that no detection at all is 0, and one in the
  first row of every window and none elsewhere is 100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROBATION_RATIO: Final = 0.15
PROBATION_ROWS: Final = 750
"""15 % of 5,000 rows."""
STEEPNESS: Final = 5.0
FAR_BEHIND_WINDOWS: Final = 3.0


class Profile(NamedTuple):
    """What a detection, a false one and a missed window are worth."""

    true_positive: float
    false_positive: float
    false_negative: float


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "standard": Profile(1.0, 0.11, 1.0),
        "low FP": Profile(1.0, 0.22, 1.0),
        "low FN": Profile(1.0, 0.11, 2.0),
    }
)


class Window(NamedTuple):
    """Rows of one label, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Gains:
    """What each further detection adds as the threshold falls: one file or many, one profile."""

    scores: Floats
    """Falling."""
    gains: Floats
    file_index: NDArray[np.intp]
    """Which file each belongs to."""
    window_counts: NDArray[np.intp]
    """By file."""
    profile: Profile

    def first(self, count: int) -> Gains:
        """Only the `count` highest scores."""
        return Gains(self.scores[:count], self.gains[:count], self.file_index[:count], self.window_counts, self.profile)


class Best(NamedTuple):
    """The threshold that a profile chooses, and what it is worth there."""

    threshold: float
    score: float
    """0 as no detection, 100 as the perfect detector."""


def probation_rows(row_count: int) -> int:
    """Rows at the start of a file that are not scored."""
    return min(int(PROBATION_RATIO * row_count), PROBATION_ROWS)


def scaled_sigmoid(position: Floats) -> Floats:
    """NAB's sigma: near 1 at -1, 0 at 0, -1 far behind."""
    near = np.minimum(position, FAR_BEHIND_WINDOWS)
    return np.where(position > FAR_BEHIND_WINDOWS, -1.0, 2.0 / (1.0 + np.exp(STEEPNESS * near)) - 1.0)


def gather_gains(scores: Sequence[Floats], windows: Sequence[Sequence[Window]], profile: Profile) -> Gains:
    """Ranks the readings of all files by score, with what each one adds.

    Args:
        scores: by file, one score a row; NaN is none.
        windows: by file, in order of time.
        profile: the weights.
    """
    parts = [_file_gains(of_file, labels, profile) for of_file, labels in zip(scores, windows, strict=True)]
    ranked = np.concatenate([part[0] for part in parts])
    order = np.argsort(-ranked, kind="stable")
    return Gains(
        ranked[order],
        np.concatenate([part[1] for part in parts])[order],
        np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])[order],
        np.array([len(labels) for labels in windows]),
        profile,
    )


def best_threshold(ranked: Gains, file_weights: Floats | None = None) -> Best:
    """The best threshold for the files, and its normalised score.

    Args:
        ranked: what each detection adds.
        file_weights: how often each file counts (a resample, a half); None is once each.
    """
    weights = np.ones(len(ranked.window_counts)) if file_weights is None else file_weights
    totals = np.cumsum(ranked.gains * weights[ranked.file_index])
    edges = np.flatnonzero(np.diff(ranked.scores, append=-np.inf))  # equal scores are detections together or not at all
    best = edges[np.argmax(totals[edges])] if len(edges) else 0
    if len(edges) == 0 or totals[best] <= 0.0:
        return Best(np.inf, 0.0)
    return Best(float(ranked.scores[best]), _normalise(float(totals[best]), ranked, weights))


def score_at(ranked: Gains, threshold: float, file_weights: Floats | None = None) -> float:
    """The normalised score at a given threshold. Arguments as for `best_threshold`."""
    weights = np.ones(len(ranked.window_counts)) if file_weights is None else file_weights
    is_detection = ranked.scores >= threshold
    total = float(np.sum(ranked.gains[is_detection] * weights[ranked.file_index[is_detection]]))
    return _normalise(total, ranked, weights)


def perfect_scores(row_count: int, windows: Sequence[Window]) -> Floats:
    """The scores of the perfect detector: one detection in the first scored row of each window."""
    scores = np.zeros(row_count)
    scores[[window.first for window in windows]] = 1.0
    return scores


def _normalise(gain: float, ranked: Gains, weights: Floats) -> float:
    """`gain` is already counted from no detection at all."""
    profile = ranked.profile
    span = (profile.true_positive + profile.false_negative) * float(ranked.window_counts @ weights)
    return 100.0 * gain / span if span else 0.0


def _file_gains(scores: Floats, windows: Sequence[Window], profile: Profile) -> tuple[Floats, Floats]:
    """Scores of the rows that add something, falling, and what each adds."""
    worth, window_index = _row_worth(len(scores), windows, profile)
    scored = np.arange(probation_rows(len(scores)), len(scores))
    scored = scored[np.isfinite(scores[scored])]
    order = scored[np.argsort(-scores[scored], kind="stable")]
    gains = worth[order].copy()
    for index in range(len(windows)):
        inside = np.flatnonzero(window_index[order] == index)
        best_so_far = np.maximum.accumulate(np.append(-profile.false_negative, gains[inside]))
        gains[inside] = np.diff(best_so_far)
    return scores[order], gains


def _row_worth(row_count: int, windows: Sequence[Window], profile: Profile) -> tuple[Floats, NDArray[np.intp]]:
    """By row: what a detection there is worth by itself, and its window (-1: outside)."""
    rows = np.arange(row_count)
    worth = np.full(row_count, -profile.false_positive)
    window_index = np.full(row_count, -1, dtype=np.intp)
    for index, window in enumerate(windows):
        width = window.last - window.first + 1
        behind = rows[window.last + 1 :]
        worth[behind] = profile.false_positive * scaled_sigmoid((behind - window.last) / max(width - 1, 1))
        inside = rows[window.first : window.last + 1]
        position = -(window.last - inside + 1) / width
        worth[inside] = profile.true_positive * scaled_sigmoid(position) / scaled_sigmoid(np.array(-1.0))
        window_index[inside] = index
    return worth, window_index
