"""The life cycle: every state with every trigger, and which events count."""

from __future__ import annotations

import itertools

import pytest

from alarm_service.errors import AlarmNormalError
from alarm_service.life_cycle import ConditionLife, Stamp, next_state, step_acknowledgement, step_event
from contracts.alarm import ALARM_TRANSITIONS, Acknowledgement, AlarmState, AlarmTrigger

ZHANG = Acknowledgement(by="zhang", note="crew on the way")

# Written out from the ISA-18.2 state diagram, not computed from the table under test.
EXPECTED = {
    ("normal", "activate"): "unacknowledged",
    ("normal", "return"): "normal",
    ("normal", "acknowledge"): "normal",
    ("unacknowledged", "activate"): "unacknowledged",
    ("unacknowledged", "return"): "returned_unacknowledged",
    ("unacknowledged", "acknowledge"): "acknowledged",
    ("acknowledged", "activate"): "acknowledged",
    ("acknowledged", "return"): "normal",
    ("acknowledged", "acknowledge"): "acknowledged",
    ("returned_unacknowledged", "activate"): "unacknowledged",
    ("returned_unacknowledged", "return"): "returned_unacknowledged",
    ("returned_unacknowledged", "acknowledge"): "normal",
}
PATHS = {
    "normal": ["activate", "acknowledge", "return"],
    "unacknowledged": ["activate"],
    "acknowledged": ["activate", "acknowledge"],
    "returned_unacknowledged": ["activate", "return"],
}
"""The triggers that lead from nothing to each state."""


class Story:
    """A condition's life, one second a trigger."""

    def __init__(self, make_event, at):
        self._make_event = make_event
        self._at = at
        self.life = ConditionLife()
        self.second = 0.0
        self.entry = None
        self.is_changed = False

    def tell(self, trigger):
        self.second += 1
        if trigger == "acknowledge":
            return self.keep(step_acknowledgement(self.life, ZHANG, "console", self.stamp()))
        return self.event("active" if trigger == "activate" else "normal", self.second)

    def event(self, state, second, **fields):
        event = self._make_event(state, second, **fields)
        return self.keep(step_event(self.life, event, "processor", self.stamp()))

    def stamp(self):
        number = int(self.second * 10) + 1
        return Stamp(self._at(self.second + 0.2), revision=number, alarm_id=number)

    def keep(self, step):
        self.life, self.entry, self.is_changed = step.life, step.entry, step.is_changed
        return step

    @property
    def alarm(self):
        return self.life.alarm

    @property
    def state(self):
        return "normal" if self.alarm is None else self.alarm.state.value


@pytest.fixture
def story(make_event, at):
    return Story(make_event, at)


def test_the_expectation_speaks_of_every_state_and_every_trigger():
    everything = {(s.value, t.value) for s, t in itertools.product(AlarmState, AlarmTrigger)}
    assert set(EXPECTED) == everything
    assert set(PATHS) == {state.value for state in AlarmState}


@pytest.mark.parametrize(("state", "trigger"), list(EXPECTED))
def test_every_state_goes_where_isa_18_2_says(story, state, trigger):
    for earlier in PATHS[state]:
        story.tell(earlier)
    assert story.state == state
    before = story.alarm
    if (state, trigger) == ("normal", "acknowledge"):
        with pytest.raises(AlarmNormalError, match="acknowledged by zhang"):
            story.tell(trigger)
        return
    story.tell(trigger)
    assert story.state == EXPECTED[state, trigger]
    is_listed = (AlarmState(state), AlarmTrigger(trigger)) in ALARM_TRANSITIONS
    assert story.is_changed is is_listed
    assert (story.alarm != before) is is_listed, "an unlisted trigger leaves the alarm as it is"


@pytest.mark.parametrize(("state", "trigger"), list(EXPECTED))
def test_the_table_alone_says_the_same(state, trigger):
    assert next_state(AlarmState(state), AlarmTrigger(trigger)) == EXPECTED[state, trigger]


@pytest.mark.parametrize("state", list(PATHS))
def test_is_active_is_true_exactly_while_the_condition_is(story, state):
    for trigger in PATHS[state]:
        story.tell(trigger)
    assert story.alarm.is_active is (state in {"unacknowledged", "acknowledged"})


def test_an_activation_shows_the_values_that_decided(story, at):
    story.event("active", 5.0, value=31.0, input_value=31.0)
    alarm = story.alarm
    assert (alarm.value, alarm.set_point, alarm.unit) == (31.0, 25.0, "%{LEL}")
    assert (alarm.phenomenon_ns, alarm.raised_ns) == (at(5.0), at(0.2))
    assert (alarm.district_id, alarm.site_id, alarm.gateway_id, alarm.node_id) == (
        "north",
        "station-1",
        "gw-1",
        "gas-1",
    )


def test_a_condition_that_comes_back_unacknowledged_is_the_same_alarm_with_new_values(story):
    story.tell("activate")
    first = story.alarm
    story.tell("return")
    assert story.alarm.returned_ns is not None
    story.event("active", 9.0, value=40.0, input_value=40.0)
    again = story.alarm
    assert again.alarm_id == first.alarm_id
    assert (again.value, again.returned_ns) == (40.0, None)
    assert again.revision > first.revision


def test_a_condition_that_comes_back_after_normal_is_a_new_alarm(story):
    for trigger in PATHS["normal"]:
        story.tell(trigger)
    first = story.alarm
    story.tell("activate")
    assert story.alarm.alarm_id != first.alarm_id
    assert story.alarm.acknowledged_by is None


def test_acknowledging_keeps_name_time_and_note(story, at):
    story.tell("activate")
    story.tell("acknowledge")
    alarm = story.alarm
    assert (alarm.acknowledged_by, alarm.note, alarm.acknowledged_ns) == ("zhang", "crew on the way", at(2.2))
    assert story.entry.by == "zhang"
    assert "console" in story.entry.detail


def test_a_second_person_acknowledging_is_journalled_and_the_first_name_stays(story):
    story.tell("activate")
    story.tell("acknowledge")
    again = Acknowledgement(by="li", note="me too")
    story.keep(step_acknowledgement(story.life, again, "console", story.stamp()))
    assert story.alarm.acknowledged_by == "zhang"
    assert (story.entry.by, story.is_changed) == ("li", False)
    assert "me too" in story.entry.detail


def test_the_same_acknowledgement_again_leaves_no_trace(story):
    story.tell("activate")
    story.tell("acknowledge")
    story.tell("acknowledge")
    assert (story.entry, story.is_changed) == (None, False)


@pytest.mark.parametrize("state", [None, *PATHS])
@pytest.mark.parametrize("told", ["active", "normal"])
def test_a_historical_event_is_journalled_and_changes_nothing(story, state, told):
    for trigger in PATHS.get(state, []):
        story.tell(trigger)
    before = story.life
    story.event(told, story.second + 1, is_historical=True)
    assert story.life == before
    assert (story.entry.kind, story.entry.alarm_id) == ("historical", None)


def test_a_return_that_is_older_than_the_activation_does_not_end_it(story):
    story.second = 30.0
    story.event("active", 10.0)
    story.event("normal", 9.0)
    assert story.state == "unacknowledged"
    assert story.entry.kind == "historical"
    assert "overtaken" in story.entry.detail


def test_a_return_that_is_older_than_a_repeated_activation_does_not_end_it(story):
    story.second = 30.0
    story.event("active", 10.0)
    story.event("active", 20.0)
    story.event("normal", 15.0)
    assert story.state == "unacknowledged"


def test_an_activation_that_is_older_than_the_return_does_not_raise_again(story):
    story.second = 30.0
    story.event("active", 10.0)
    story.event("normal", 20.0)
    story.event("active", 15.0)
    assert story.state == "returned_unacknowledged"


def test_a_return_before_any_activation_makes_a_late_older_activation_history(story):
    story.second = 30.0
    story.event("normal", 20.0)
    story.event("active", 15.0)
    assert story.alarm is None


def test_a_gateway_clock_that_was_a_year_ahead_does_not_silence_the_condition(story, at):
    story.second = 12.0
    year_s = 365 * 86_400.0
    story.event("active", 10.0, phenomenon_ns=at(10.0 + year_s))
    story.second = 14.0
    story.event("normal", 13.0)
    assert story.state == "returned_unacknowledged"
    story.tell("acknowledge")
    story.tell("activate")
    assert story.state == "unacknowledged"


def test_the_journal_names_a_score_and_the_value_beside_it(story):
    why = "8.2 sigma above the recent mean 1.2 %LEL"
    story.event("active", 5.0, input="score_ewma_z", input_value=0.733, set_point=0.667, explanation=why)
    assert story.entry.detail.startswith(
        f"Methane above 25 %LEL: score_ewma_z 0.733 at 26.5 %{{LEL}} ({why}), set-point 0.667, measured 2026-09-21T"
    )
    assert story.alarm.explanation == why
