"""Threshold conditions: set-point, deadband, delays on event time, lanes."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.condition import ConditionState, LaneState, step
from stream_processor.fleet_index import FleetIndex
from stream_processor.pipeline.conditions import Conditions, Readings, event_id_of

SECOND = 1_000_000_000


def changes(definition, *readings):
    """The changes that readings (seconds, value) cause, with their times."""
    lane = LaneState()
    seen = []
    for seconds, value in readings:
        lane, change = step(definition, lane, value, round(seconds * SECOND))
        if change is not None:
            seen.append((seconds, str(change)))
    return seen


@pytest.mark.parametrize(
    ("settings", "readings", "expected"),
    [
        ({}, [(0, 24.9), (1, 25.0), (2, 24.9)], [(1, "active"), (2, "normal")]),
        ({"deadband": 2.0}, [(0, 25), (1, 23.1), (2, 23.0), (3, 24)], [(0, "active"), (2, "normal")]),
        ({"on_delay_s": 2}, [(0, 30), (1, 30), (2, 30), (3, 30)], [(2, "active")]),
        ({"on_delay_s": 2}, [(0, 30), (1, 20), (2, 30), (3.9, 30), (4, 30)], [(4, "active")]),
        ({"off_delay_s": 2}, [(0, 30), (1, 20), (2, 30), (3, 20), (5, 20)], [(0, "active"), (5, "normal")]),
        ({"direction": "below", "set_point": 5, "deadband": 1}, [(0, 6), (1, 5), (2, 5.5), (3, 6)],
         [(1, "active"), (3, "normal")]),
    ],
)  # fmt: skip
def test_a_condition_changes_at_the_reading_that_decides(condition, settings, readings, expected):
    assert changes(condition(**settings), *readings) == expected


def test_the_same_event_has_the_same_id_and_another_has_another():
    one = event_id_of("c", ConditionState.ACTIVE, 5, is_historical=False)
    assert one == event_id_of("c", ConditionState.ACTIVE, 5, is_historical=False)
    others = {
        event_id_of("d", ConditionState.ACTIVE, 5, is_historical=False),
        event_id_of("c", ConditionState.NORMAL, 5, is_historical=False),
        event_id_of("c", ConditionState.ACTIVE, 6, is_historical=False),
        event_id_of("c", ConditionState.ACTIVE, 5, is_historical=True),
    }
    assert len(others) == 4
    assert one not in others


@pytest.fixture
def conditions(fleet):
    index = FleetIndex(fleet)
    conditions = Conditions()
    conditions.take_definitions(index.conditions, {11: 0, 12: 1, 13: 2, 14: 3}, 4)
    return conditions, index


def evaluate(conditions, *rows):
    """Rows (row, seconds, value, is_late)."""
    table, index = conditions
    readings = Readings(
        row=np.array([row[0] for row in rows], dtype=np.intp),
        event_ns=np.array([row[1] * SECOND for row in rows], dtype=np.int64),
        value=np.array([row[2] for row in rows], dtype=np.float64),
        score_ewma_z=np.full(len(rows), np.nan),
        is_late=np.array([row[3] for row in rows], dtype=np.bool_),
    )
    events, _ = table.evaluate(readings, index.contexts, 99)
    return [(event.phenomenon_ns // SECOND, str(event.state), event.is_historical) for event in events]


def test_a_rise_and_return_within_one_record_are_both_told_in_order(conditions):
    assert evaluate(conditions, (0, 1, 1, False), (0, 2, 30, False), (0, 3, 1, False)) == [
        (2, "active", False),
        (3, "normal", False),
    ]


def test_a_late_breach_informs_as_history_and_leaves_the_live_lane_alone(conditions):
    assert evaluate(conditions, (0, 1, 30, True)) == [(1, "active", True)]
    assert evaluate(conditions, (0, 9, 30, False)) == [(9, "active", False)]
    assert evaluate(conditions, (0, 2, 1, True)) == [(2, "normal", True)]
    assert evaluate(conditions, (0, 10, 1, False)) == [(10, "normal", False)]


def test_channels_without_conditions_cause_nothing(conditions):
    assert evaluate(conditions, (1, 1, 1e9, False), (2, 1, -1e9, False)) == []


def test_an_active_condition_survives_a_new_fleet_revision(conditions):
    evaluate(conditions, (0, 1, 30, False))
    table, index = conditions
    table.take_definitions(index.conditions, {11: 0, 12: 1, 13: 2, 14: 3}, 4)
    assert evaluate(conditions, (0, 2, 30, False)) == []
    assert evaluate(conditions, (0, 3, 1, False)) == [(3, "normal", False)]


def test_readings_one_by_one_mean_the_same_as_one_record(fleet):
    random = np.random.default_rng(4)
    rows = [(0, second, value, False) for second, value in enumerate(random.normal(25, 3, 300))]
    index = FleetIndex(fleet)
    together, apart = Conditions(), Conditions()
    for table in (together, apart):
        table.take_definitions(index.conditions, {11: 0, 12: 1, 13: 2, 14: 3}, 4)
    whole = evaluate((together, index), *rows)
    parts = [event for row in rows for event in evaluate((apart, index), row)]
    assert whole == parts
    assert len(whole) > 10
