"""Batches of condition events: the same as one by one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from alarm_service.intake import find_new, step_events
from alarm_service.life_cycle import ConditionLife, Stamp, step_event

STAMP = Stamp(now_ns=1_790_000_100_000_000_000, revision=11, alarm_id=5)


def test_what_is_known_or_stands_before_is_not_new(make_event):
    first, second = make_event("active", 1.0), make_event("normal", 2.0)
    known = make_event("active", 0.5)
    assert find_new([first, known, second, first, known], {known.event_id}) == [first, second]


def test_numbers_are_used_up_by_changes_only(make_event):
    events = [
        make_event("active", 1.0),
        make_event("active", 2.0),  # no change
        make_event("normal", 3.0),
        make_event("active", 4.0, condition_id="other"),
    ]
    steps = step_events(events, {}, "processor", STAMP)
    alarms = [step.life.alarm for _, step in steps]
    assert [(alarm.alarm_id, alarm.revision) for alarm in alarms] == [(5, 11), (5, 11), (5, 12), (6, 13)]


story = st.lists(
    st.tuples(st.sampled_from(["active", "normal"]), st.integers(0, 20), st.sampled_from("ab"), st.booleans()),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(story=story, cut=st.integers(0, 30))
def test_a_batch_is_its_events_one_by_one_wherever_it_is_cut(story, cut):
    events = [_make(number, *told) for number, told in enumerate(story)]
    whole = step_events(events, {}, "processor", STAMP)
    lives, stamp, steps = {}, STAMP, []
    for event in events:
        step = step_event(lives.get(event.condition_id, ConditionLife()), event, "processor", stamp)
        lives[event.condition_id] = step.life
        if step.is_changed:
            is_new = step.life.alarm.alarm_id == stamp.alarm_id
            stamp = Stamp(stamp.now_ns, stamp.revision + 1, stamp.alarm_id + is_new)
        steps.append((event, step))
    assert whole == steps
    first = step_events(events[:cut], {}, "processor", STAMP)
    lives = {event.condition_id: step.life for event, step in first}
    changed = sum(step.is_changed for _, step in first)
    opened = {step.life.alarm.alarm_id for _, step in first if step.life.alarm}
    rest = step_events(
        events[cut:], lives, "processor", Stamp(STAMP.now_ns, STAMP.revision + changed, STAMP.alarm_id + len(opened))
    )
    assert first + rest == whole


def _make(number, state, second, condition_id, is_historical):
    from contracts.alarm import ConditionEvent

    return ConditionEvent(
        event_id=f"{number:032x}",
        condition_id=condition_id,
        channel_id=7,
        state=state,
        phenomenon_ns=1_790_000_000_000_000_000 + second * 10**9,
        detected_ns=1_790_000_090_000_000_000,
        is_historical=is_historical,
        value=26.5,
        input_value=26.5,
        set_point=25.0,
        priority=1,
        colour="red",
        title="Methane",
        gateway_id="gw-1",
        node_id="gas-1",
        site_id="station-1",
        district_id="north",
        quantity="methane_lel",
        unit="%",
    )
