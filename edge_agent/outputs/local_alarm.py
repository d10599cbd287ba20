"""Which local outputs are to be on, decided from each reading before it is stored or sent. Pure.

The rule is the platform's own (`contracts.condition.step`). An output is on while at least one of its conditions is
active. Bad readings change nothing, and neither does a reading that is older than the newest of its channel.

What a condition has become, and since when a delay runs, outlives a restart (`as_document`, `restore`): as the
platform, the gateway takes the time without readings for time in which nothing changed. An output that was on is told
so again at once. One that was not known to be on is told to be on as soon as a condition is active, and to be off once
each of its channels has given a good reading and no on-delay is running.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.condition import NEVER, LaneState, Threshold, step
from contracts.quality import REASONS, Level, Reason
from edge_agent.channel_table import Reading

_BAD_CODES = frozenset(reason.value for reason in Reason if REASONS[reason].level is Level.BAD)


@dataclass(frozen=True, slots=True)
class LocalCondition:
    """A condition on one channel."""

    alias: int
    threshold: Threshold
    key: str = ""
    """The same for the same condition, whatever its alias: by it its state is found after a restart."""


@dataclass(frozen=True, slots=True)
class Switch:
    """An output is to be on or off from now on, and why."""

    output_id: str
    is_on: bool
    alias: int
    """The channel whose reading decided."""
    value: float
    phenomenon_ns: int


@dataclass(slots=True)
class _Lane:
    condition: LocalCondition
    state: LaneState = field(default_factory=LaneState)
    newest_ns: int = NEVER


@dataclass(slots=True)
class _Output:
    output_id: str
    lanes: list[_Lane]
    is_on: bool | None = None
    """None: not known since the start."""

    def wanted(self) -> bool | None:
        """On, off, or None while it cannot be told."""
        if any(lane.state.is_active for lane in self.lanes):
            return True
        is_settled = all(lane.newest_ns != NEVER and lane.state.since_ns == NEVER for lane in self.lanes)
        return False if self.is_on or is_settled else None


class LocalAlarms:
    """The local conditions of a gateway and their state."""

    def __init__(self, outputs: Iterable[tuple[str, Sequence[LocalCondition]]]) -> None:
        self.revision = 0
        """Counts changes of what `as_document` gives."""
        self._take_outputs(outputs)

    def replace(self, outputs: Iterable[tuple[str, Sequence[LocalCondition]]]) -> None:
        """Other outputs from now on; a condition that is the same goes on where it was."""
        before = {output.output_id: output for output in self._outputs}
        self._take_outputs(outputs)
        for output in self._outputs:
            former = before.get(output.output_id)
            if former is not None:
                output.is_on = former.is_on
                _carry_over(former, output)

    def take(self, readings: Iterable[Reading]) -> list[Switch]:
        """Steps what these readings concern; gives the outputs that change, in order of the readings."""
        switches: list[Switch] = []
        of_alias = self._of_alias
        if not of_alias:
            return switches
        for reading in readings:
            if reading[0] in of_alias:
                switches += self._step(*reading)
        return switches

    def is_on(self, output_id: str) -> bool:
        """Whether an output is known to be on."""
        return any(output.is_on is True for output in self._outputs if output.output_id == output_id)

    def as_document(self) -> dict[str, Any]:
        """What a restart must not forget, for JSON."""
        return {
            output.output_id: {
                "is_on": output.is_on is True,
                "conditions": {
                    lane.condition.key: {"is_active": lane.state.is_active, "since_ns": lane.state.since_ns}
                    for lane in output.lanes
                },
            }
            for output in self._outputs
        }

    def restore(self, document: Mapping[str, Any]) -> list[str]:
        """Takes over what was kept, as far as it fits; gives the outputs that are to be on.

        Whoever wrote the document may have had other outputs, or another clock: a condition that is not the same any
        more begins anew, and no reading is taken for older than the newest.
        """
        switched_on = []
        for output in self._outputs:
            kept = document.get(output.output_id)
            if not isinstance(kept, Mapping):
                continue
            conditions = kept.get("conditions")
            if not isinstance(conditions, Mapping):
                continue
            for lane in output.lanes:
                lane.state = _parse_lane(conditions.get(lane.condition.key))
            if kept.get("is_on") is True and output.wanted():
                output.is_on = True
                switched_on.append(output.output_id)
        return switched_on

    def _take_outputs(self, outputs: Iterable[tuple[str, Sequence[LocalCondition]]]) -> None:
        self._outputs = [_Output(output_id, [_Lane(one) for one in conditions]) for output_id, conditions in outputs]
        self._of_alias: dict[int, list[tuple[_Output, _Lane]]] = {}
        for output in self._outputs:
            for lane in output.lanes:
                self._of_alias.setdefault(lane.condition.alias, []).append((output, lane))

    def _step(self, alias: int, phenomenon_ns: int, value: float | None, code: int) -> Iterable[Switch]:
        if value is None or code in _BAD_CODES:
            return
        for output, lane in self._of_alias[alias]:
            if phenomenon_ns < lane.newest_ns:
                continue
            lane.newest_ns = phenomenon_ns
            before = lane.state
            lane.state, _ = step(lane.condition.threshold, before, value, phenomenon_ns)
            self.revision += lane.state != before
            wanted = output.wanted()
            if wanted is not None and wanted is not output.is_on:
                output.is_on = wanted
                self.revision += 1
                yield Switch(output.output_id, wanted, alias, value, phenomenon_ns)


def _carry_over(former: _Output, output: _Output) -> None:
    lanes = {lane.condition.key: lane for lane in former.lanes}
    for lane in output.lanes:
        same = lanes.get(lane.condition.key)
        if same is not None:
            lane.state, lane.newest_ns = same.state, same.newest_ns


def _parse_lane(kept: object) -> LaneState:
    """The state of a lane from JSON; a new one if it is none."""
    if not isinstance(kept, Mapping):
        return LaneState()
    is_active, since_ns = kept.get("is_active"), kept.get("since_ns")
    if not isinstance(is_active, bool) or not isinstance(since_ns, int):
        return LaneState()
    return LaneState(is_active, since_ns)
