"""Threshold conditions with deadband, on-delay and off-delay, on event time (ISA-18.2, IEC 62682 clause 10).

A condition has two lanes, each with its own state: *live* readings raise and return alarms; *history* (readings that
arrived late) gives events that inform and page nobody. Bad readings change nothing: a broken sensor neither raises
nor ends an alarm.

`contracts.condition.step` is the whole life of one condition for one reading, here and on the gateway.
`Conditions.evaluate` finds the few readings of a record that can change anything with columns, then steps those one by
one in the order in which they came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from contracts.alarm import ConditionDefinition, ConditionEvent, ConditionInput
from contracts.condition import ConditionState, Direction, LaneState, step
from contracts.record import Bools, Floats, Int64s
from stream_processor.detectors.contract import Rows
from stream_processor.fleet_index import ChannelContext


class ConditionKey(NamedTuple):
    """A lane of a condition."""

    condition_id: str
    is_historical: bool


@dataclass(frozen=True, slots=True)
class Readings:
    """Good readings of a record as columns: what conditions look at."""

    row: Rows
    event_ns: Int64s
    value: Floats
    score_ewma_z: Floats
    """NaN in warm-up."""
    is_late: Bools
    other_scores: Mapping[ConditionInput, Floats] = field(default_factory=dict)
    """By detector; NaN where it did not score."""
    explanations: Mapping[tuple[int, ConditionInput], str] = field(default_factory=dict)
    """By position: why a score reaches a set-point."""

    def column(self, kind: ConditionInput) -> Floats | None:
        """What conditions of this kind look at; None if no reading has it."""
        if kind is ConditionInput.VALUE:
            return self.value
        return self.score_ewma_z if kind is ConditionInput.SCORE_EWMA_Z else self.other_scores.get(kind)


class Conditions:
    """All conditions of a fleet and their lanes."""

    def __init__(self) -> None:
        self.lanes: dict[ConditionKey, LaneState] = {}
        """Only lanes that are active or have a delay running."""
        self._by_row: dict[int, list[ConditionDefinition]] = {}
        self._definitions: dict[str, ConditionDefinition] = {}
        self._row_of_channel: Mapping[int, int] = {}
        self._watched = np.zeros(0, dtype=np.bool_)
        """By row: has a lane that is active or waiting."""
        self._marked = np.zeros(0, dtype=np.bool_)
        """By row; all False between two calls."""
        self._before: dict[ConditionKey, LaneState] = {}
        """Lanes that the last `evaluate` changed, as they were."""
        self._bounds = {kind: _Bounds.none(0) for kind in ConditionInput}

    def active(self) -> list[ConditionDefinition]:
        """Conditions that are active now."""
        return [
            self._definitions[key.condition_id]
            for key, lane in self.lanes.items()
            if lane.is_active and not key.is_historical
        ]

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1: new ones have no condition."""
        added = channel_count - len(self._watched)
        if added > 0:
            self._watched = np.concatenate([self._watched, np.zeros(added, dtype=np.bool_)])
            self._marked = np.zeros(channel_count, dtype=np.bool_)
            for bounds in self._bounds.values():
                bounds.grow(added)

    def take_definitions(
        self, definitions: Iterable[ConditionDefinition], row_of_channel: Mapping[int, int], channel_count: int
    ) -> None:
        """A new fleet revision. Lanes of conditions that stay keep their state."""
        self._by_row = {}
        self._definitions = {definition.condition_id: definition for definition in definitions}
        self._bounds = {kind: _Bounds.none(channel_count) for kind in ConditionInput}
        for definition in self._definitions.values():
            row = row_of_channel[definition.channel_id]
            self._by_row.setdefault(row, []).append(definition)
            self._bounds[definition.input].include(row, definition)
        self._row_of_channel = row_of_channel
        self._watched = np.zeros(channel_count, dtype=np.bool_)
        self._marked = np.zeros(channel_count, dtype=np.bool_)
        self._before = {}
        self.lanes = {key: lane for key, lane in self.lanes.items() if key.condition_id in self._definitions}
        for key in self.lanes:
            self._watched[self._row_of(key)] = True

    def roll_back(self) -> None:
        """Undoes what the last `evaluate` did to the lanes."""
        for key, lane in self._before.items():
            self._keep(key, self._row_of(key), lane)
        self._before = {}

    def _row_of(self, key: ConditionKey) -> int:
        return self._row_of_channel[self._definitions[key.condition_id].channel_id]

    def evaluate(
        self, readings: Readings, contexts: Mapping[int, ChannelContext], detected_ns: int
    ) -> tuple[list[ConditionEvent], set[ConditionKey]]:
        """Steps the conditions of these readings.

        Returns:
            The events, and the lanes that changed and must be kept.
        """
        events: list[ConditionEvent] = []
        changed: set[ConditionKey] = set()
        self._before = {}
        if not self._by_row or len(readings.row) == 0:
            return events, changed
        for index in self._candidates(readings):
            row = int(readings.row[index])
            self._step_reading(readings, int(index), row, contexts, detected_ns, events, changed)
        return events, changed

    def _candidates(self, readings: Readings) -> Rows:
        """Positions whose channel stands beyond a set-point, or has a lane that is active or waiting."""
        interesting = self._watched[readings.row]
        for kind, bounds in self._bounds.items():
            if bounds.is_used and (inputs := readings.column(kind)) is not None:
                interesting |= bounds.is_beyond(readings.row, inputs)
        if interesting.any():
            # A channel that becomes interesting stays so for its later readings in the same record.
            rows = readings.row[interesting]
            self._marked[rows] = True
            interesting = self._marked[readings.row]
            self._marked[rows] = False
        return np.flatnonzero(interesting)

    def _step_reading(
        self,
        readings: Readings,
        index: int,
        row: int,
        contexts: Mapping[int, ChannelContext],
        detected_ns: int,
        events: list[ConditionEvent],
        changed: set[ConditionKey],
    ) -> None:
        is_late = bool(readings.is_late[index])
        for definition in self._by_row.get(row, ()):
            inputs = readings.column(definition.input)
            if inputs is None or np.isnan(inputs[index]):
                continue
            input_value = float(inputs[index])
            key = ConditionKey(definition.condition_id, is_late)
            before = self.lanes.get(key, LaneState())
            event_ns = int(readings.event_ns[index])
            after, change = step(definition, before, input_value, event_ns)
            if after != before:
                changed.add(key)
                self._before.setdefault(key, before)
                self._keep(key, row, after)
            if change is not None:
                event = _event(
                    definition,
                    contexts[definition.channel_id],
                    change,
                    event_ns,
                    detected_ns,
                    is_historical=is_late,
                    value=float(readings.value[index]),
                    input_value=input_value,
                    explanation=readings.explanations.get((index, definition.input), ""),
                )
                events.append(event)

    def _keep(self, key: ConditionKey, row: int, lane: LaneState) -> None:
        if lane == LaneState():
            self.lanes.pop(key, None)
        else:
            self.lanes[key] = lane
        names = (definition.condition_id for definition in self._by_row[row])
        self._watched[row] = any(
            ConditionKey(name, is_historical) in self.lanes for name in names for is_historical in (False, True)
        )


@dataclass(slots=True)
class _Bounds:
    """Per channel the nearest set-points of one input: nothing between them can change an idle condition."""

    above: Floats
    below: Floats
    is_used: bool = False

    @classmethod
    def none(cls, channel_count: int) -> _Bounds:
        return cls(np.full(channel_count, np.inf), np.full(channel_count, -np.inf))

    def grow(self, added: int) -> None:
        self.above = np.concatenate([self.above, np.full(added, np.inf)])
        self.below = np.concatenate([self.below, np.full(added, -np.inf)])

    def include(self, row: int, definition: ConditionDefinition) -> None:
        self.is_used = True
        if definition.direction is Direction.ABOVE:
            self.above[row] = min(self.above[row], definition.set_point)
        else:
            self.below[row] = max(self.below[row], definition.set_point)

    def is_beyond(self, rows: Rows, values: Floats) -> Bools:
        with np.errstate(invalid="ignore"):
            beyond: Bools = (values >= self.above[rows]) | (values <= self.below[rows])
        return beyond


def withdrawal(definition: ConditionDefinition, context: ChannelContext, now_ns: int) -> ConditionEvent:
    """The return of an active condition that the registry has withdrawn: nothing will ever return it otherwise.

    No reading decided it, so its value is the set-point, and the title says what happened.
    """
    value = definition.set_point
    event = _event(
        definition, context, ConditionState.NORMAL, now_ns, now_ns, is_historical=False, value=value, input_value=value
    )
    return event.model_copy(update={"title": f"{definition.title} (withdrawn from the registry)"})


def withdrawn_at(event: ConditionEvent, now_ns: int) -> ConditionEvent:
    """A withdrawal as of another time."""
    event_id = event_id_of(event.condition_id, event.state, now_ns, is_historical=False)
    return event.model_copy(update={"event_id": event_id, "phenomenon_ns": now_ns, "detected_ns": now_ns})


def event_id_of(condition_id: str, state: ConditionState, phenomenon_ns: int, *, is_historical: bool) -> str:
    """The same event has the same id, however often it is detected or told."""
    text = f"{condition_id}|{state}|{phenomenon_ns}|{int(is_historical)}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _event(
    definition: ConditionDefinition,
    context: ChannelContext,
    state: ConditionState,
    phenomenon_ns: int,
    detected_ns: int,
    is_historical: bool,
    value: float,
    input_value: float,
    explanation: str = "",
) -> ConditionEvent:
    return ConditionEvent(
        event_id=event_id_of(definition.condition_id, state, phenomenon_ns, is_historical=is_historical),
        condition_id=definition.condition_id,
        channel_id=definition.channel_id,
        state=state,
        phenomenon_ns=phenomenon_ns,
        detected_ns=detected_ns,
        is_historical=is_historical,
        value=value,
        input=definition.input,
        input_value=input_value,
        explanation=explanation,
        set_point=definition.set_point,
        priority=definition.priority,
        colour=definition.colour,
        title=definition.title,
        gateway_id=context.node.gateway_id,
        node_id=context.node.node_id,
        site_id=context.site.site_id,
        district_id=context.site.district_id,
        quantity=context.channel.quantity,
        unit=context.quantity.unit,
    )
