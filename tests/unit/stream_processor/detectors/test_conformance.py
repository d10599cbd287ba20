"""The laws of `stream_processor.detectors.contract`, for every line of `DETECTORS`."""

from __future__ import annotations

import itertools
import math
import time
import tracemalloc

import numpy as np
import pytest

from stream_processor.detectors import DETECTORS
from stream_processor.detectors.contract import VALUE_MAX, Batch, split_rounds, to_score, to_sigma
from stream_processor.detectors.detector_snapshot import encode_snapshot

SECOND_NS = 1_000_000_000
START_NS = 1_761_955_200 * SECOND_NS
INTERVAL_S = 600
"""Between two readings of a batch: thousands of them are months, so that a daily cycle is learnt too."""
RESOLUTION = 0.05
COST_GUARD = 4.0
"""A loaded machine of another year may take this much longer than declared."""
LEVEL, SIGMA = 10.0, 2.0


@pytest.fixture(params=sorted(DETECTORS))
def kind(request):
    return DETECTORS[request.param]


@pytest.fixture
def build(kind):
    def make(channels=5):
        detector = kind()
        detector.grow(channels)
        return detector

    return make


def batch_of(rows, steps, values, resolution=RESOLUTION):
    rows, values = np.asarray(rows, dtype=np.intp), np.asarray(values, dtype=np.float64)
    times_ns = START_NS + (np.broadcast_to(steps, rows.shape) * INTERVAL_S * SECOND_NS).astype(np.int64)
    return Batch(rows, times_ns, values, np.broadcast_to(np.float64(resolution), rows.shape).copy())


def feed(detector, batch):
    """Scores and learns as the pipeline does: a channel that stands more often is taken round by round."""
    scores = np.empty(len(batch.rows))
    for each in split_rounds(batch.rows, np.zeros(len(batch.rows), dtype=bool)):
        scores[each.live] = detector.score_and_learn(batch.take(each.live))
    return scores


def traffic(count=1_500, channels=5, seed=1):
    """Readings of channels in random order, one an interval."""
    random = np.random.default_rng(seed)
    return batch_of(random.integers(0, channels, count), np.arange(count), random.normal(LEVEL, SIGMA, count))


def feed_steps(detector, values, first_step=0, resolutions=RESOLUTION):
    """Scores of values by step and channel: each channel once a step."""
    channels = np.arange(values.shape[1])
    return np.array(
        [
            detector.score_and_learn(batch_of(channels, first_step + step, row, resolutions))
            for step, row in enumerate(values)
        ]
    )


def noise(count, seed=3):
    return np.random.default_rng(seed).normal(LEVEL, SIGMA, count)


def part(batch, which):
    return batch.take(np.arange(len(batch.rows))[which])


ANOMALIES = {"flat_line": np.full(120, LEVEL)}
"""What a detector is for, if that is no jump."""
JUMP = np.array([LEVEL + 20 * SIGMA, LEVEL + 20 * SIGMA])


def test_it_has_the_name_under_which_it_stands(kind):
    assert DETECTORS[kind.NAME] is kind
    assert kind.NAME.isidentifier()


def test_scoring_does_not_learn(build):
    detector, batch = build(), traffic()
    feed(detector, part(batch, slice(1_000)))
    before = detector.snapshot()
    detector.score(part(batch, slice(1_000, 1_500)))
    detector.explain(part(batch, slice(1_000, 1_010)), ["°C"] * 10)
    assert detector.snapshot() == before


def test_score_says_what_score_and_learn_says(build):
    detector, batch = build(), traffic()
    feed(detector, part(batch, slice(1_490)))
    for at in range(1_490, 1_500):
        one = part(batch, slice(at, at + 1))
        np.testing.assert_array_equal(detector.score(one), detector.score_and_learn(one))


def test_learn_learns_what_score_and_learn_learns(build):
    batch, learning, scoring = traffic(), build(), build()
    feed(scoring, batch)
    for each in split_rounds(batch.rows, np.zeros(len(batch.rows), dtype=bool)):
        learning.learn(batch.take(each.live))
    assert learning.snapshot() == scoring.snapshot()


def test_a_batch_of_n_equals_n_batches_of_one(build):
    batch, together, apart = traffic(), build(), build()
    whole = feed(together, batch)
    parts = np.concatenate([feed(apart, part(batch, slice(at, at + 1))) for at in range(len(batch.rows))])
    np.testing.assert_array_equal(whole, parts)
    assert together.snapshot() == apart.snapshot()


def test_a_large_batch_equals_small_ones(build):
    """Beyond the length of the blocks that a detector works in."""
    channels = 9_000
    random = np.random.default_rng(4)
    values = random.normal(LEVEL, SIGMA, (40, channels))
    together, apart = build(channels), build(channels)
    for step, row in enumerate(values):
        batch = batch_of(random.permutation(channels), step, row)
        whole = together.score_and_learn(batch)
        parts = [apart.score_and_learn(part(batch, slice(*pair))) for pair in itertools.pairwise((0, 1, 777, channels))]
        np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert together.snapshot() == apart.snapshot()


def test_restore_continues_bit_for_bit(build):
    batch, first, second = traffic(), build(), build(0)
    feed(first, part(batch, slice(1_000)))
    second.restore(first.snapshot())
    rest = part(batch, slice(1_000, 1_500))
    np.testing.assert_array_equal(feed(first, rest), feed(second, rest))
    assert first.snapshot() == second.snapshot()


def test_a_restored_detector_can_grow_and_learn(build):
    first, second = build(2), build(0)
    second.restore(first.snapshot())
    second.grow(5)
    assert np.isnan(feed(second, part(traffic(), slice(5)))).all()


def test_restore_refuses_what_is_no_snapshot_of_it(kind, build):
    whole = build().snapshot()
    others = [
        b"",
        b"not a snapshot",
        whole[: len(whole) // 2],
        encode_snapshot(kind.NAME, kind.VERSION + 1, {"state": np.zeros((1, 1))}),
        encode_snapshot("other", kind.VERSION, {"state": np.zeros((1, 1))}),
        encode_snapshot(kind.NAME, kind.VERSION, {"unknown": np.zeros((1, 1))}),
    ]
    for other in others:
        with pytest.raises(ValueError, match=kind.NAME):
            build().restore(other)


def test_the_same_seed_gives_the_same_scores(build):
    np.testing.assert_array_equal(feed(build(), traffic()), feed(build(), traffic()))


def test_new_channels_leave_the_old_ones_as_they_are(build):
    batch, grown, fixed = traffic(), build(5), build(9)
    feed(grown, part(batch, slice(1_000)))
    feed(fixed, part(batch, slice(1_000)))
    grown.grow(9)
    grown.grow(3)
    rest = part(batch, slice(1_000, 1_500))
    np.testing.assert_array_equal(feed(grown, rest), feed(fixed, rest))


def test_it_says_nothing_in_warm_up_and_something_after(kind, build):
    scores = feed_steps(build(1), noise(kind.WARM_UP_READINGS + 1_000)[:, None])[:, 0]
    assert np.isnan(scores[: kind.WARM_UP_READINGS]).all()
    assert np.isfinite(scores[-500:]).all()


def test_scores_are_from_0_to_1_whatever_comes(build):
    random = np.random.default_rng(8)
    hostile = [0.0, -0.0, VALUE_MAX, -VALUE_MAX, 1e-300, 5e-324, -1e9, 1e9, LEVEL, LEVEL, LEVEL, LEVEL]
    shape = (1_500, 3)
    values = np.where(random.random(shape) < 0.3, random.choice(hostile, shape), random.normal(LEVEL, SIGMA, shape))
    steps = np.cumsum(random.choice([1e-12, 1e-6, 1e-3, 0.1, 1.0, 200.0, 5_000.0], len(values)))
    detector, resolutions = build(3), np.array([1e-12, RESOLUTION, 1e3])
    for step, row in zip(steps, values, strict=True):
        scores = detector.score_and_learn(batch_of(np.arange(3), step, row, resolutions))
        known = scores[~np.isnan(scores)]
        assert ((known >= 0.0) & (known <= 1.0)).all()


def test_a_constant_line_does_not_alarm_and_harms_nothing(build):
    scores = feed_steps(build(3), np.tile([0.0, 20.0, -1e6], (2_500, 1)))
    assert not (scores >= 0.5).any()


def test_a_flat_line_with_resolution_noise_does_not_alarm(build):
    values = np.round(20.0 + np.random.default_rng(3).normal(0, 0.03, (2_000, 5)), 1)
    assert len(np.unique(values)) > 1
    assert np.nanmax(feed_steps(build(5), values)) < to_score(4.0)


def test_readings_of_independent_noise_are_rarely_beyond_3_sigma(build):
    values = np.random.default_rng(11).normal(LEVEL, SIGMA, (2_000, 50))
    settled = feed_steps(build(50), values)[1_000:]
    assert (settled >= 0.5).mean() <= 0.01


def test_one_huge_spike_neither_blinds_nor_poisons_it(kind, build):
    spikes = np.array([1e9, -1e9, VALUE_MAX])
    values = np.random.default_rng(3).normal(LEVEL, SIGMA, (2_500, 3))
    values[2_000] = spikes
    detector, anomaly = build(3), ANOMALIES.get(kind.NAME, JUMP)
    scores = feed_steps(detector, values)
    assert kind.NAME in ANOMALIES or (scores[2_000] > 0.99).all()
    assert (scores[2_050:] >= 0.5).mean() <= 0.02
    after = feed_steps(detector, np.tile(anomaly[:, None], (1, 3)), first_step=2_500)
    assert (after.max(axis=0) >= 0.5).all()


def test_what_it_is_for_has_a_score_of_at_least_one_half(kind, build):
    detector, anomaly = build(1), ANOMALIES.get(kind.NAME, JUMP)
    feed_steps(detector, noise(2_000)[:, None])
    assert feed_steps(detector, anomaly[:, None], first_step=2_000).max() >= 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2 * VALUE_MAX])
def test_what_is_no_number_is_refused_whole_and_nothing_is_learnt(build, value):
    detector = build(3)
    feed(detector, traffic(1_000, channels=3))
    before = detector.snapshot()
    batch = batch_of([0, 1, 2], 2_000, [LEVEL, value, LEVEL])
    for call in (detector.score, detector.learn, detector.score_and_learn):
        with pytest.raises(ValueError, match="reading 1 of 3, row 1: "):
            call(batch)
    assert detector.snapshot() == before


def test_no_readings_are_no_fault(build):
    detector = build(3)
    before = detector.snapshot()
    none = batch_of([], 0, [])
    assert len(detector.score(none)) == len(detector.score_and_learn(none)) == len(detector.explain(none, [])) == 0
    detector.learn(none)
    assert detector.snapshot() == before


def test_history_is_scored_and_a_gap_of_months_is_no_fault(build):
    detector = build(1)
    feed_steps(detector, noise(2_000)[:, None])
    early = detector.score(batch_of([0, 0, 0], [0, 10, 1_999], [LEVEL, LEVEL + SIGMA, LEVEL]))
    late = feed_steps(detector, noise(1_000, seed=9)[:, None], first_step=20_000)
    for scores in (early, late):
        known = scores[~np.isnan(scores)]
        assert ((known >= 0.0) & (known <= 1.0)).all()
    assert (late[500:] >= 0.5).mean() <= 0.02


def test_an_explanation_has_the_score_s_distance_and_words(kind, build):
    detector, anomaly = build(2), ANOMALIES.get(kind.NAME, JUMP)
    for values, first_step in ((noise(2_000), 0), (anomaly[:-1], 2_000)):
        for step, value in enumerate(values, start=first_step):
            detector.learn(batch_of([0], step, [value]))
    batch = batch_of([0, 1], 2_000 + len(anomaly) - 1, [anomaly[-1], LEVEL])
    scores = detector.score(batch)
    known, cold = detector.explain(batch, ["%{LEL}", "µε"])
    assert known.sigma == pytest.approx(to_sigma(float(scores[0])), rel=1e-3)
    assert len(known.text) > 10
    assert np.isnan(scores[1])
    assert math.isnan(cold.sigma)
    assert len(cold.text) > 5


def test_a_channel_takes_no_more_memory_than_declared(kind, build):
    channels = 2_000
    tracemalloc.start()
    try:
        detector = build(channels)
        random = np.random.default_rng(2)
        for step in range(40):
            detector.score_and_learn(batch_of(np.arange(channels), step, random.normal(LEVEL, SIGMA, channels), 0.001))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held <= channels * kind.STATE_BYTES + 100_000
    assert len(detector.snapshot()) <= channels * kind.STATE_BYTES + 4_096


def test_a_reading_costs_no_more_than_declared(kind, build):
    channels, size = 100_000, 20_000
    detector, random = build(channels), np.random.default_rng(6)
    costs = []
    for step in range(3):
        order = random.permutation(channels)
        values = random.normal(LEVEL, SIGMA, channels)
        for first in range(0, channels, size):
            which = slice(first, first + size)
            batch = batch_of(order[which], step, values[which])
            begun = time.process_time_ns()
            detector.score_and_learn(batch)
            costs.append((time.process_time_ns() - begun) / size)
    assert min(costs) <= COST_GUARD * kind.COST_NS, f"{min(costs):.0f} ns, declared are {kind.COST_NS} ns"
