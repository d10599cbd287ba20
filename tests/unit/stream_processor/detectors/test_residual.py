"""The residual against plain loops, and what it is for. The laws are in test_conformance."""

from __future__ import annotations

import math

import numpy as np

from stream_processor.detectors.autoregression import MEAN_ALPHA, ORDER, STEP
from stream_processor.detectors.contract import Batch, to_score
from stream_processor.detectors.novelty import Novelty
from stream_processor.detectors.residual import (
    CLIP_SIGMA,
    REACH,
    SCALE_ALPHA,
    TAIL_RATIO,
    TAIL_STEP,
    WARM_UP_READINGS,
    Residual,
)

RESOLUTION = 0.01


def feed(detector, values):
    detector.grow(1)
    return np.array([detector.score_and_learn(reading(value, at))[0] for at, value in enumerate(values)])


def reading(value, second=0):
    return Batch(np.array([0]), np.array([second * 10**9]), np.array([float(value)]), np.array([RESOLUTION]))


def plain_scores(values):
    """The formulas of the modules in plain loops, from the first value as origin."""
    weights, history, mean = [1.0] + [0.0] * (ORDER - 1), [0.0] * ORDER, 0.0
    low = high = magnitude = square = 0.0
    tail, scores = 3.0, []
    for count, each in enumerate(values):
        value = each - values[0]
        reach = float(REACH) * max(high - low, 10 * RESOLUTION)
        limited = min(max(value, low - reach), high + reach)
        centred = [past - mean for past in history]
        predicted = mean + sum(weight * past for weight, past in zip(weights, centred, strict=True))
        sigma = math.sqrt(max(math.pi / 2 * magnitude**2, square) + RESOLUTION**2)
        error = abs(value - predicted) / sigma
        is_warm = count >= WARM_UP_READINGS
        scores.append(to_score(error * 3.0 / tail) if is_warm else math.nan)
        if is_warm:
            fall = 1 - TAIL_STEP * TAIL_RATIO / (1 - TAIL_RATIO)
            tail = max(tail * (1 + TAIL_STEP if error > tail else fall), 3.0)
        usual = abs(limited - predicted)
        usual = min(usual, float(CLIP_SIGMA) * sigma) if is_warm else usual
        weight = max(1 / (count + 1), float(SCALE_ALPHA))
        magnitude += weight * (usual - magnitude)
        square += weight * (usual**2 - square)
        low, high = min(low, limited), max(high, limited)
        if count >= ORDER:
            step = float(STEP) * (limited - predicted) / (sum(past**2 for past in centred) + RESOLUTION**2)
            weights = [weight + step * past for weight, past in zip(weights, centred, strict=True)]
        history = [limited, *history[:-1]]
        mean += max(1 / (count + 1), float(MEAN_ALPHA)) * (limited - mean)
    return scores


def test_scores_equal_the_formulas_in_plain_loops():
    values = 20 + np.sin(np.arange(600) / 5) + np.random.default_rng(4).normal(0, 0.3, 600)
    values[300], values[450] = 60.0, 1e9
    np.testing.assert_allclose(feed(Residual(), values), plain_scores(list(values)), rtol=2e-2, atol=2e-3)


def test_a_missing_beat_is_seen_though_novelty_sees_nothing():
    beat = np.tile([0.0] * 9 + [10.0], 200) + np.random.default_rng(1).normal(0, 0.2, 2_000)
    beat[1_979] = 0.0
    assert feed(Residual(), beat)[1_979] > 0.8
    assert feed(Novelty(), beat)[1_979] < 0.1


def test_one_reading_in_1000_is_beyond_half_however_heavy_the_tails():
    values = np.random.default_rng(2).standard_t(1.5, 30_000)
    beyond = feed(Residual(), values)[5_000:] >= 0.5
    assert 0.0005 < beyond.mean() < 0.002


def test_it_says_what_was_predicted():
    detector = Residual()
    feed(detector, 20 + np.random.default_rng(3).normal(0, 0.1, 500))
    (explanation,) = detector.explain(reading(30.0), ["°C"])
    assert explanation.text.startswith("predicted 20")
    assert explanation.text.endswith(f"°C, residual {explanation.sigma:.1f} sigma")
