"""Which local outputs are to be on, decided from each reading before it is stored or sent. Pure.

The rule is the platform's own (`contracts.condition.step`). An output is on while at least one of its conditions is
active. Bad readings change nothing, and neither does a reading that is older than the newest of its channel.

After a start nobody knows how the outputs stand. An output is told to be on as soon as a condition is active, and to be
off once each of its channels has given a good reading and no on-delay is running.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contracts.condition import NEVER, LaneState, Threshold, step
from contracts.quality import REASONS, Level, Reason
from edge_agent.channel_table import Reading

_BAD_CODES = frozenset(reason.value for reason in Reason if REASONS[reason].level is Level.BAD)


@dataclass(frozen=True, slots=True)
class LocalCondition:
    """A condition on one channel."""

    alias: int
    threshold: Threshold


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
        self._of_alias: dict[int, list[tuple[_Output, _Lane]]] = {}
        for output_id, conditions in outputs:
            output = _Output(output_id, [_Lane(condition) for condition in conditions])
            for lane in output.lanes:
                self._of_alias.setdefault(lane.condition.alias, []).append((output, lane))

    def take(self, readings: Iterable[Reading]) -> list[Switch]:
        """Steps what these readings concern; gives the outputs that change, in order of the readings."""
        switches: list[Switch] = []
        of_alias = self._of_alias
        for reading in readings:
            if reading[0] in of_alias:
                switches += self._step(*reading)
        return switches

    def _step(self, alias: int, phenomenon_ns: int, value: float | None, code: int) -> Iterable[Switch]:
        if value is None or code in _BAD_CODES:
            return
        for output, lane in self._of_alias[alias]:
            if phenomenon_ns < lane.newest_ns:
                continue
            lane.newest_ns = phenomenon_ns
            lane.state, _ = step(lane.condition.threshold, lane.state, value, phenomenon_ns)
            wanted = output.wanted()
            if wanted is not None and wanted is not output.is_on:
                output.is_on = wanted
                yield Switch(output.output_id, wanted, alias, value, phenomenon_ns)
