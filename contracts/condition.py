"""Threshold conditions with deadband, on-delay and off-delay, on event time (ISA-18.2, IEC 62682 clause 10). Pure.

`step` is the whole life of one condition for one good reading. The stream processor steps the conditions of the
fleet with it, and the edge agent those of its local outputs: a siren in the field and an alarm on the duty officer's
screen follow the same rule.

        value beyond the set-point for on_delay_s                       normal → active
        value back by more than the deadband for off_delay_s            active → normal

Bad readings are not stepped: a broken sensor neither raises nor ends an alarm.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from contracts.observation import NANOSECONDS_PER_SECOND

NEVER: Final = -1
"""No delay is running."""


class Direction(StrEnum):
    """On which side of the set-point a condition is active."""

    ABOVE = "above"
    BELOW = "below"


class ConditionState(StrEnum):
    """What a condition has become."""

    ACTIVE = "active"
    NORMAL = "normal"


class Threshold(Protocol):
    """What decides: `contracts.alarm.ConditionDefinition` has it, and so has a local condition of the edge agent."""

    @property
    def direction(self) -> Direction:
        """On which side of the set-point the condition is active."""

    @property
    def set_point(self) -> float:
        """Active at or beyond this value."""

    @property
    def deadband(self) -> float:
        """Back to normal only this far on the other side of the set-point."""

    @property
    def on_delay_s(self) -> float:
        """How long the breach must last, in event time."""

    @property
    def off_delay_s(self) -> float:
        """How long the return must last, in event time."""


class LaneState(NamedTuple):
    """State of one lane of a condition."""

    is_active: bool = False
    since_ns: int = NEVER
    """Event time from which the change that an on-delay or off-delay still holds back has lasted; NEVER if
    none."""


def step(threshold: Threshold, lane: LaneState, value: float, event_ns: int) -> tuple[LaneState, ConditionState | None]:
    """One good reading: the lane's next state, and the change of the condition if there is one."""
    sign = 1.0 if threshold.direction is Direction.ABOVE else -1.0
    excess = sign * (value - threshold.set_point)
    if lane.is_active:
        is_back = excess < 0.0 if threshold.deadband == 0.0 else excess <= -threshold.deadband
        wants_change, delay_s = is_back, threshold.off_delay_s
    else:
        wants_change, delay_s = excess >= 0.0, threshold.on_delay_s
    if not wants_change:
        return LaneState(lane.is_active, NEVER), None
    since_ns = event_ns if lane.since_ns == NEVER else min(lane.since_ns, event_ns)
    if event_ns - since_ns < delay_s * NANOSECONDS_PER_SECOND:
        return LaneState(lane.is_active, since_ns), None
    changed = ConditionState.NORMAL if lane.is_active else ConditionState.ACTIVE
    return LaneState(not lane.is_active, NEVER), changed
