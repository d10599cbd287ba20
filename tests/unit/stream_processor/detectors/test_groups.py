"""Laws for every detector of groups, what each of them sees, and what faults of channels do to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2

from stream_processor.detectors import GROUP_DETECTORS
from stream_processor.detectors.contract import to_sigma
from stream_processor.detectors.group_contract import Frames
from stream_processor.detectors.group_distance import GroupDistance
from stream_processor.detectors.group_forest import RING_SPACING_NS, GroupForest
from stream_processor.detectors.isolation_fit import fit_forest

ASSETS, WIDTH = 2, 6
STEP_NS = RING_SPACING_NS
RESOLUTION = 0.01
SELDOM_NS = 10**18
"""A refit takes longer than all else in these tests; those that follow from more frames are enough."""


def traffic(count, seed=1, width=WIDTH, assets=ASSETS):
    """A bridge or tank farm: channels that move together, with noise of their own. By time, asset and place."""
    random = np.random.default_rng(seed)
    load = random.normal(size=(count, assets, 2))
    mixing = random.normal(size=(2, width))
    return 50.0 + np.round(4.0 * load @ mixing + random.normal(0.0, 0.5, (count, assets, width)), 2)


def frames_of(values, at, rows=None):
    """The frames of one time."""
    rows = np.arange(values.shape[1]) if rows is None else np.asarray(rows)
    shown = values[at, rows]
    return Frames(rows, np.full(len(rows), at * STEP_NS), shown, np.full(shown.shape, RESOLUTION))


def refit(detector):
    if isinstance(detector, GroupForest):
        for order in detector.due_refits():
            detector.take_fitted(fit_forest(order))


def feed(detector, values, start=0, stop=None, *, one_by_one=False):
    """Scores by time and asset."""
    scores = []
    for at in range(start, len(values) if stop is None else stop):
        if one_by_one:
            parts = [detector.score_and_learn(frames_of(values, at, [row])) for row in range(values.shape[1])]
            scores.append(np.concatenate(parts))
        else:
            scores.append(detector.score_and_learn(frames_of(values, at)))
        refit(detector)
    return np.array(scores)


@pytest.fixture(params=sorted(GROUP_DETECTORS))
def build(request):
    def make(width=WIDTH, assets=ASSETS):
        detector = GROUP_DETECTORS[request.param](width)
        if isinstance(detector, GroupForest):
            detector = GroupForest(width, refit_ns=SELDOM_NS)
        detector.grow(assets)
        return detector

    return make


# --- laws ------------------------------------------------------------------------------------------------------------


def test_scoring_learns_nothing(build):
    detector, values = build(), traffic(200)
    feed(detector, values)
    before = detector.snapshot()
    first = detector.score(frames_of(values, 7))
    np.testing.assert_array_equal(first, detector.score(frames_of(values, 7)))
    assert detector.snapshot() == before


def test_a_score_and_learn_is_a_score_and_then_a_learn(build):
    together, apart, values = build(), build(), traffic(180)
    for at in range(len(values)):
        scores = together.score_and_learn(frames_of(values, at))
        np.testing.assert_array_equal(scores, apart.score(frames_of(values, at)))
        apart.learn(frames_of(values, at))
        refit(together)
        refit(apart)
    assert together.snapshot() == apart.snapshot()


def test_a_batch_of_n_equals_n_batches_of_one(build):
    together, apart, values = build(), build(), traffic(200)
    np.testing.assert_array_equal(feed(together, values), feed(apart, values, one_by_one=True))
    assert together.snapshot() == apart.snapshot()


def test_same_frames_same_scores(build):
    values = traffic(200)
    np.testing.assert_array_equal(feed(build(), values), feed(build(), values))


def test_restore_continues_bit_for_bit_and_refits_to_the_same_forest(build):
    first, second, values = build(), build(assets=0), traffic(600)
    feed(first, values, 0, 200)
    second.restore(first.snapshot())
    np.testing.assert_array_equal(feed(first, values, 200), feed(second, values, 200))
    assert first.snapshot() == second.snapshot()


def test_restore_refuses_what_is_no_snapshot_of_its_own(build):
    with pytest.raises(ValueError, match="no state"):
        build().restore(b"not a snapshot")
    with pytest.raises(ValueError, match=f"groups of {WIDTH} channels, not 9"):
        build(width=9).restore(build().snapshot())


def test_a_cut_snapshot_is_refused_and_changes_nothing(build):
    detector = build()
    feed(detector, traffic(150))
    whole = detector.snapshot()
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match="no state"):
            detector.restore(whole[:size])
    assert detector.snapshot() == whole


def test_there_is_no_score_in_warm_up_and_a_score_between_0_and_1_after_it(build):
    detector = build()
    scores = feed(detector, traffic(400))
    assert np.isnan(scores[: detector.warm_up_frames]).all()
    after = scores[detector.warm_up_frames + 1 :]
    assert ((after >= 0.0) & (after <= 1.0)).all()


def test_usual_frames_seldom_score_above_3_sigma(build):
    scores = feed(build(), traffic(1_000))[500:]
    assert np.mean(scores >= 0.5) <= 0.01


def test_state_is_within_its_declared_bound(build):
    few, many = build(assets=10), build(assets=110)
    assert (len(many.snapshot()) - len(few.snapshot())) / 100 <= few.state_bytes


def test_the_distance_of_twenty_channels_takes_less_than_100_bytes_a_channel():
    assert GroupDistance(20).state_bytes / 20 < 100.0


def test_values_beyond_any_quantity_and_frames_of_another_width_are_refused_whole(build):
    detector, values = build(), traffic(5)
    before = detector.snapshot()
    for wrong in (np.inf, -np.inf, 1e16):
        values[4, 1, 2] = wrong
        for take in (detector.score, detector.learn, detector.score_and_learn):
            with pytest.raises(ValueError, match="beyond"):
                take(frames_of(values, 4))
    with pytest.raises(ValueError, match="shape"):
        detector.learn(frames_of(traffic(1, width=5), 0))
    assert detector.snapshot() == before


def test_a_forgotten_asset_is_in_warm_up_and_the_others_are_not(build):
    detector, values = build(), traffic(200)
    feed(detector, values)
    detector.forget(np.array([1]))
    assert np.isnan(detector.score(frames_of(values, 3))).tolist() == [False, True]


def test_places_that_are_forgotten_are_as_if_they_had_never_been_and_other_assets_know_nothing_of_it(build):
    """Two channels leave: what stays is scored as a group that always was without them (a forest begins anew)."""
    detector, without, values = build(), build(), traffic(300)
    missing = values.copy()
    missing[:, 0, [1, 4]] = np.nan
    feed(detector, values, 0, 200)
    feed(without, missing, 0, 200)
    detector.forget_places(0, [1, 4])
    now, never = feed(detector, missing, 200, 260), feed(without, missing, 200, 260)
    untouched = feed(build(), values, 0, 260)[200:, 1]
    np.testing.assert_array_equal(now[:, 1], untouched)
    if isinstance(detector, GroupForest):
        assert np.isnan(now[:60, 0]).all()
    else:
        np.testing.assert_allclose(now[:, 0], never[:, 0], atol=0.05)


def test_a_place_that_is_filled_again_is_in_a_warm_up_of_its_own():
    detector, values = GroupDistance(WIDTH), traffic(400)
    detector.grow(ASSETS)
    feed(detector, values, 0, 200)
    detector.forget_places(0, [2])
    other = values.copy()
    other[:, 0, 2] += 1e6
    scores = feed(detector, other, 200)[:, 0]
    assert scores[: detector.warm_up_frames].max() < 0.7
    assert np.mean(scores >= 0.5) < 0.05
    shifted = frames_of(values, 399)
    shifted.values[0, 2] += 1e6 + 300.0
    assert detector.score(shifted)[0] > 0.667


def test_growing_keeps_what_was_learnt(build):
    detector, values = build(), traffic(200)
    feed(detector, values)
    before = detector.score(frames_of(values, 3))
    detector.grow(ASSETS + 4)
    np.testing.assert_array_equal(detector.score(frames_of(values, 3)), before)


@pytest.mark.parametrize("width", [0, 65])
def test_a_group_that_is_too_small_or_too_large_is_refused(width):
    for build_one in GROUP_DETECTORS.values():
        with pytest.raises(ValueError, match=f"{width} channels"):
            build_one(width)


# --- faults of channels ----------------------------------------------------------------------------------------------


def test_constant_channels_with_resolution_noise_do_not_alarm(build):
    random = np.random.default_rng(3)
    values = 20.0 + RESOLUTION * random.integers(0, 2, (600, ASSETS, WIDTH))
    assert not (feed(build(), values)[200:] >= 0.5).any()


def test_channels_that_never_change_do_not_alarm(build):
    assert not (feed(build(), np.full((400, ASSETS, WIDTH), 7.3)) > 0.3).any()


def test_channels_that_are_copies_of_each_other_do_not_break_the_group(build):
    values = traffic(600)
    values[:, :, 3] = values[:, :, 2]
    scores = feed(build(), values)[200:]
    assert np.isfinite(scores).all()
    assert np.mean(scores >= 0.5) <= 0.02


def test_a_channel_that_dies_leaves_a_score_of_the_others(build):
    values = traffic(800)
    values[400:, 0, 2] = np.nan
    scores = feed(build(), values)
    assert np.isfinite(scores[400:]).all()
    assert np.mean(scores[400:, 0] >= 0.5) <= 0.02


def test_an_asset_of_fewer_channels_than_there_are_places_scores_as_one_of_its_own_width():
    """The distance: unused places change nothing but rounding."""
    values = traffic(300)
    wide, narrow = GroupDistance(WIDTH + 4), GroupDistance(WIDTH)
    wide.grow(ASSETS)
    narrow.grow(ASSETS)
    padded = np.concatenate([values, np.full((300, ASSETS, 4), np.nan)], axis=2)
    np.testing.assert_allclose(feed(wide, padded), feed(narrow, values), rtol=1e-9)


def test_a_frame_without_any_value_has_no_score_and_changes_no_score(build):
    detector, values = build(), traffic(200)
    feed(detector, values)
    before = detector.score(frames_of(values, 3))
    silent = np.full_like(values[:1], np.nan)
    assert np.isnan(detector.score_and_learn(frames_of(silent, 0))).all()
    np.testing.assert_array_equal(detector.score(frames_of(values, 3)), before)


def test_one_spike_of_1e9_is_seen_and_neither_blinds_nor_poisons():
    values = traffic(1_000)
    calm = feed(distance_of(), values)
    values[500, 0, 2] = 1e9
    values[700, 0, 4] += 12.0
    scores = feed(distance_of(), values)
    assert scores[500, 0] > 0.99
    assert scores[700, 0] > 0.75, "a departure of 12 after the spike is no longer seen"
    np.testing.assert_allclose(scores[501:700, 0], calm[501:700, 0], atol=0.1)


def test_channels_that_come_and_go_leave_a_covariance_that_is_one_and_a_group_that_sees():
    values = traffic(1_200)
    values[np.random.default_rng(6).random(values.shape) < 0.3] = np.nan
    values[1_100] = traffic(1_200)[1_100]
    detector = distance_of()
    scores = feed(detector, values, 0, 1_100)
    assert np.mean(scores[300:] >= 0.5) <= 0.01
    assert (np.linalg.eigvalsh(detector._covariance) > -1e-6).all()
    frame = frames_of(values, 1_100, [0])
    assert detector.score(frame)[0] < 0.4
    frame.values[0, 2] += 4.0 * np.nanstd(values[:, 0, 2])
    assert detector.score(frame)[0] > 0.5


def test_hostile_values_and_times_leave_scores_from_0_to_1_or_none():
    random = np.random.default_rng(7)
    detector = distance_of()
    feed(detector, traffic(150))
    shape = ASSETS, WIDTH
    for _ in range(200):
        values = random.choice([0.0, 1e15, -1e15, 1e-300, 5.0, np.nan], size=shape)
        times_ns = random.integers(-(10**18), 10**18, ASSETS)
        scores = detector.score_and_learn(Frames(np.arange(ASSETS), times_ns, values, np.full(shape, RESOLUTION)))
        assert (np.isnan(scores) | ((scores >= 0.0) & (scores <= 1.0))).all()


def test_a_spike_in_warm_up_is_forgotten():
    values = traffic(1_500)
    calm = feed(distance_of(), values)
    values[30, 0, 2] = 1e9
    scores = feed(distance_of(), values)
    assert np.abs(scores - calm)[1_000:, 0].mean() < 0.05


def test_a_spike_in_the_ring_does_not_spend_the_forest():
    values = traffic(700)
    values[60, :, 2] = 1e9
    detector = GroupForest(WIDTH, refit_ns=SELDOM_NS)
    detector.grow(ASSETS)
    scores = feed(detector, values)
    assert np.nanstd(scores[300:]) > 0.05, "all frames look alike: the trees were spent on the spike"


def distance_of(assets=ASSETS):
    detector = GroupDistance(WIDTH)
    detector.grow(assets)
    return detector


# --- what they see ---------------------------------------------------------------------------------------------------


def test_the_distance_sees_a_departure_that_no_channel_shows_alone_and_names_the_channel():
    values = traffic(800)
    detector = distance_of()
    feed(detector, values)
    spread = values[:, 0, 2].std()
    frame = frames_of(values, 650, [0])
    frame.values[0, 2] += 1.5 * spread
    assert detector.score(frame)[0] > 0.6
    names, units = [[f"strain-{place}" for place in range(WIDTH)]], [["µε"] * WIDTH]
    (explanation,) = detector.explain(frame, names, units)
    assert explanation.sigma == pytest.approx(to_sigma(float(detector.score(frame)[0])))
    assert "against the others strain-2 " in explanation.text
    assert "µε" in explanation.text


def test_the_distance_is_that_of_numpy_on_independent_frames():
    """An oracle: plain covariance of what was seen, without shrinkage, in the limit of many frames."""
    values = traffic(3_000, assets=1)
    detector = GroupDistance(WIDTH)
    detector.grow(1)
    feed(detector, values)
    probe = frames_of(traffic(5, seed=9, assets=1), 2)
    apart = probe.values[0] - values[:, 0].mean(axis=0)
    square = apart @ np.linalg.solve(np.cov(values[:, 0].T), apart)
    told = detector.explain(probe, [["c"] * WIDTH], [[""] * WIDTH])[0].sigma
    normal_tail = math.erfc(told * detector._scale[0] / math.sqrt(2.0))
    assert normal_tail == pytest.approx(chi2.sf(square, WIDTH), rel=0.25, abs=2e-5)


def test_the_forest_sees_a_regime_that_the_distance_does_not():
    """Two regimes, open and shut; a frame between both is in nobody's tail, and yet was never there."""
    random = np.random.default_rng(4)
    count = 900
    is_open = random.random((count, 1, 1)) < 0.5
    values = np.where(is_open, 10.0, 40.0) + random.normal(0.0, 0.5, (count, 1, WIDTH))
    forest, distance = GroupForest(WIDTH, refit_ns=SELDOM_NS), distance_of(1)
    forest.grow(1)
    feed(forest, values)
    feed(distance, values)
    between = Frames(
        np.zeros(1, dtype=np.intp), np.array([count * STEP_NS]), np.full((1, WIDTH), 25.0), np.full((1, WIDTH), 0.01)
    )
    assert distance.score(between)[0] < 0.4
    assert forest.score(between)[0] > 0.5


def test_the_forest_says_which_channel_it_comes_from():
    values = traffic(700, width=3)
    detector = GroupForest(3, refit_ns=SELDOM_NS)
    detector.grow(ASSETS)
    feed(detector, values)
    frame = frames_of(values, 650, [0])
    frame.values[0] = np.median(values[:, 0], axis=0)
    frame.values[0, 1] = values[:, 0, 1].max() + 5.0
    (explanation,) = detector.explain(frame, [["level-0", "level-1", "level-2"]], [["m"] * 3])
    assert "of it level-1 " in explanation.text


def test_in_warm_up_an_explanation_says_so(build):
    values = traffic(2)
    explanations = build().explain(frames_of(values, 1), [["x"] * WIDTH] * ASSETS, [[""] * WIDTH] * ASSETS)
    assert all(np.isnan(each.sigma) and "warming up" in each.text for each in explanations)


# --- refits ----------------------------------------------------------------------------------------------------------


def forest_in_need(values):
    detector = GroupForest(WIDTH)
    detector.grow(ASSETS)
    for at in range(detector.warm_up_frames):
        detector.score_and_learn(frames_of(values, at))
    return detector


def test_a_refit_is_ordered_once_until_it_comes_back():
    detector = forest_in_need(traffic(128))
    orders = detector.due_refits()
    assert [order.row for order in orders] == [0, 1]
    assert detector.due_refits() == []


def test_scoring_goes_on_with_the_old_forest_while_a_refit_runs_and_when_it_fails():
    values = traffic(700)
    detector = forest_in_need(values)
    for order in detector.due_refits():
        detector.take_fitted(fit_forest(order))
    feed_from = detector.warm_up_frames
    for at in range(feed_from, 300):
        detector.score_and_learn(frames_of(values, at))
    orders = detector.due_refits()
    before = detector.score(frames_of(values, 5))
    np.testing.assert_array_equal(detector.score(frames_of(values, 5)), before)
    for order in orders:
        detector.take_failure(order.row, order.serial)
    np.testing.assert_array_equal(detector.score(frames_of(values, 5)), before)
    assert detector.due_refits() == [], "a refit that fails is ordered again at once"
    for at in range(300, 700):
        detector.score_and_learn(frames_of(values, at))
    assert len(detector.due_refits()) == ASSETS, "after a failure no refit is ordered any more"


def test_a_forest_that_was_not_waited_for_is_left_out():
    detector = forest_in_need(traffic(128))
    orders = detector.due_refits()
    stale = fit_forest(orders[0])
    detector.forget(np.array([0]))
    before = detector.snapshot()
    detector.take_fitted(stale)
    assert detector.snapshot() == before


def test_a_restored_forest_orders_again_what_was_under_way():
    first, second = forest_in_need(traffic(128)), GroupForest(WIDTH)
    snapshot = first.snapshot()
    second.restore(snapshot)
    again = second.due_refits()
    for mine, other in zip(first.due_refits(), again, strict=True):
        assert mine.seed == other.seed
        np.testing.assert_array_equal(mine.samples, other.samples)
    third = GroupForest(WIDTH)
    third.restore(first.snapshot())  # taken while the order was under way
    assert len(third.due_refits()) == ASSETS


def test_another_seed_gives_another_forest():
    values = traffic(128)
    orders = []
    for seed in (0, 1):
        detector = GroupForest(WIDTH, seed)
        detector.grow(ASSETS)
        for at in range(len(values)):
            detector.learn(frames_of(values, at))
        orders.append(detector.due_refits()[0])
    first, second = map(fit_forest, orders)
    assert not np.array_equal(first.forests.threshold, second.forests.threshold)


def test_a_channel_that_was_never_heard_does_not_keep_a_forest_from_growing():
    values = traffic(160)
    values[:, :, 4] = np.nan
    detector = GroupForest(WIDTH, refit_ns=SELDOM_NS)
    detector.grow(ASSETS)
    scores = feed(detector, values)
    assert np.isfinite(scores[-1]).all()


def test_bad_frames_are_kept_out_of_the_ring():
    detector = forest_in_need(traffic(128))
    for order in detector.due_refits():
        fitted = fit_forest(order)
        # As if the forest found everything 6 sigma and more.
        detector.take_fitted(fitted._replace(quantiles=np.array([0.0, 1e-9])))
    before = detector._plan.pushed.copy()
    detector.learn(frames_of(traffic(300), 299))
    np.testing.assert_array_equal(detector._plan.pushed, before)
