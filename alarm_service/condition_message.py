"""Messages of Kafka `alarm.conditions` → condition events, or why a message is none. Pure.

A message's value is the JSON of `contracts.alarm.ConditionEvent`. Its key (the gateway) only chose the partition.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from pydantic import ValidationError

from alarm_service.intake import RefusedMessage
from contracts.alarm import ConditionEvent

FAULTS_NAMED_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class SourceMessage:
    """A message and where it stood."""

    topic: str
    partition: int
    offset: int
    written_ms: int
    """Kafka's time of the message."""
    value: bytes | None


class Parsed(NamedTuple):
    """What a run of messages holds, in their order."""

    events: list[tuple[SourceMessage, ConditionEvent]]
    refused: list[RefusedMessage]


def parse_messages(messages: Iterable[SourceMessage]) -> Parsed:
    """Tells events from what is none."""
    parsed = Parsed([], [])
    for message in messages:
        try:
            event = ConditionEvent.model_validate_json(message.value or b"")
        except ValidationError as error:
            parsed.refused.append(refuse(message, _format_faults(error)))
        else:
            parsed.events.append((message, event))
    return parsed


def refuse(message: SourceMessage, reason: str) -> RefusedMessage:
    """What is kept of a message that will never become an event."""
    return RefusedMessage(message.topic, message.partition, message.offset, message.written_ms, reason, message.value)


def _format_faults(error: ValidationError) -> str:
    """`priority: Input should be less than or equal to 4; …`."""
    faults = error.errors(include_url=False, include_input=False)
    named = "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or '$'}: {fault['msg']}" for fault in faults[:FAULTS_NAMED_MAX]
    )
    return named if len(faults) <= FAULTS_NAMED_MAX else f"{named}; and {len(faults) - FAULTS_NAMED_MAX} more"
