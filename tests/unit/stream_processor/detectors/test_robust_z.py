"""Robust z against the exact median and median absolute deviation, and what half of its readings cannot do to it."""

from __future__ import annotations

import numpy as np
import pytest

from stream_processor.detectors.contract import Batch, to_sigma
from stream_processor.detectors.robust_z import SIGMA_OF_DEVIATION, RobustZ

RESOLUTION = 0.01


def feed(detector, values):
    """One channel's scores."""
    ones = np.ones(1)
    rows, times_ns = np.zeros(1, np.intp), np.zeros(1, np.int64)
    return np.array([detector.score_and_learn(Batch(rows, times_ns, ones * x, ones * RESOLUTION))[0] for x in values])


def started():
    detector = RobustZ()
    detector.grow(1)
    return detector


def distance(detector, value):
    batch = Batch(np.zeros(1, np.intp), np.zeros(1, np.int64), np.array([value]), np.array([RESOLUTION]))
    return to_sigma(float(detector.score(batch)[0]))


@pytest.mark.parametrize(
    "draw",
    [
        lambda random: random.normal(50.0, 4.0, 4_000),
        lambda random: random.laplace(-3.0, 0.5, 4_000),
        lambda random: random.uniform(1e6, 1e6 + 10, 4_000),
        lambda random: random.exponential(2.0, 4_000),
    ],
    ids=["normal", "laplace", "uniform far from 0", "exponential"],
)
def test_it_finds_median_and_deviation_of_any_distribution(draw):
    values = draw(np.random.default_rng(1))
    median = np.median(values)
    sigma = SIGMA_OF_DEVIATION * np.median(np.abs(values - median))
    far = median + 10 * sigma
    found = []
    detector = started()
    for part in np.split(values, 40):
        feed(detector, part)
        found.append(distance(detector, far))
    assert np.mean(found[5:]) == pytest.approx(10.0, rel=0.15)


def test_two_in_five_wrong_readings_do_not_move_it_by_two_sigma():
    random = np.random.default_rng(2)
    values = random.normal(10.0, 1.0, 4_000)
    values[random.random(4_000) < 0.4] = 500.0
    detector = started()
    feed(detector, values)
    assert distance(detector, 10.0) < 2.0
    assert distance(detector, 500.0) > 50.0


def test_a_step_is_told_for_long_and_learnt_in_the_end():
    random = np.random.default_rng(3)
    detector = started()
    feed(detector, random.normal(10.0, 1.0, 1_000))
    scores = feed(detector, random.normal(30.0, 1.0, 2_000))
    assert (scores[:40] >= 0.5).all()
    assert (scores[500:] >= 0.5).mean() < 0.02


def test_it_says_how_far_on_which_side_of_what():
    detector = started()
    feed(detector, np.tile([9.0, 11.0], 200))
    batch = Batch(np.zeros(1, np.intp), np.zeros(1, np.int64), np.array([0.0]), np.array([RESOLUTION]))
    (said,) = detector.explain(batch, ["µε"])
    assert said.text.startswith(f"{said.sigma:.1f} robust sigma below the recent median ")
    assert said.text.endswith(" µε")
