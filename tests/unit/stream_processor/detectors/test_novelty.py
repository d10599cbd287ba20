"""Novelty against plain loops, and what it says. The laws are in test_conformance."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from stream_processor.detectors import novelty
from stream_processor.detectors.contract import Batch, to_score
from stream_processor.detectors.novelty import SIGMA, WARM_UP_READINGS, Novelty
from stream_processor.detectors.seen_values import MEMORY_ALPHA, REACH, SeenValues

RESOLUTION = 1 / 128


def feed(detector, values, resolution=RESOLUTION):
    detector.grow(1)
    return np.array([detector.score_and_learn(reading(value, at, resolution))[0] for at, value in enumerate(values)])


def reading(value, second=0, resolution=RESOLUTION):
    return Batch(np.array([0]), np.array([second * 10**9]), np.array([float(value)]), np.array([resolution]))


def plain_scores(values, remembered):
    """The formulas of the module in plain loops."""
    seen, gap, low, high, mean, scores = [], 0.0, values[0], values[0], 0.0, []
    for count, value in enumerate(values):
        nearest = min((abs(value - each) for each in seen), default=math.inf)
        width = max(high - low, 10 * RESOLUTION)
        new = 0.0 if count == 0 or nearest <= 2 * gap else max(nearest - 2 * RESOLUTION, 0.0)
        sigma = SIGMA * new / math.sqrt(width * max(mean, RESOLUTION))
        scores.append(to_score(sigma) if count >= WARM_UP_READINGS else math.nan)
        mean += max(1 / (count + 1), float(MEMORY_ALPHA)) * (min(new, width) - mean)
        reach = float(REACH) * width
        low, high = min(low, max(value, low - reach)), max(high, min(value, high + reach))
        if nearest > gap:
            seen = sorted([*seen, value])
            if len(seen) > remembered:
                seen, gap = without_the_closest(seen)
    return scores


def without_the_closest(seen):
    gaps = [right - left for left, right in itertools.pairwise(seen)]
    at = gaps.index(min(gaps))
    is_last, is_first = at == len(gaps) - 1, at == 0
    if not (is_last or (not is_first and gaps[at - 1] < gaps[at + 1])):
        at += 1
    kept = seen[:at] + seen[at + 1 :]
    return kept, min(right - left for left, right in itertools.pairwise(kept))


@pytest.mark.parametrize("remembered", [8, 32])
def test_scores_equal_the_formula_in_plain_loops(monkeypatch, remembered):
    monkeypatch.setattr(novelty, "REMEMBERED", remembered)
    random = np.random.default_rng(5)
    values = np.round(random.normal(20, 4, 1_500) * 64) / 64  # exact as float32, so that no tie falls otherwise
    values[700], values[1_200] = 90.0, -4_000.0
    np.testing.assert_allclose(feed(Novelty(), values), plain_scores(list(values), remembered), rtol=2e-4, atol=1e-6)


def test_what_was_seen_once_is_not_new_again():
    values = np.random.default_rng(1).normal(20, 1, 500)
    detector = Novelty()
    assert feed(detector, [*values, 40.0, 20.0, 40.0])[-3:].round(2).tolist() == [pytest.approx(0.9, abs=0.09), 0, 0]


def test_a_gap_between_two_regimes_is_new_though_it_is_within_the_range():
    random = np.random.default_rng(2)
    regimes = np.where(random.random(2_000) < 0.5, 10.0, 50.0) + random.normal(0, 1, 2_000)
    assert feed(Novelty(), [*regimes, 30.0])[-1] > 0.8


def test_it_says_what_the_nearest_value_was():
    detector = Novelty()
    feed(detector, [*np.linspace(300.0, 367.0, 200), *np.linspace(300.0, 367.0, 200)])
    (explanation,) = detector.explain(reading(412.0), ["µε"])
    assert explanation.text.startswith("nearest seen before 367 µε (")
    assert to_score(explanation.sigma) == pytest.approx(detector.score(reading(412.0))[0])


def test_large_values_with_small_steps_keep_their_resolution():
    """A counter near 1e9 in steps of 1: float32 alone would know it to 64."""
    random = np.random.default_rng(3)
    values = 1e9 + random.integers(0, 20, 500)
    assert feed(Novelty(), [*values, 1e9 + 60], resolution=0.5)[-1] > 0.7


def test_the_nearest_value_is_the_same_for_many_readings_at_once_as_for_few():
    """Bisection against a look at all values: ties, values twice over, free places, values beyond both ends."""
    random, count = np.random.default_rng(8), 500
    seen = SeenValues(128)
    seen.grow(count)
    seen.values[:] = np.sort(random.integers(-40, 40, seen.values.shape) / np.float32(4), axis=1)
    free = np.arange(128) >= random.choice([0, 1, 2, 64, 127, 128], count)[:, np.newaxis]
    seen.values[free] = np.inf
    rows = random.permutation(count)
    values = (random.integers(-100, 100, count) / np.float32(8)).astype(np.float32)
    resolutions = np.full(count, np.float32(0.01))
    seen.heads[:, 0] = 5.0  # readings before: so that what is new counts
    together = seen.compare(rows, values, resolutions)
    one_by_one = [seen.compare(rows[at : at + 1], values[at : at + 1], resolutions[:1]) for at in range(count)]
    expected = np.concatenate([each.ratio for each in one_by_one])
    assert together.ratio.tobytes() == expected.tobytes()
    assert np.isfinite(expected).sum() > count // 2
