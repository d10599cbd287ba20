"""Rate of change: against its formula, and with the times that a field has."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_processor.detectors.contract import Batch, to_score
from stream_processor.detectors.rate_of_change import ALPHA, CLIP_SIGMA, WARM_UP_READINGS, RateOfChange

SECOND_NS = 1_000_000_000
START_NS = 1_761_955_200 * SECOND_NS
RESOLUTION = 0.1


def feed(detector, seconds, values):
    """One channel's scores."""
    rows, resolution = np.zeros(1, np.intp), np.array([RESOLUTION])
    return np.array(
        [
            detector.score_and_learn(
                Batch(rows, np.array([START_NS + round(at * SECOND_NS)]), np.array([value]), resolution)
            )[0]
            for at, value in zip(seconds, values, strict=True)
        ]
    )


def started():
    detector = RateOfChange()
    detector.grow(1)
    return detector


def test_it_equals_the_formula_in_a_plain_loop():
    values = np.random.default_rng(5).normal(3.0, 2.0, 300)
    values[200] = 60.0
    seconds = np.arange(300) * 10.0
    scores = feed(started(), seconds, values)
    variance = 0.0
    for count in range(1, 300):
        rate = abs(values[count] - values[count - 1]) / 10.0
        sigma = math.sqrt(variance + (RESOLUTION / 10.0) ** 2)
        if count < WARM_UP_READINGS:
            assert math.isnan(scores[count])
        else:
            assert scores[count] == pytest.approx(to_score(rate / sigma), abs=1e-6)
            rate = min(rate, CLIP_SIGMA * sigma)
        weight = max(ALPHA, 1 / count)
        variance += weight * (rate**2 - variance)


def test_the_same_jump_is_stranger_the_faster_it_is():
    noise = np.random.default_rng(1).normal(20.0, 0.5, 300)
    slow, fast = started(), started()
    for detector in (slow, fast):
        feed(detector, np.arange(300) * 10.0, noise)
    assert feed(fast, [3_000.0], [30.0])[0] > 0.7
    assert feed(slow, [3_000.0 + 300.0], [30.0])[0] < 0.4


def test_a_delayed_reading_a_millisecond_before_the_next_is_no_jump():
    random = np.random.default_rng(1)
    seconds = np.arange(400) * 10.0
    seconds[300:390:9] += 9.999
    scores = feed(started(), seconds, random.normal(20.0, 0.5, 400))
    assert np.nanmax(scores[300:]) < to_score(6.0)


def test_a_step_by_one_digit_after_hours_of_rest_is_none():
    values = np.full(5_000, 20.0)
    values[4_000:] = 20.2
    scores = feed(started(), np.arange(5_000.0), values)
    assert np.nanmax(scores) < to_score(3.0)


def test_it_says_how_fast_and_what_is_usual():
    detector = started()
    feed(detector, np.arange(300) * 10.0, np.tile([20.0, 21.0], 150))
    batch = Batch(
        np.zeros(1, np.intp), np.array([START_NS + 3_000 * SECOND_NS]), np.array([31.0]), np.array([RESOLUTION])
    )
    (said,) = detector.explain(batch, ["°C"])
    assert said.text == "moved 1 °C/s within 10 s, usually 0.1 °C/s"
    assert said.sigma == pytest.approx(10.0, rel=0.02)
