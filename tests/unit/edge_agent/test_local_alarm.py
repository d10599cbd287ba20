"""Local conditions: the platform's own rule, stepped before anything is stored or sent."""

from __future__ import annotations

import pytest

from contracts.quality import Reason
from edge_agent.outputs.local_alarm import LocalAlarms, LocalCondition
from edge_agent.outputs.output_settings import LocalConditionSettings

SECOND = 1_000_000_000


def threshold(**more) -> LocalConditionSettings:
    return LocalConditionSettings(**{"node_id": "gas-1", "quantity": "methane_lel", "set_point": 25.0, **more})


def switches(alarms, *readings):
    """(seconds, on or off) that readings (alias, seconds, value, code) cause."""
    taken = alarms.take([(alias, round(s * SECOND), value, code) for alias, s, value, code in readings])
    return [(one.phenomenon_ns / SECOND, one.output_id, one.is_on) for one in taken]


def one(**more) -> LocalAlarms:
    return LocalAlarms([("siren", [LocalCondition(7, threshold(**more))])])


def test_an_output_is_told_to_be_off_after_a_start_then_on_and_off_with_its_condition():
    readings = [(7, 0, 1.0, 0), (7, 1, 25.0, 0), (7, 2, 24.0, 0), (7, 3, 22.9, 0), (7, 4, 3.0, 0)]
    assert switches(one(deadband=2.0), *readings) == [(0, "siren", False), (1, "siren", True), (3, "siren", False)]


def test_after_a_start_nothing_is_switched_off_while_an_on_delay_runs():
    readings = [(7, 0, 30.0, 0), (7, 1, 30.0, 0), (7, 2, 30.0, 0)]
    assert switches(one(on_delay_s=2.0), *readings) == [(2, "siren", True)]


def test_an_output_with_two_conditions_is_on_while_one_of_them_is_active():
    alarms = LocalAlarms([("siren", [LocalCondition(1, threshold()), LocalCondition(2, threshold(set_point=40.0))])])
    assert switches(alarms, (1, 0, 1.0, 0)) == [], "the other channel has not been read yet"
    assert switches(alarms, (2, 1, 1.0, 0)) == [(1, "siren", False)]
    assert switches(alarms, (1, 2, 26.0, 0), (2, 3, 41.0, 0), (1, 4, 1.0, 0)) == [(2, "siren", True)]
    assert switches(alarms, (2, 5, 1.0, 0)) == [(5, "siren", False)]


@pytest.mark.parametrize("reason", [Reason.NO_ANSWER, Reason.WARM_UP, Reason.CALIBRATION, Reason.OUT_OF_RANGE])
def test_a_bad_reading_neither_raises_nor_ends(reason):
    alarms = one()
    assert switches(alarms, (7, 0, 99.0, reason.value), (7, 0, None, reason.value)) == []
    assert switches(alarms, (7, 1, 30.0, 0), (7, 2, 0.0, reason.value), (7, 3, None, reason.value)) == [
        (1, "siren", True)
    ]


def test_an_uncertain_reading_counts():
    assert switches(one(), (7, 1, 30.0, Reason.CLOCK_SUSPECT.value)) == [(1, "siren", True)]


def test_a_reading_older_than_the_newest_of_its_channel_changes_nothing():
    assert switches(one(), (7, 10, 1.0, 0), (7, 5, 99.0, 0), (7, 10, 1.0, 0)) == [(10, "siren", False)]


def test_channels_without_a_condition_are_passed_over():
    assert switches(one(), (8, 0, 99.0, 0)) == []
