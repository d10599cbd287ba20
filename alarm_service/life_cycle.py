"""The life of an alarm: what a condition event or an acknowledgement makes of it. Pure.

The table `contracts.alarm.ALARM_TRANSITIONS` decides about states; this module decides about everything around
it: which events count at all, which values the alarm shows, and what the journal says.

Which events count:
- A *historical* event never counts (design, promise 3): it is journalled and pages nobody.
- An *overtaken* event does not count either: a newer event of the same condition was taken before. So a late
  return can not end a newer activation, and a late activation can not re-open what has returned since.
- The order is that of phenomenon time, but never later than the processor's and this service's own clock: a
  gateway whose clock ran a year ahead must not silence its conditions for a year.

Source: ANSI/ISA-18.2-2016, alarm state transition diagram; IEC 62682.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from alarm_service.errors import AlarmNormalError
from contracts.alarm import (
    ALARM_TRANSITIONS,
    Acknowledgement,
    Alarm,
    AlarmState,
    AlarmTrigger,
    ConditionEvent,
    ConditionInput,
)
from contracts.condition import ConditionState

EntryKind = Literal["activated", "returned", "acknowledged", "historical"]

_TRIGGERS: Final = {
    ConditionState.ACTIVE: AlarmTrigger.ACTIVATE,
    ConditionState.NORMAL: AlarmTrigger.RETURN,
}
_KINDS: Final[dict[ConditionState, EntryKind]] = {
    ConditionState.ACTIVE: "activated",
    ConditionState.NORMAL: "returned",
}
_COPIED_FIELDS: Final = frozenset(Alarm.model_fields) & frozenset(ConditionEvent.model_fields) - {"state"}
"""What an alarm shows of the event that activated it."""


@dataclass(frozen=True, slots=True)
class ConditionLife:
    """What is remembered of one condition."""

    alarm: Alarm | None = None
    """Its newest alarm, normal or not; None before its first."""
    newest_ns: int = 0
    """Order time of the newest event that counted, see `order_ns`."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a step may use up: the time, and the next free numbers."""

    now_ns: int
    revision: int
    """For the alarm, if the step changes it."""
    alarm_id: int
    """For the alarm, if the step makes a new one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal has to say about a step (its number and time are the journal's)."""

    kind: EntryKind
    alarm_id: int | None
    condition_id: str
    by: str
    detail: str


@dataclass(frozen=True, slots=True)
class Step:
    """What came out: the life afterwards, the journal's entry, and whether the alarm changed."""

    life: ConditionLife
    entry: Entry | None
    """None only for an acknowledgement that was told a second time."""
    is_changed: bool


def next_state(state: AlarmState, trigger: AlarmTrigger) -> AlarmState:
    """The state that `trigger` leads to; the same state where the table lists nothing."""
    return ALARM_TRANSITIONS.get((state, trigger), state)


def order_ns(event: ConditionEvent, now_ns: int) -> int:
    """By what the events of one condition are ordered: phenomenon time, never later than our own clocks."""
    return min(event.phenomenon_ns, event.detected_ns, now_ns)


def step_event(life: ConditionLife, event: ConditionEvent, by: str, stamp: Stamp) -> Step:
    """Takes one condition event in.

    Args:
        life: what is remembered of the event's condition.
        event: what the stream processor says. The caller has absorbed duplicates.
        by: the principal that posted it.
        stamp: time and free numbers.
    """
    at_ns = order_ns(event, stamp.now_ns)
    if event.is_historical:
        return _pass_over(life, event, by, "arrived late")
    if at_ns < life.newest_ns:
        return _pass_over(life, event, by, "overtaken by a later event")
    state = AlarmState.NORMAL if life.alarm is None else life.alarm.state
    following = next_state(state, _TRIGGERS[event.state])
    later = replace(life, newest_ns=at_ns)
    if following is not state:
        return _change(later, event, following, by, stamp)
    if state is AlarmState.NORMAL:
        return _pass_over(later, event, by, "no alarm to return")
    return _confirm(later, event, by)


def step_acknowledgement(life: ConditionLife, acknowledgement: Acknowledgement, via: str, stamp: Stamp) -> Step:
    """Takes one acknowledgement in.

    The first one counts and keeps its name. A later one with another name or note is journalled only; the same
    one again (an answer was lost) leaves no trace.

    Args:
        life: of the condition, with the alarm that is acknowledged.
        acknowledgement: by whom, with which note.
        via: the principal that posted it, a console for example.
        stamp: time and free numbers.

    Raises:
        AlarmNormalError: the alarm is normal already.
    """
    alarm = life.alarm
    assert alarm is not None, "the caller has found the alarm"
    if alarm.state is AlarmState.NORMAL:
        raise AlarmNormalError(alarm.alarm_id, alarm.acknowledged_by)
    following = next_state(alarm.state, AlarmTrigger.ACKNOWLEDGE)
    if following is alarm.state:
        return Step(life, _acknowledge_again(alarm, acknowledgement, via), is_changed=False)
    changed = alarm.model_copy(
        update={
            "state": following,
            "revision": stamp.revision,
            "acknowledged_ns": stamp.now_ns,
            "acknowledged_by": acknowledgement.by,
            "note": acknowledgement.note,
        }
    )
    entry = _acknowledged(changed, acknowledgement, f"through {via}{_format_note(acknowledgement)}")
    return Step(replace(life, alarm=changed), entry, is_changed=True)


def format_event(event: ConditionEvent) -> str:
    """The event as the journal tells it: title, deciding value, set-point, and when it was measured."""
    reading = f"{event.value:g} {event.unit}"
    if event.input is not ConditionInput.VALUE:
        reading = f"{event.input.value} {event.input_value:g} at {reading}"
        reading += f" ({event.explanation})" if event.explanation else ""
    return f"{event.title}: {reading}, set-point {event.set_point:g}, measured {_format_time(event.phenomenon_ns)}"


def _change(life: ConditionLife, event: ConditionEvent, state: AlarmState, by: str, stamp: Stamp) -> Step:
    if event.state is ConditionState.NORMAL:
        alarm = _return(life.alarm, event, state, stamp)
    else:
        alarm = _activate(life.alarm, event, state, stamp)
    entry = Entry(_KINDS[event.state], alarm.alarm_id, event.condition_id, by, format_event(event))
    return Step(replace(life, alarm=alarm), entry, is_changed=True)


def _activate(before: Alarm | None, event: ConditionEvent, state: AlarmState, stamp: Stamp) -> Alarm:
    """A new alarm, or the open one again with the new values."""
    is_open = before is not None and before.state is not AlarmState.NORMAL
    alarm_id = before.alarm_id if before is not None and is_open else stamp.alarm_id
    return Alarm.model_validate(
        event.model_dump(include=set(_COPIED_FIELDS))
        | {
            "alarm_id": alarm_id,
            "revision": stamp.revision,
            "state": state,
            "is_active": True,
            "raised_ns": stamp.now_ns,
        }
    )


def _return(before: Alarm | None, event: ConditionEvent, state: AlarmState, stamp: Stamp) -> Alarm:
    assert before is not None, "the table lists no return from normal"
    return before.model_copy(
        update={
            "state": state,
            "is_active": False,
            "revision": stamp.revision,
            "returned_ns": event.phenomenon_ns,
        }
    )


def _confirm(life: ConditionLife, event: ConditionEvent, by: str) -> Step:
    """The alarm is already where the event leads: the journal alone says so."""
    assert life.alarm is not None
    detail = f"no change, the alarm is {life.alarm.state.value} already: {format_event(event)}"
    entry = Entry(_KINDS[event.state], life.alarm.alarm_id, event.condition_id, by, detail)
    return Step(life, entry, is_changed=False)


def _pass_over(life: ConditionLife, event: ConditionEvent, by: str, reason: str) -> Step:
    detail = f"{reason}, {event.state.value}: {format_event(event)}"
    return Step(life, Entry("historical", None, event.condition_id, by, detail), is_changed=False)


def _acknowledge_again(alarm: Alarm, acknowledgement: Acknowledgement, via: str) -> Entry | None:
    if (acknowledgement.by, acknowledgement.note) == (alarm.acknowledged_by, alarm.note):
        return None
    detail = f"no change, {alarm.acknowledged_by} did before; through {via}{_format_note(acknowledgement)}"
    return _acknowledged(alarm, acknowledgement, detail)


def _acknowledged(alarm: Alarm, acknowledgement: Acknowledgement, detail: str) -> Entry:
    return Entry("acknowledged", alarm.alarm_id, alarm.condition_id, acknowledgement.by, detail)


def _format_note(acknowledgement: Acknowledgement) -> str:
    return f": {acknowledgement.note}" if acknowledgement.note else ""


def _format_time(time_ns: int) -> str:
    """ISO 8601 UTC to the millisecond; years beyond 9999 do not occur below 2**63 ns."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000_000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns // 1_000_000 % 1_000:03d}Z"
