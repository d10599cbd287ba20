"""Many condition events at once: which are new, and what each of them makes of its condition. Pure.

The journal reads what it knows of all events of a batch in two queries, lets this module step through them in their
order, and writes what came out: a batch of 500 costs as many round trips to a database as a batch of one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from alarm_service.life_cycle import ConditionLife, Stamp, Step, step_event
from contracts.alarm import ConditionEvent

_NEVER_HEARD_OF = ConditionLife()


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """What came through Kafka and will never become a condition event."""

    topic: str
    partition: int
    offset: int
    written_ms: int
    """Kafka's time of the message."""
    reason: str
    message: bytes | None
    """As it came."""


def find_new(events: Sequence[ConditionEvent], known: Collection[str]) -> list[ConditionEvent]:
    """Those that the journal does not have, each once, in their order."""
    new: dict[str, ConditionEvent] = {}
    for event in events:
        if event.event_id not in known:
            new.setdefault(event.event_id, event)
    return list(new.values())


def step_events(
    events: Sequence[ConditionEvent], lives: Mapping[str, ConditionLife], by: str, stamp: Stamp
) -> list[tuple[ConditionEvent, Step]]:
    """Takes events in, one after another, each seeing what the ones before it did.

    Args:
        events: new ones, see `find_new`.
        lives: what is remembered of their conditions.
        by: who brought them.
        stamp: time and the first free numbers.
    """
    now = dict(lives)
    steps = []
    for event in events:
        step = step_event(now.get(event.condition_id, _NEVER_HEARD_OF), event, by, stamp)
        now[event.condition_id] = step.life
        stamp = _advance(stamp, step)
        steps.append((event, step))
    return steps


def _advance(stamp: Stamp, step: Step) -> Stamp:
    """The numbers that a step left free."""
    if not step.is_changed or step.life.alarm is None:
        return stamp
    used = step.life.alarm.alarm_id
    return replace(stamp, revision=stamp.revision + 1, alarm_id=max(stamp.alarm_id, used + 1))
