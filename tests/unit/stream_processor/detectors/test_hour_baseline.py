"""The baseline of the hour: a daily cycle is usual, its absence is not."""

from __future__ import annotations

import numpy as np
import pytest

from stream_processor.detectors.contract import Batch, to_sigma
from stream_processor.detectors.ewma_z import EwmaZ
from stream_processor.detectors.hour_baseline import HourBaseline

SECOND_NS = 1_000_000_000
DAY_S = 86_400
START_NS = 20_000 * DAY_S * SECOND_NS
STEP_S = 300
NOISE = 0.5
RESOLUTION = 0.05


def batch_of(seconds, value, row=0):
    time_ns = START_NS + round(seconds * SECOND_NS)
    return Batch(np.array([row]), np.array([time_ns]), np.array([float(value)]), np.array([RESOLUTION]))


def usual(seconds):
    """What the day does: 20 at midnight, 30 at noon."""
    return 25.0 - 5.0 * np.cos(2 * np.pi * seconds / DAY_S)


def taught(days=20, offset=0.0, step_s=STEP_S, detector=None):
    detector = detector or HourBaseline()
    detector.grow(2)
    random = np.random.default_rng(1)
    seconds = np.arange(0, days * DAY_S, step_s)
    values = offset + usual(seconds) + random.normal(0.0, NOISE, len(seconds))
    scores = [detector.score_and_learn(batch_of(*each))[0] for each in zip(seconds, values, strict=True)]
    return detector, np.array(scores)


def sigma_at(detector, seconds, value):
    return to_sigma(float(detector.score(batch_of(seconds, value))[0]))


def test_noon_at_night_is_strange_where_the_mean_of_the_last_readings_says_nothing():
    detector, scores = taught()
    settled = scores[15 * DAY_S // STEP_S :]
    assert (settled >= 0.5).mean() < 0.005
    night = 20 * DAY_S + 3 * 3_600
    assert sigma_at(detector, night, usual(3 * 3_600)) < 1.0
    assert sigma_at(detector, night, 30.0) > 8.0
    assert sigma_at(detector, 20 * DAY_S + 12 * 3_600, 30.0) < 1.5


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_it_follows_the_curve_between_the_hours(offset):
    detector, _ = taught(days=30, offset=offset)
    for hour in np.arange(0.0, 24.0, 0.37):
        at = 30 * DAY_S + hour * 3_600
        expected = offset + usual(hour * 3_600)
        assert sigma_at(detector, at, expected) < 1.0
        assert sigma_at(detector, at, expected + 10 * NOISE) == pytest.approx(10.0, abs=2.0)


def test_a_day_of_readings_a_second_apart_is_one_day_and_no_warm_up():
    detector = HourBaseline()
    detector.grow(1)
    for second in range(0, 6 * 3_600, 7):
        detector.learn(batch_of(second, usual(second)))
    assert np.isnan(detector.score(batch_of(DAY_S + 3 * 3_600, 20.0))).all()


def test_a_channel_that_is_read_once_an_hour_has_scores_after_two_weeks():
    _, scores = taught(days=40, step_s=3_600)
    assert np.isnan(scores[: 10 * 24]).all()
    assert np.isfinite(scores[16 * 24 :]).all()
    assert (scores[20 * 24 :] >= 0.5).mean() < 0.03


def test_midnight_belongs_to_the_hours_before_and_after_it():
    detector, _ = taught()
    assert sigma_at(detector, 20 * DAY_S - 1, usual(0.0)) < 1.0
    assert sigma_at(detector, 20 * DAY_S + 1, usual(0.0)) < 1.0


def test_ewma_z_scores_the_cycle_itself_low_and_does_not_see_the_strange_night():
    """Why there is a baseline: a cycle that is longer than its memory widens what EWMA z takes for usual."""
    detector, _ = taught(detector=EwmaZ())
    base, _ = taught()
    night = 20 * DAY_S + 60
    assert sigma_at(detector, night, 22.5) < sigma_at(base, night, 22.5)


def test_it_says_what_is_usual_at_which_time():
    detector, _ = taught()
    known, cold = detector.explain(
        Batch(
            np.array([0, 1]),
            np.full(2, START_NS + (20 * DAY_S + 3 * 3_600 + 20 * 60) * SECOND_NS),
            np.array([30.0, 30.0]),
            np.full(2, RESOLUTION),
        ),
        ["°C", "°C"],
    )
    assert known.text.startswith(f"{known.sigma:.1f} sigma above the 21.")
    assert known.text.endswith(" °C usual at 03:20 UTC")
    assert cold.text == "warming up: too few days seen at 03:20 UTC"
