"""The scale of scores, and how a batch is split so that it means what its readings mean one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_processor.detectors.contract import split_rounds, to_score, to_sigma


@pytest.mark.parametrize(("sigma", "score"), [(0.0, 0.0), (3.0, 0.5), (6.0, 2 / 3), (12.0, 0.8), (math.inf, 1.0)])
def test_a_score_is_a_distance_on_a_scale_from_0_to_1(sigma, score):
    assert to_score(sigma) == pytest.approx(score)
    assert to_sigma(to_score(sigma)) == pytest.approx(sigma)


def test_scores_of_a_column_are_those_of_its_distances_and_none_is_none():
    column = np.array([0.0, 3.0, np.inf, np.nan, 1e300])
    np.testing.assert_array_equal(to_score(column), [0.0, 0.5, 1.0, np.nan, 1.0])


def test_rounds_hold_each_live_channel_once_and_keep_the_order_of_arrival():
    rows = np.array([3, 1, 3, 3, 1, 2])
    rounds = [each.live.tolist() for each in split_rounds(rows, np.zeros(6, dtype=bool))]
    assert [sorted(chunk) for chunk in rounds] == [[0, 1, 5], [2, 4], [3]]
    assert list(split_rounds(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=bool))) == []


def test_rounds_are_the_same_for_rows_beyond_sixteen_bits():
    random = np.random.default_rng(2)
    rows, is_history = random.integers(0, 40, 500), random.random(500) < 0.1
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
