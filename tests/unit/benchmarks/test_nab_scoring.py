"""NAB's rules against a case worked by hand and against a scorer in plain loops."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.nab.scoring import (
    PROFILES,
    Window,
    best_threshold,
    gather_gains,
    perfect_scores,
    probation_rows,
    score_at,
)

EXAMPLE = json.loads((Path(__file__).parents[2] / "golden" / "nab" / "worked_example.json").read_text())
WINDOWS = [[Window(20, 29)], [Window(15, 24), Window(60, 69)], []]
ROWS = [40, 100, 50]


def example_scores():
    scores = np.zeros(EXAMPLE["row_count"])
    for row, score in EXAMPLE["detections"].items():
        scores[int(row)] = score
    return scores


def plain_score(scores, windows, profile, threshold):
    """The rules in plain loops: one file's raw score at a threshold."""

    def sigma(position):
        return -1.0 if position > 3.0 else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0

    best, total = [-profile.false_negative] * len(windows), 0.0
    for row in range(probation_rows(len(scores)), len(scores)):
        if not scores[row] >= threshold:
            continue
        inside = [index for index, (first, last) in enumerate(windows) if first <= row <= last]
        before = [window for window in windows if window.last < row]
        if inside:
            first, last = windows[inside[0]]
            worth = profile.true_positive * sigma(-(last - row + 1) / (last - first + 1)) / sigma(-1.0)
            best[inside[0]] = max(best[inside[0]], worth)
        elif before:
            first, last = before[-1]
            total += profile.false_positive * sigma((row - last) / (last - first))
        else:
            total -= profile.false_positive
    return total + sum(best)


def plain_normalised(scores, windows, profile, threshold):
    count = sum(len(labels) for labels in windows)
    raw = sum(plain_score(of_file, labels, profile, threshold) for of_file, labels in zip(scores, windows, strict=True))
    null, perfect = -profile.false_negative * count, profile.true_positive * count
    return 100.0 * (raw - null) / (perfect - null)


def random_scores(seed):
    """Coarse, so that many are equal; some are none."""
    random = np.random.default_rng(seed)
    scores = [np.round(random.random(rows) ** 8, 1) for rows in ROWS]
    scores[0][7] = scores[1][62] = np.nan
    return scores


@pytest.mark.parametrize("name", PROFILES)
def test_the_worked_example_has_the_scores_worked_by_hand(name):
    ranked = gather_gains([example_scores()], [[Window(*EXAMPLE["windows"][0])]], PROFILES[name])
    for threshold, expected in EXAMPLE["normalised"].items():
        assert score_at(ranked, float(threshold)) == pytest.approx(expected[name], abs=1e-3)
    assert best_threshold(ranked) == pytest.approx((0.9, EXAMPLE["normalised"]["0.9"][name]), abs=1e-3)


@pytest.mark.parametrize("name", PROFILES)
def test_nothing_is_0_and_the_perfect_detector_100(name):
    perfect = [perfect_scores(rows, windows) for rows, windows in zip(ROWS, WINDOWS, strict=True)]
    assert best_threshold(gather_gains(perfect, WINDOWS, PROFILES[name])) == (1.0, 100.0)
    for nothing in (np.nan, 0.0):
        ranked = gather_gains([np.full(rows, nothing) for rows in ROWS], WINDOWS, PROFILES[name])
        assert best_threshold(ranked) == (math.inf, 0.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", PROFILES)
def test_scores_at_every_threshold_and_the_best_equal_those_of_plain_loops(name, seed):
    scores, profile = random_scores(seed), PROFILES[name]
    ranked = gather_gains(scores, WINDOWS, profile)
    thresholds = sorted({float(score) for of_file in scores for score in of_file[np.isfinite(of_file)]})
    plain = [plain_normalised(scores, WINDOWS, profile, threshold) for threshold in thresholds]
    assert [score_at(ranked, threshold) for threshold in thresholds] == pytest.approx(plain)
    assert best_threshold(ranked).score == pytest.approx(max(0.0, *plain))


def test_a_file_that_counts_twice_is_as_that_file_twice():
    scores, profile = random_scores(9), PROFILES["standard"]
    twice = gather_gains([*scores, scores[1]], [*WINDOWS, WINDOWS[1]], profile)
    weighted = best_threshold(gather_gains(scores, WINDOWS, profile), np.array([1.0, 2.0, 1.0]))
    assert weighted == pytest.approx(best_threshold(twice))


def test_probation_is_15_percent_and_at_most_750_rows():
    assert [probation_rows(rows) for rows in (40, 1_243, 4_032, 5_000, 22_695)] == [6, 186, 604, 750, 750]
