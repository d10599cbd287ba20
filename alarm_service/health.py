"""How the service is: the answer of `GET /v1/health`. Pure."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from contracts.alarm import TimeNs


class ReaderState(StrEnum):
    """What the reader of Kafka does now."""

    CONNECTING = "connecting"
    READING = "reading"
    WAITING_FOR_KAFKA = "waiting_for_kafka"
    WAITING_FOR_JOURNAL = "waiting_for_journal"


class ReaderHealth(BaseModel):
    """The reader of Kafka `alarm.conditions`; totals since the service began."""

    model_config = ConfigDict(extra="forbid")

    state: ReaderState = ReaderState.CONNECTING
    because: str | None = None
    """Why it waits."""
    lag_messages: int | None = None
    """What stands in Kafka and not yet in the journal, at the last look; None if Kafka did not say."""
    taken_messages_total: int = 0
    duplicate_events_total: int = 0
    """Events that the journal had already."""
    refused_messages_total: int = 0
    restarts_total: int = 0
    """Connections to Kafka that failed or were stuck."""
    progress_ns: TimeNs | None = None
    """When it last took messages."""


class AlarmServiceHealth(BaseModel):
    """The whole answer."""

    model_config = ConfigDict(extra="forbid")

    is_journal_available: bool
    refused_messages_kept: int | None
    """Messages of Kafka that were no condition events, since ever; None while the journal is away."""
    kafka: ReaderHealth | None
    """None: conditions come over REST only."""
