"""Local outputs: what switches a siren or a valve with no uplink at all. The `[[output]]` tables of the configuration.

An output is on while at least one of its conditions is active. A condition has the words of the platform's conditions
(`contracts.alarm.ConditionDefinition`) and is stepped by the same code (`contracts.condition.step`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from contracts.condition import Direction
from contracts.configuration import Settings
from contracts.identifiers import Identifier

DELAY_MAX_S = 86_400.0


class LocalConditionSettings(Settings):
    """A threshold on a channel of this gateway."""

    node_id: Identifier
    quantity: Identifier
    direction: Direction = Direction.ABOVE
    set_point: FiniteFloat
    """Active at or beyond this value, in the quantity's unit."""
    deadband: FiniteFloat = Field(default=0.0, ge=0.0)
    """Returns to normal only this far on the other side of the set-point."""
    on_delay_s: FiniteFloat = Field(default=0.0, ge=0.0, le=DELAY_MAX_S)
    off_delay_s: FiniteFloat = Field(default=0.0, ge=0.0, le=DELAY_MAX_S)


class WriteAction(Settings):
    """Sets a declared actuator."""

    kind: Literal["write"]
    node_id: Identifier
    actuator: Identifier
    value: FiniteFloat


class CommandAction(Settings):
    """Runs a program: no shell, no input; exit code 0 means done."""

    kind: Literal["command"]
    argv: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1, max_length=64)
    """The program (a path, or a name on PATH) and its arguments."""
    timeout_s: FiniteFloat = Field(default=10.0, gt=0.0, le=600.0)
    """A program that runs longer is killed, and counts as failed."""


OutputAction = Annotated[WriteAction | CommandAction, Field(discriminator="kind")]


class OutputSettings(Settings):
    """A local output."""

    output_id: Identifier
    condition: tuple[LocalConditionSettings, ...] = Field(min_length=1)
    on: OutputAction
    off: OutputAction | None = None
    """Left out: what was switched on stays on until a person resets it."""
