"""The configuration of `alarm-service`, as its TOML file gives it (`example.toml` shows all of it)."""

from __future__ import annotations

from pydantic import Field

from contracts.configuration import Settings
from contracts.service import HttpListener, Principals
from contracts.store import StoreSettings


class KafkaSettings(Settings):
    """`[kafka]`: conditions from Kafka `alarm.conditions`; without this table they come over REST only."""

    servers: tuple[str, ...] = Field(default=("127.0.0.1:9092",), min_length=1)
    """`host:port` of one or more servers to begin with."""
    group: str = Field(default="alarm-service", min_length=1)
    """Under this name Kafka remembers how far the journal has come."""
    batch_messages: int = Field(default=500, ge=1, le=5_000)
    """At most so many in one transaction: about 50 ms, in which an acknowledgement waits."""
    stuck_s: float = Field(default=60.0, gt=0.0, le=3_600.0)
    """A reader that does not move for so long although messages wait is started anew."""
    retry_first_s: float = Field(default=0.2, gt=0.0, le=60.0)
    """First pause before another attempt, doubled up to the next."""
    retry_max_s: float = Field(default=10.0, gt=0.0, le=600.0)


class AlarmServiceSettings(Settings):
    """The whole file."""

    http: HttpListener
    store: StoreSettings
    kafka: KafkaSettings | None = None
    principal: Principals
