"""Local outputs: what switches a siren or a valve with no uplink at all. The `[[output]]` tables of the configuration.

An output is on while at least one of its conditions is active. A condition has the words of the platform's conditions
(`contracts.alarm.ConditionDefinition`) and is stepped by the same code (`contracts.condition.step`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from contracts.condition import Direction
from contracts.identifiers import Identifier
from contracts.plain_settings import BY_KIND, Limits, plain_settings

DELAY_MAX_S = 86_400.0


@plain_settings
class LocalConditionSettings:
    """A threshold on a channel of this gateway."""

    node_id: Identifier
    quantity: Identifier
    direction: Direction = Direction.ABOVE
    set_point: float
    """Active at or beyond this value, in the quantity's unit."""
    deadband: Annotated[float, Limits(ge=0.0)] = 0.0
    """Returns to normal only this far on the other side of the set-point."""
    on_delay_s: Annotated[float, Limits(ge=0.0, le=DELAY_MAX_S)] = 0.0
    off_delay_s: Annotated[float, Limits(ge=0.0, le=DELAY_MAX_S)] = 0.0


@plain_settings
class WriteAction:
    """Sets a declared actuator."""

    kind: Literal["write"]
    node_id: Identifier
    actuator: Identifier
    value: float


@plain_settings
class CommandAction:
    """Runs a program: no shell, no input; exit code 0 means done."""

    kind: Literal["command"]
    argv: Annotated[tuple[Annotated[str, Limits(min_length=1)], ...], Limits(min_length=1, max_length=64)]
    """The program (a path, or a name on PATH) and its arguments."""
    timeout_s: Annotated[float, Limits(gt=0.0, le=600.0)] = 10.0
    """A program that runs longer is killed, and counts as failed."""


OutputAction = Annotated[WriteAction | CommandAction, BY_KIND]


@plain_settings
class OutputSettings:
    """A local output."""

    output_id: Identifier
    condition: Annotated[tuple[LocalConditionSettings, ...], Limits(min_length=1)]
    on: OutputAction
    off: OutputAction | None = None
    """Left out: what was switched on stays on until a person resets it."""
