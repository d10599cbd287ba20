"""Laws for every detector, and EWMA z against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_processor.detectors import DETECTORS
from stream_processor.detectors.contract import occurrence_rounds
from stream_processor.detectors.ewma_z import ALPHA, CLIP_SIGMA, WARM_UP_READINGS, EwmaZ


def feed(detector, rows, values, resolution=0.05):
    rows = np.asarray(rows, dtype=np.intp)
    return detector.score_and_learn(rows, np.asarray(values, dtype=float), np.full(len(rows), resolution))


@pytest.fixture(params=sorted(DETECTORS))
def build(request):
    def make(channels=5):
        detector = DETECTORS[request.param]()
        detector.grow(channels)
        return detector

    return make


def traffic(count=2_000, channels=5, seed=1):
    random = np.random.default_rng(seed)
    return random.integers(0, channels, count), random.normal(10.0, 2.0, count)


def test_a_batch_of_n_equals_n_batches_of_one(build):
    rows, values = traffic()
    together, apart = build(), build()
    whole = feed(together, rows, values)
    parts = np.concatenate([feed(apart, [row], [value]) for row, value in zip(rows, values, strict=True)])
    np.testing.assert_array_equal(whole, parts)
    assert together.snapshot() == apart.snapshot()


def test_restore_continues_bit_for_bit(build):
    rows, values = traffic()
    first = build()
    feed(first, rows[:1_000], values[:1_000])
    second = build(0)
    second.restore(first.snapshot())
    np.testing.assert_array_equal(feed(first, rows[1_000:], values[1_000:]), feed(second, rows[1_000:], values[1_000:]))


def test_restore_refuses_what_is_no_snapshot(build):
    with pytest.raises(ValueError, match=r"."):
        build().restore(b"not a snapshot")


def test_a_flat_line_with_resolution_noise_does_not_alarm(build):
    random = np.random.default_rng(3)
    scores = feed(build(1), np.zeros(5_000, dtype=int), np.round(20.0 + random.normal(0, 0.01, 5_000), 1), 0.05)
    assert np.nanmax(np.abs(scores)) < 4.0


def test_one_huge_spike_does_not_blind_it(build):
    random = np.random.default_rng(3)
    detector = build(1)
    values = random.normal(10, 1, 500)
    values[300] = 1e9
    scores = feed(detector, np.zeros(500, dtype=int), values)
    assert scores[300] > 1_000
    assert np.abs(scores[310:]).max() < 8.0
    assert feed(detector, [0], [60.0])[0] > 8.0


def test_it_says_nothing_in_warm_up_and_something_after(build):
    scores = feed(build(1), np.zeros(WARM_UP_READINGS + 1, dtype=int), np.arange(WARM_UP_READINGS + 1.0))
    assert np.isnan(scores[:-1]).all()
    assert math.isfinite(scores[-1])


def test_new_channels_leave_the_old_ones_as_they_are(build):
    rows, values = traffic()
    grown, fixed = build(5), build(9)
    feed(grown, rows[:500], values[:500])
    feed(fixed, rows[:500], values[:500])
    grown.grow(9)
    np.testing.assert_array_equal(feed(grown, rows[500:], values[500:]), feed(fixed, rows[500:], values[500:]))


def test_ewma_z_equals_the_formula_in_a_plain_loop():
    values = np.random.default_rng(5).normal(3, 2, 400)
    values[200] = 60.0
    scores = feed(EwmaZ_of(1), np.zeros(400, dtype=int), values, 0.1)
    mean = variance = 0.0
    for count, value in enumerate(values):
        sigma = math.sqrt(variance + 0.01)
        deviation = value - mean
        if count < WARM_UP_READINGS:
            assert math.isnan(scores[count])
        else:
            assert scores[count] == pytest.approx(deviation / sigma)
            deviation = max(-CLIP_SIGMA * sigma, min(CLIP_SIGMA * sigma, deviation))
        weight = max(ALPHA, 1 / (count + 1))
        mean += weight * deviation
        variance = (1 - weight) * (variance + weight * deviation**2)


def test_rounds_hold_each_channel_once_and_keep_the_order_of_arrival():
    rows = np.array([3, 1, 3, 3, 1, 2])
    rounds = [chunk.tolist() for chunk in occurrence_rounds(rows)]
    assert [sorted(chunk) for chunk in rounds] == [[0, 1, 5], [2, 4], [3]]
    assert list(occurrence_rounds(np.zeros(0, dtype=np.intp))) == []


def EwmaZ_of(channels):  # noqa: N802
    detector = EwmaZ()
    detector.grow(channels)
    return detector
