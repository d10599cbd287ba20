"""Laws for every detector, and EWMA z against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_processor.detectors import DETECTORS
from stream_processor.detectors.contract import split_rounds
from stream_processor.detectors.ewma_z import ALPHA, CLIP_SIGMA, WARM_UP_READINGS, EwmaZ


def feed(detector, rows, values, resolution=0.05):
    rows, values = np.asarray(rows, dtype=np.intp), np.asarray(values, dtype=float)
    scores = np.empty(len(rows))
    for each in split_rounds(rows, np.zeros(len(rows), dtype=bool)):
        at = each.live
        scores[at] = detector.score_and_learn(rows[at], values[at], np.full(len(at), resolution))
    return scores


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


def test_score_says_what_score_and_learn_says_and_learns_nothing(build):
    rows, values = traffic()
    detector = build()
    feed(detector, rows[:1_000], values[:1_000])
    before = detector.snapshot()
    channels, next_values = np.arange(5), np.linspace(0.0, 30.0, 5)
    scores = detector.score(channels, next_values, np.full(5, 0.05))
    assert detector.snapshot() == before
    np.testing.assert_array_equal(scores, feed(detector, channels, next_values))


def test_learn_learns_what_score_and_learn_learns(build):
    rows, values = traffic(1_000)
    learning, scoring = build(), build()
    feed(scoring, rows, values)
    for each in split_rounds(rows, np.zeros(len(rows), dtype=bool)):
        learning.learn(rows[each.live], values[each.live], np.full(len(each.live), 0.05))
    assert learning.snapshot() == scoring.snapshot()


def test_rounds_hold_each_live_channel_once_and_keep_the_order_of_arrival():
    rows = np.array([3, 1, 3, 3, 1, 2])
    rounds = [each.live.tolist() for each in split_rounds(rows, np.zeros(6, dtype=bool))]
    assert [sorted(chunk) for chunk in rounds] == [[0, 1, 5], [2, 4], [3]]
    assert list(split_rounds(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=bool))) == []


def test_rounds_are_the_same_for_rows_beyond_sixteen_bits():
    rows, _ = traffic(500, channels=40)
    is_history = np.random.default_rng(2).random(500) < 0.1
    low, high = (
        [(each.live.tolist(), each.history.tolist()) for each in split_rounds(shifted, is_history)]
        for shifted in (rows, rows * 70_000)
    )
    assert low == high


def test_history_stands_in_the_round_of_the_live_reading_after_it():
    rows = np.array([3, 3, 3, 1, 3, 3])
    is_history = np.array([True, False, True, True, False, True])
    rounds = [(each.live.tolist(), sorted(each.history.tolist())) for each in split_rounds(rows, is_history)]
    assert rounds == [([1], [0, 3]), ([4], [2]), ([], [5])]


def EwmaZ_of(channels):  # noqa: N802
    detector = EwmaZ()
    detector.grow(channels)
    return detector
