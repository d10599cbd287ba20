"""The shipped detectors on the Numenta Anomaly Benchmark: `make bench-scores`.

One parameter set for all 58 files: each file is a channel of one detector, which gets time and value of one reading
after another and has said its score before it learns. The resolution is unknown, hence tiny for all.

Beside the score by the published rules stand two figures against flattery: the interval of 95 % over 400 resamples of
the files (threshold chosen anew in each), and the mean over 100 random halves of the files of the score on one half at
the threshold that the other half chose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_processor.detectors import DETECTORS
from stream_processor.detectors.contract import Batch, Detector
from tests.benchmarks.nab.corpus import LabelledFile, read_corpus
from tests.benchmarks.nab.scoring import PROFILES, Gains, best_threshold, gather_gains, perfect_scores, score_at
from tests.benchmarks.nab.windowed_gaussian import windowed_gaussian

Floats = NDArray[np.float64]

RESOLUTION: Final = 1e-6
RESAMPLES: Final = 400
SPLITS: Final = 100
RANKED: Final = 20_000
"""Detections among which resamples look for their threshold: at four times as many as any best one has."""
PUBLISHED: Final[Mapping[str, tuple[float, float, float]]] = {
    "ARTime": (74.9, 65.1, 80.4),
    "Numenta HTM": (70.1, 63.1, 74.3),
    "CAD OSE": (69.9, 67.0, 73.2),
    "KNN-CAD": (58.0, 43.4, 64.8),
    "relative entropy": (54.6, 47.6, 58.8),
    "random cut forest": (51.7, 38.4, 59.7),
    "windowed Gaussian": (39.6, 20.9, 47.4),
}
"""numenta/NAB README, scoreboard of NAB 1.1: standard, low FP, low FN. Copied, not measured here."""


def measure() -> Iterator[str]:
    """Lines of the report."""
    files = read_corpus()
    readings, labels = sum(len(file.values) for file in files), sum(len(file.windows) for file in files)
    yield f"{len(files)} files, {readings:,} readings, {labels} labelled windows"
    yield "| detector | " + " | ".join(f"{name} | 95 % | held out | threshold" for name in PROFILES) + " |"
    yield "|---" * (1 + 4 * len(PROFILES)) + "|"
    for name, score in _yardsticks().items():
        yield report(name, [score(file) for file in files], files)
    for name, kind in DETECTORS.items():
        yield report(f"**{name}**", score_as_channels(kind(), files), files)
    for name, row in PUBLISHED.items():
        yield f"| {name} (published) | " + " | ".join(f"{score:.1f} | | |" for score in row)


def score_as_channels(detector: Detector, files: Sequence[LabelledFile]) -> list[Floats]:
    """Scores each file as a channel of one detector, one reading of each a step; NaN in warm-up."""
    detector.grow(len(files))
    lengths = np.array([len(file.values) for file in files])
    times_ns = np.zeros((lengths.max(), len(files)), dtype=np.int64)
    values = np.zeros(times_ns.shape)
    for row, file in enumerate(files):
        times_ns[: len(file.values), row], values[: len(file.values), row] = file.times_ns, file.values
    scores = np.full(values.shape, np.nan)
    for step in range(len(values)):
        rows = np.flatnonzero(lengths > step)
        resolutions = np.full(len(rows), RESOLUTION)
        scores[step, rows] = detector.score_and_learn(
            Batch(rows, times_ns[step, rows], values[step, rows], resolutions)
        )
    return [scores[:length, row] for row, length in enumerate(lengths)]


def report(name: str, scores: Sequence[Floats], files: Sequence[LabelledFile]) -> str:
    """A row of the table."""
    windows = [file.windows for file in files]
    cells = [_cell(gather_gains(scores, windows, profile)) for profile in PROFILES.values()]
    return f"| {name} | " + " | ".join(cells) + " |"


def _yardsticks() -> dict[str, Callable[[LabelledFile], Floats]]:
    return {
        "nothing": lambda file: np.full(len(file.values), np.nan),
        "perfect": lambda file: perfect_scores(len(file.values), file.windows),
        "windowed Gaussian": lambda file: windowed_gaussian(file.values),
    }


def _cell(ranked: Gains) -> str:
    best = best_threshold(ranked)
    highest = ranked.first(RANKED)
    low, high = _interval(highest)
    return f"{best.score:.1f} | {low:.0f}-{high:.0f} | {held_out(highest):.1f} | {best.threshold:.3f}"


def _interval(ranked: Gains) -> tuple[float, float]:
    """Of 95 % of the resamples of the files."""
    count = len(ranked.window_counts)
    random = np.random.default_rng(1)
    drawn = (np.bincount(random.integers(0, count, count), minlength=count) for _ in range(RESAMPLES))
    low, high = np.quantile([best_threshold(ranked, weights).score for weights in drawn], [0.025, 0.975])
    return float(low), float(high)


def held_out(ranked: Gains) -> float:
    """The mean score of the half of the files that did not choose the threshold, over `SPLITS` halvings."""
    count = len(ranked.window_counts)
    random = np.random.default_rng(2)
    scores = []
    for _ in range(SPLITS):
        chooses = random.permutation(count) < count // 2
        threshold = best_threshold(ranked, chooses.astype(np.float64)).threshold
        scores.append(score_at(ranked, threshold, (~chooses).astype(np.float64)))
    return float(np.mean(scores))
