"""Alarm conditions and alarms: what the stream processor says, and what the alarm service makes of it.

A *condition definition* is configuration from the registry. A *condition event* says that a condition became
active or returned to normal; it goes through Kafka `alarm.conditions`, or from the embedded outbox to the
alarm service, at least once: `event_id` makes it idempotent. An *alarm* is the ISA-18.2 state of a condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.condition import ConditionState, Direction
from contracts.identifiers import ChannelId, Identifier

_WIRE = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

TimeNs = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Nanoseconds since 1970-01-01T00:00:00Z."""


class Colour(StrEnum):
    """Warning grades of China's Emergency Response Law, I (gravest) to IV."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    BLUE = "blue"


class ConditionInput(StrEnum):
    """What a condition looks at: the value, or what a detector says of it (docs/scores.md)."""

    VALUE = "value"
    SCORE_EWMA_Z = "score_ewma_z"
    SCORE_ROBUST_Z = "score_robust_z"
    SCORE_FLAT_LINE = "score_flat_line"
    SCORE_RATE_OF_CHANGE = "score_rate_of_change"
    SCORE_HOUR_BASELINE = "score_hour_baseline"
    SCORE_NOVELTY = "score_novelty"
    SCORE_RESIDUAL = "score_residual"
    SCORE_COMBINED = "score_combined"
    SCORE_GROUP_DISTANCE = "score_group_distance"
    SCORE_GROUP_FOREST = "score_group_forest"


EXPLANATION_LENGTH_MAX: Final = 300
"""Of the words that say why a score is what it is."""


class ConditionDefinition(BaseModel):
    """A threshold on a channel's value or score, as the registry keeps it."""

    model_config = _WIRE

    condition_id: Identifier
    channel_id: ChannelId
    input: ConditionInput = ConditionInput.VALUE
    direction: Direction = Direction.ABOVE
    set_point: float
    """Active at or beyond this value. In the quantity's unit; for a score between 0 and 1 (0.5 = 3 sigma)."""
    deadband: float = Field(default=0.0, ge=0.0)
    """Returns to normal only this far on the other side of the set-point (ISA-18.2)."""
    on_delay_s: float = Field(default=0.0, ge=0.0, le=86_400.0)
    """The breach must last this long, in event time, before the condition is active."""
    off_delay_s: float = Field(default=0.0, ge=0.0, le=86_400.0)
    """The return must last this long, in event time, before the condition is normal."""
    priority: int = Field(ge=1, le=4)
    """1 is the most urgent."""
    colour: Colour
    title: str = Field(min_length=1, max_length=200)
    """What the duty officer reads first: `Methane above 25 %LEL`."""


class ConditionEvent(BaseModel):
    """A condition became active or returned to normal."""

    model_config = _WIRE

    event_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Made from condition, state and phenomenon time: the same event has the same id each time it is told."""
    condition_id: Identifier
    channel_id: ChannelId
    state: ConditionState
    phenomenon_ns: TimeNs
    """When the sensor measured the value that decided."""
    detected_ns: TimeNs
    """When the stream processor decided."""
    is_historical: bool = False
    """The deciding value arrived late: it is recorded, it informs, it pages nobody (design, promise 3)."""
    value: float
    """The deciding value of the channel, in `unit`."""
    input: ConditionInput = ConditionInput.VALUE
    input_value: float
    """The deciding value of the condition's input: the value again, or the score."""
    explanation: str = Field(default="", max_length=EXPLANATION_LENGTH_MAX)
    """Why a score is what it is: "9.9 sigma above the recent mean 10.01 %LEL"; empty for a value and for a return."""
    set_point: float
    priority: int = Field(ge=1, le=4)
    colour: Colour
    title: str
    gateway_id: Identifier
    node_id: Identifier
    site_id: Identifier
    district_id: Identifier
    quantity: Identifier
    unit: str


class AlarmState(StrEnum):
    """States of ISA-18.2 / IEC 62682 that the alarm service knows so far."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    """Active, and nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    """Active, and somebody has acknowledged it."""
    RETURNED_UNACKNOWLEDGED = "returned_unacknowledged"
    """Back to normal, but nobody has acknowledged that it was active."""


class AlarmTrigger(StrEnum):
    """What moves an alarm from one state to another."""

    ACTIVATE = "activate"
    RETURN = "return"
    ACKNOWLEDGE = "acknowledge"


ALARM_TRANSITIONS: Final[Mapping[tuple[AlarmState, AlarmTrigger], AlarmState]] = MappingProxyType(
    {
        (AlarmState.NORMAL, AlarmTrigger.ACTIVATE): AlarmState.UNACKNOWLEDGED,
        (AlarmState.UNACKNOWLEDGED, AlarmTrigger.ACKNOWLEDGE): AlarmState.ACKNOWLEDGED,
        (AlarmState.UNACKNOWLEDGED, AlarmTrigger.RETURN): AlarmState.RETURNED_UNACKNOWLEDGED,
        (AlarmState.ACKNOWLEDGED, AlarmTrigger.RETURN): AlarmState.NORMAL,
        (AlarmState.RETURNED_UNACKNOWLEDGED, AlarmTrigger.ACKNOWLEDGE): AlarmState.NORMAL,
        (AlarmState.RETURNED_UNACKNOWLEDGED, AlarmTrigger.ACTIVATE): AlarmState.UNACKNOWLEDGED,
    }
)
"""All that can happen. A trigger that is not listed for a state leaves the state as it is."""


class Alarm(BaseModel):
    """One alarm: the life of a condition from its activation to normal and acknowledged."""

    model_config = _WIRE

    alarm_id: int = Field(ge=1)
    revision: int = Field(ge=1)
    """Grows with every change of any alarm, over the whole service: what a long poll waits on."""
    state: AlarmState
    is_active: bool
    condition_id: Identifier
    channel_id: ChannelId
    title: str
    priority: int = Field(ge=1, le=4)
    colour: Colour
    district_id: Identifier
    site_id: Identifier
    gateway_id: Identifier
    node_id: Identifier
    quantity: Identifier
    unit: str
    set_point: float
    value: float
    """The value that activated it (last activation)."""
    input: ConditionInput
    input_value: float
    explanation: str = ""
    """Why the score is what it is; empty for a value."""
    phenomenon_ns: TimeNs
    """When the sensor measured that value."""
    raised_ns: TimeNs
    """When the alarm service took the activation in."""
    returned_ns: TimeNs | None = None
    """Phenomenon time of the return to normal."""
    acknowledged_ns: TimeNs | None = None
    acknowledged_by: str | None = None
    note: str | None = None


class AlarmPage(BaseModel):
    """Answer of `GET /v1/alarms`: alarms changed after the asked-for revision, gravest first."""

    model_config = _WIRE

    revision: int = Field(ge=0)
    """Ask for `changed_after` this the next time."""
    alarms: list[Alarm]


class Acknowledgement(BaseModel):
    """Body of `POST /v1/alarms/{alarm_id}/acknowledge`."""

    model_config = _WIRE

    by: str = Field(min_length=1, max_length=64)
    note: str | None = Field(default=None, max_length=1_000)


class JournalEntry(BaseModel):
    """A row of the append-only alarm journal."""

    model_config = _WIRE

    entry_id: int
    time_ns: TimeNs
    kind: Literal["activated", "returned", "acknowledged", "historical"]
    alarm_id: int | None
    """None for a historical entry: it never became an alarm."""
    condition_id: Identifier
    by: str
    """Who did it: a person, or the service's principal."""
    detail: str


class ConditionReceipt(BaseModel):
    """Answer of `POST /v1/conditions`: every event is durably in the journal, or the whole post failed."""

    model_config = _WIRE

    accepted: int
    duplicates: int


class ConditionBatch(BaseModel):
    """Body of `POST /v1/conditions`."""

    model_config = _WIRE

    events: list[ConditionEvent] = Field(min_length=1, max_length=1_000)

    @model_validator(mode="after")
    def _check_unique(self) -> ConditionBatch:
        if len({event.event_id for event in self.events}) != len(self.events):
            raise ValueError("an event_id stands twice in one batch")
        return self
