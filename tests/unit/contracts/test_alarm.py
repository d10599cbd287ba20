"""Alarms: the table of ISA-18.2 and what a condition, an event and a batch must be."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from contracts.alarm import (
    ALARM_TRANSITIONS,
    Acknowledgement,
    AlarmState,
    AlarmTrigger,
    Colour,
    ConditionBatch,
    ConditionDefinition,
    ConditionEvent,
)

S, T = AlarmState, AlarmTrigger
WHOLE_TABLE = {
    # state: (after activate, after return, after acknowledge); None: nothing happens
    S.NORMAL: (S.UNACKNOWLEDGED, None, None),
    S.UNACKNOWLEDGED: (None, S.RETURNED_UNACKNOWLEDGED, S.ACKNOWLEDGED),
    S.ACKNOWLEDGED: (None, S.NORMAL, None),
    S.RETURNED_UNACKNOWLEDGED: (S.UNACKNOWLEDGED, None, S.NORMAL),
}
DEFINITION = {
    "condition_id": "gas-1-high",
    "channel_id": 7,
    "set_point": 25.0,
    "priority": 1,
    "colour": "red",
    "title": "Methane above 25 %LEL",
}
EVENT = {
    "event_id": "0123456789abcdef" * 2,
    "condition_id": "gas-1-high",
    "channel_id": 7,
    "state": "active",
    "phenomenon_ns": 1_761_955_200_123_000_000,
    "detected_ns": 1_761_955_200_456_789_012,
    "value": 26.5,
    "input_value": 26.5,
    "set_point": 25.0,
    "priority": 1,
    "colour": "red",
    "title": "Methane above 25 %LEL",
    "gateway_id": "gw-1",
    "node_id": "gas-1",
    "site_id": "station-1",
    "district_id": "north",
    "quantity": "methane_lel",
    "unit": "%{LEL}",
}


def test_the_table_of_transitions_is_that_of_isa_18_2():
    expected = {
        (state, trigger): after
        for state, row in WHOLE_TABLE.items()
        for trigger, after in zip((T.ACTIVATE, T.RETURN, T.ACKNOWLEDGE), row, strict=True)
        if after is not None
    }
    assert dict(ALARM_TRANSITIONS) == expected
    assert set(WHOLE_TABLE) == set(AlarmState)


def test_every_state_is_reached_from_normal_and_normal_is_reached_from_every_state():
    assert _reachable_from(S.NORMAL) == set(AlarmState)
    for state in AlarmState:
        assert S.NORMAL in _reachable_from(state)


def test_an_alarm_never_becomes_normal_without_return_and_acknowledgement():
    quiet = {state: {state} for state in AlarmState}
    for (before, trigger), after in ALARM_TRANSITIONS.items():
        if trigger is not T.ACKNOWLEDGE:
            quiet[before] |= {after}
    assert S.NORMAL not in quiet[S.UNACKNOWLEDGED] | quiet[S.RETURNED_UNACKNOWLEDGED]
    assert ALARM_TRANSITIONS[S.UNACKNOWLEDGED, T.ACKNOWLEDGE] is not S.NORMAL


def test_the_colours_are_those_of_the_emergency_response_law():
    assert [colour.value for colour in Colour] == ["red", "orange", "yellow", "blue"]


def test_a_definition_says_what_it_does_not_name():
    definition = ConditionDefinition.model_validate(DEFINITION)
    assert (definition.input, definition.direction) == ("value", "above")
    assert (definition.deadband, definition.on_delay_s, definition.off_delay_s) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("set_point", math.nan),
        ("set_point", math.inf),
        ("deadband", -0.1),
        ("on_delay_s", -1.0),
        ("off_delay_s", 86_400.5),
        ("priority", 0),
        ("priority", 5),
        ("colour", "green"),
        ("title", ""),
        ("title", "x" * 201),
        ("channel_id", 0),
        ("condition_id", "Gas 1"),
        ("direction", "sideways"),
        ("set_pont", 1.0),
    ],
)
def test_a_definition_with_an_impossible_value_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        ConditionDefinition.model_validate(DEFINITION | {key: value})


def test_an_event_keeps_its_nanoseconds_through_json():
    event = ConditionEvent.model_validate(EVENT)
    assert ConditionEvent.model_validate_json(event.model_dump_json()) == event
    assert event.detected_ns == 1_761_955_200_456_789_012


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("event_id", "0123456789ABCDEF" * 2),
        ("event_id", "0" * 31),
        ("event_id", "0" * 32 + "\n"),
        ("phenomenon_ns", -1),
        ("phenomenon_ns", 2**63),
        ("detected_ns", 1.5),
        ("value", math.nan),
        ("input_value", math.inf),
        ("state", "unacknowledged"),
    ],
)
def test_an_event_with_an_impossible_value_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        ConditionEvent.model_validate(EVENT | {key: value})


def test_a_batch_holds_each_event_once_and_at_least_one():
    other = EVENT | {"event_id": "f" * 32}
    assert len(ConditionBatch.model_validate({"events": [EVENT, other]}).events) == 2
    with pytest.raises(ValidationError, match="stands twice"):
        ConditionBatch.model_validate({"events": [EVENT, EVENT]})
    with pytest.raises(ValidationError, match="at least 1"):
        ConditionBatch.model_validate({"events": []})


def test_an_acknowledgement_names_somebody():
    assert Acknowledgement.model_validate({"by": "li.wei"}).note is None
    for body in ({}, {"by": ""}, {"by": "x" * 65}, {"by": "li.wei", "note": "x" * 1_001}):
        with pytest.raises(ValidationError):
            Acknowledgement.model_validate(body)


def _reachable_from(start):
    reached, edge = {start}, [start]
    while edge:
        state = edge.pop()
        for (before, _), after in ALARM_TRANSITIONS.items():
            if before is state and after not in reached:
                reached.add(after)
                edge.append(after)
    return reached
