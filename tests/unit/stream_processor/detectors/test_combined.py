"""What the combined score says, and when it is silent. The laws are in test_conformance."""

from __future__ import annotations

import numpy as np
import pytest

from stream_processor.detectors.combined import HOLD_READINGS, Combined
from stream_processor.detectors.contract import Batch
from stream_processor.detectors.novelty import Novelty

HOUR_S = 3_600
HOLD = int(HOLD_READINGS)


def feed(detector, values, interval_s=1, first_s=0):
    detector.grow(1)
    return np.array(
        [detector.score_and_learn(reading(value, first_s + at * interval_s))[0] for at, value in enumerate(values)]
    )


def reading(value, second=0):
    return Batch(np.array([0]), np.array([second * 10**9]), np.array([float(value)]), np.array([0.05]))


def noise(count, seed=1):
    return np.random.default_rng(seed).normal(20.0, 1.0, count)


def test_an_event_is_said_once_and_something_worse_again():
    detector = Combined()
    feed(detector, noise(2_000))
    level = 40.0 + np.zeros(HOLD // 2)
    scores = feed(detector, [*level, 200.0, *level])
    assert scores[0] > 0.8
    assert scores[1 : HOLD // 2].max() < 0.5
    assert scores[HOLD // 2] > 0.8
    assert scores[HOLD // 2 + 1 :].max() < 0.5


def test_a_channel_that_says_much_must_be_more_unusual_to_be_heard():
    calm, lively = Combined(), Combined()
    feed(calm, noise(3_000))
    feed(lively, noise(3_000))
    for spike in (60.0, 100.0, 140.0, 180.0):
        feed(lively, [spike, *noise(2 * HOLD)])
        feed(calm, [20.0, *noise(2 * HOLD)])
    assert feed(lively, [300.0])[0] < feed(calm, [300.0])[0]


def test_a_day_that_does_not_come_is_seen_though_every_value_was_seen_before():
    hours = np.arange(6 * 7 * 24)
    values = np.where((hours % 24 >= 8) & (hours % 24 < 16), 30.0, 20.0)
    values = values + np.random.default_rng(2).normal(0, 0.3, len(values))
    missing = 5 * 7 * 24 + 3 * 24 + np.arange(8, 16)
    values[missing] = 20.0
    assert feed(Combined(), values, HOUR_S)[missing].max() >= 0.5
    assert np.nan_to_num(feed(Novelty(), values, HOUR_S)[missing]).max() < 0.1


def test_a_changed_texture_is_seen_though_every_value_was_seen_before():
    """A slow wave whose noise grows tenfold, within its range."""
    count = 4_000
    values = 20 + 5 * np.sin(np.arange(count) / 50) + np.random.default_rng(3).normal(0, 0.05, count)
    values[3_500:3_530] = 20 + np.tile([4.0, -4.0], 15)
    detector = Combined()
    assert feed(detector, values)[3_500:3_530].max() >= 0.5
    assert np.nan_to_num(feed(Novelty(), values))[3_500:3_530].max() < 0.5


@pytest.mark.parametrize(("value", "words"), [(90.0, "nearest seen before 2"), (20.0, "")])
def test_it_says_which_look_is_unusual_and_what_it_saw_before(value, words):
    detector = Combined()
    feed(detector, noise(2_000))
    (explanation,) = detector.explain(reading(value, 2_000), ["µε"])
    assert words in explanation.text
    assert "µε" in explanation.text
    assert (explanation.sigma > 3.0) == (value > 50)
