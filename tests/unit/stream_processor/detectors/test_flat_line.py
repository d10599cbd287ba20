"""Flat line: runs against what the channel usually does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_processor.detectors.contract import Batch, to_sigma
from stream_processor.detectors.flat_line import QUIET_READINGS, FlatLine

RESOLUTION = 0.05


def feed(detector, values):
    """One channel's scores."""
    rows, times_ns, resolution = np.zeros(1, np.intp), np.zeros(1, np.int64), np.array([RESOLUTION])
    return np.array([detector.score_and_learn(Batch(rows, times_ns, np.array([x]), resolution))[0] for x in values])


def started():
    detector = FlatLine()
    detector.grow(1)
    return detector


def steps(lengths):
    """A value that rests for so many readings each time."""
    return np.repeat(np.arange(len(lengths)) % 7, lengths).astype(float)


def test_a_noisy_channel_that_freezes_is_told_within_ten_readings_and_for_as_long_as_it_lasts():
    detector = started()
    feed(detector, np.random.default_rng(1).normal(20.0, 1.0, 500))
    scores = feed(detector, np.full(50_000, 19.0))
    first = int(np.argmax(scores >= 0.5))
    assert QUIET_READINGS <= first <= 10
    assert (np.diff(scores) >= 0.0).all()
    assert scores[-1] > 0.95
    assert feed(detector, [20.0, 21.0])[-1] == 0.0


def test_a_channel_that_rests_for_hundreds_of_readings_is_told_only_beyond_what_it_does():
    lengths = np.random.default_rng(2).geometric(1 / 100, 400)
    detector = started()
    scores = feed(detector, steps(lengths))
    settled = scores[len(scores) // 2 :]
    assert (settled >= 0.5).mean() < 0.02
    longest = feed(detector, np.full(3_000, 100.0))
    assert 200 < int(np.argmax(longest >= 0.5)) < 2_000


def test_one_very_long_run_is_not_what_is_usual_from_then_on():
    detector = started()
    feed(detector, np.random.default_rng(1).normal(20.0, 1.0, 500))
    feed(detector, np.full(10_000, 19.0))
    feed(detector, np.random.default_rng(3).normal(20.0, 1.0, 20))
    assert feed(detector, np.full(20, 19.0))[-1] >= 0.5


def test_drift_by_less_than_the_resolution_a_reading_is_motion():
    detector = started()
    feed(detector, np.random.default_rng(1).normal(20.0, 1.0, 500))
    assert feed(detector, 20.0 + np.arange(300) * 0.04).max() < 0.4


def test_a_channel_that_has_never_moved_has_no_score():
    assert np.isnan(feed(started(), np.full(5_000, 7.0))).all()


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0])
def test_a_distance_is_as_rare_as_the_tails_of_the_normal_distribution(sigma):
    """Against math.erfc: a run of n readings has the rarity 100^-(n/q), and q here is the quiet one."""
    rarity = -math.log(math.erfc(sigma / math.sqrt(2.0)))
    detector = started()
    feed(detector, np.arange(150.0))
    run = max(1, round(rarity * QUIET_READINGS / math.log(100.0)))
    scores = feed(detector, np.full(run + 1, 200.0))
    exact = -math.log(math.erfc(to_sigma(float(scores[-1])) / math.sqrt(2.0)))
    assert exact == pytest.approx(run * math.log(100.0) / QUIET_READINGS, rel=0.25)
    assert sigma < 2.0 or to_sigma(float(scores[-1])) == pytest.approx(sigma, abs=0.4)


def test_it_says_for_how_long_and_what_is_usual():
    detector = started()
    feed(detector, np.random.default_rng(1).normal(20.0, 1.0, 500))
    feed(detector, np.full(20, 19.0))
    batch = Batch(np.zeros(1, np.intp), np.zeros(1, np.int64), np.array([19.0]), np.array([RESOLUTION]))
    (said,) = detector.explain(batch, ["°C"])
    assert said.text == "unmoved near 19 °C for 20 readings, usually for 5 at most"
