"""Columns of scores beside a record: selected, joined, and without what is empty."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.score_columns import drop_empty_scores, join_scores, select_scores

NOVELTY, RESIDUAL, RATE = (
    ConditionInput.SCORE_NOVELTY,
    ConditionInput.SCORE_RESIDUAL,
    ConditionInput.SCORE_RATE_OF_CHANGE,
)
NONE = np.nan


def lists(scores):
    return {kind: [None if np.isnan(each) else each for each in column.tolist()] for kind, column in scores.items()}


@pytest.mark.parametrize(
    ("column", "is_kept"),
    [
        ([], False),
        ([NONE], False),
        ([NONE, NONE], False),
        ([0.0], True),
        ([NONE, NONE, 0.1], True),
        ([0.1, NONE], True),
    ],
)
def test_a_column_stays_if_any_row_has_a_score_also_one_of_0(column, is_kept):
    assert (NOVELTY in drop_empty_scores({NOVELTY: np.array(column)})) == is_kept


def test_what_stays_has_the_order_of_columns():
    scores = {kind: np.array([0.5]) for kind in (RESIDUAL, NOVELTY, RATE)}
    assert list(drop_empty_scores(scores)) == [RATE, NOVELTY, RESIDUAL]


def test_parts_are_joined_with_none_where_a_part_has_no_such_score():
    parts = [({NOVELTY: np.array([0.1, NONE])}, 2), ({}, 1), ({RATE: np.array([0.2])}, 1)]
    assert lists(join_scores(parts)) == {RATE: [None, None, None, 0.2], NOVELTY: [0.1, None, None, None]}
    assert join_scores([({}, 4), ({}, 0)]) == {}
    assert join_scores([]) == {}


@pytest.mark.parametrize("which", [slice(1, 3), np.array([1, 2]), np.array([False, True, True])])
def test_rows_are_selected_of_all_scores(which):
    scores = {NOVELTY: np.array([0.1, NONE, 0.3]), RATE: np.array([0.4, 0.5, 0.6])}
    assert lists(select_scores(scores, which)) == {NOVELTY: [None, 0.3], RATE: [0.5, 0.6]}
