"""What a configuration or a person can order: a leak, a fire, a fault. Text → typed models.

`at_s` counts from the simulator's start in a configuration, from now on the control socket.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, FiniteFloat, model_validator

from contracts.configuration import Settings
from contracts.identifiers import Identifier
from simulators.scenario import Excursion, Fault, FaultKind

_SECOND_NS: Final = 1_000_000_000
_DAY_S: Final = 86_400.0

Offset = Annotated[float, Field(ge=0.0, le=_DAY_S)]
Duration = Annotated[float, Field(gt=0.0, le=_DAY_S)]


def to_ns(seconds: float) -> int:
    """Whole nanoseconds."""
    return round(seconds * _SECOND_NS)


class GasLeak(Settings):
    """Gas (or any quantity) rises above the background, holds, falls."""

    kind: Literal["gas_leak"]
    node: Identifier
    quantity: Identifier = "methane_lel"
    at_s: Offset = 0.0
    peak: FiniteFloat = Field(ge=-1e6, le=1e6)
    """What is added at the highest, in the quantity's unit."""
    rise_s: Duration = 25.0
    hold_s: Offset = 180.0
    fall_s: Duration = 40.0

    def excursion(self, base_ns: int) -> Excursion:
        """The leak with its times."""
        times_ns = (to_ns(self.rise_s), to_ns(self.hold_s), to_ns(self.fall_s))
        return Excursion(self.node, self.quantity, self.peak, base_ns + to_ns(self.at_s), *times_ns)


class Fire(Settings):
    """A fire detector sees fire."""

    kind: Literal["fire"]
    node: Identifier
    at_s: Offset = 0.0
    hold_s: Duration = 180.0

    def excursion(self, base_ns: int) -> Excursion:
        """The fire with its times."""
        return Excursion(self.node, "fire_alarm", 1.0, base_ns + to_ns(self.at_s), 0, to_ns(self.hold_s), 0)


Happening = Annotated[GasLeak | Fire, Field(discriminator="kind")]


class FaultOrder(Settings):
    """A fault of a node's device, or of a whole bus."""

    kind: FaultKind
    node: Identifier | None = None
    bus: Identifier | None = None
    """For `line_lost`."""
    at_s: Offset = 0.0
    for_s: Duration
    value: FiniteFloat | None = Field(default=None, ge=-1e9, le=1e9)
    """For `out_of_range`: what the instrument shows, in the quantity's unit."""
    quantity: Identifier | None = None
    """For `out_of_range` and `not_a_number`: which one, where the node has more than one."""
    code: int | None = Field(default=None, ge=1, le=255)
    """For `modbus_exception`."""

    @model_validator(mode="after")
    def _check_complete(self) -> FaultOrder:
        if self.kind is FaultKind.LINE_LOST:
            if self.bus is None or self.node is not None:
                raise ValueError("line_lost is a fault of a bus: it needs `bus`, not `node`")
        elif self.node is None or self.bus is not None:
            raise ValueError(f"{self.kind} is a fault of a device: it needs `node`, not `bus`")
        if (self.value is not None) != (self.kind is FaultKind.OUT_OF_RANGE):
            raise ValueError("out_of_range, and only it, needs `value`")
        if self.code is not None and self.kind is not FaultKind.MODBUS_EXCEPTION:
            raise ValueError("only modbus_exception has a `code`")
        return self

    @property
    def subject_id(self) -> str:
        """The node or the bus."""
        subject = self.node or self.bus
        assert subject is not None
        return subject

    def fault(self, base_ns: int, quantity: str | None) -> Fault:
        """The fault with its times; `quantity` is the one that it concerns, None for all."""
        from_ns = base_ns + to_ns(self.at_s)
        until_ns = from_ns + to_ns(self.for_s)
        return Fault(self.subject_id, self.kind, from_ns, until_ns, self.value, self.code, quantity)


class FaultCommand(Settings):
    """Order a fault."""

    command: Literal["fault"]
    order: FaultOrder


class HappeningCommand(Settings):
    """Let something happen; the answer tells when it truly crosses each of `set_points`."""

    command: Literal["happen"]
    order: Happening
    set_points: tuple[FiniteFloat, ...] = ()


class ClearCommand(Settings):
    """End all faults and happenings of a node or bus."""

    command: Literal["clear"]
    subject: Identifier


class ValueCommand(Settings):
    """Ask what is true now (or was at `time_ns`) at a node."""

    command: Literal["value"]
    node: Identifier
    quantity: Identifier
    time_ns: int | None = None


class StatusCommand(Settings):
    """Ask how the field is."""

    command: Literal["status"]


class Command(Settings):
    """One line on the control socket."""

    request: Annotated[
        FaultCommand | HappeningCommand | ClearCommand | ValueCommand | StatusCommand, Field(discriminator="command")
    ]
