"""Where Kafka is: the part of a configuration that all processes on it share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.configuration import Settings


class KafkaSettings(Settings):
    """The cluster and what is fixed for the whole city."""

    servers: tuple[str, ...] = Field(default=("127.0.0.1:9092",), min_length=1)
    """`host:port` of one or more servers to begin with."""
    partitions: int = Field(ge=1, le=1_000)
    """As `broker-config` made the topics; a difference is found at the start and is an error."""
    compression: Literal["none", "gzip", "lz4"] = "lz4"
    request_timeout_s: float = Field(default=10.0, gt=0.0, le=300.0)
    retry_first_s: float = Field(default=0.2, gt=0.0, le=60.0)
    retry_max_s: float = Field(default=10.0, gt=0.0, le=600.0)
