"""How a Faust job works: the part of a configuration that all jobs share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.configuration import Settings

KafkaName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+$")]
"""A name that Kafka takes."""


class JobSettings(Settings):
    """Table [job]."""

    group: KafkaName
    """Kafka's consumer group: the workers of one group share the partitions."""
    worker: KafkaName | None = None
    """A name of this worker that no other of the group has (Kafka's static membership, KIP-345): if it is killed and
    started again within the session timeout, it has its partitions back at once, and nobody else is disturbed. A worker
    with a name that leaves for good is missed only after the session timeout."""
    gather_interval_s: float = Field(default=0.01, ge=0.0, le=60.0)
    """So long messages are gathered after the first, before they are taken together."""
    gather_messages: int = Field(default=64, ge=1, le=10_000)
    """So many at most are taken together."""
    gather_bytes: int = Field(default=8 * 1024 * 1024, ge=1)
    """So much at most is taken together (the last message may go beyond it)."""
    fetch_min_bytes: int = Field(default=1, ge=1)
    """Kafka answers a fetch when so much waits in all partitions of this worker: the more, the fewer requests."""
    fetch_wait_s: float = Field(default=0.5, ge=0.0, le=60.0)
    """Or after so long with what there is: so much later a message may come."""
    commit_interval_s: float = Field(default=1.0, ge=0.05, le=60.0)
    session_timeout_s: float = Field(default=10.0, ge=6.0, le=300.0)
    """A worker that was not heard of for so long has lost its partitions. Kafka allows 6 s at least."""
    watchdog_s: float = Field(default=60.0, ge=1.0, le=86_400.0)
    """A worker whose partition waits, and whose committed offset stands still for so long, ends itself."""
    stop_timeout_s: float = Field(default=8.0, ge=0.5, le=600.0)
    """A worker that was asked to stop and has not after so long is ended."""
