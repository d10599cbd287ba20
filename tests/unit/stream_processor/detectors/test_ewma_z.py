"""EWMA z against its formula in a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_processor.detectors.contract import Batch, to_score
from stream_processor.detectors.ewma_z import ALPHA, CLIP_SIGMA, WARM_UP_READINGS, EwmaZ

RESOLUTION = 0.1


def feed(detector, values):
    one = np.array([RESOLUTION])
    return [
        float(detector.score_and_learn(Batch(np.array([0]), np.array([at]), np.array([value]), one))[0])
        for at, value in enumerate(values)
    ]


@pytest.mark.parametrize("level", [3.0, 1e9])
def test_it_equals_the_formula_in_a_plain_loop(level):
    values = np.random.default_rng(5).normal(level, 2, 400)
    values[200] += 60.0
    detector = EwmaZ()
    detector.grow(1)
    scores = feed(detector, values)
    mean = variance = 0.0
    for count, value in enumerate(values):
        sigma = math.sqrt(variance + RESOLUTION**2)
        deviation = value - mean
        if count < WARM_UP_READINGS:
            assert math.isnan(scores[count])
        else:
            assert scores[count] == pytest.approx(to_score(abs(deviation) / sigma), abs=1e-6)
            deviation = max(-CLIP_SIGMA * sigma, min(CLIP_SIGMA * sigma, deviation))
        weight = max(ALPHA, 1 / (count + 1))
        mean += weight * deviation
        variance = (1 - weight) * (variance + weight * deviation**2)


def test_it_says_how_far_on_which_side_of_what():
    detector = EwmaZ()
    detector.grow(2)
    feed(detector, np.tile([9.0, 11.0], 100))
    batch = Batch(np.array([0, 0, 1]), np.zeros(3, np.int64), np.array([20.0, 0.0, 1.0]), np.full(3, RESOLUTION))
    assert [each.text for each in detector.explain(batch, ["°C", "°C", "ppm"])] == [
        "9.9 sigma above the recent mean 10.0096 °C",
        "10.0 sigma below the recent mean 10.0096 °C",
        "warming up: 0 of 30 readings seen",
    ]
