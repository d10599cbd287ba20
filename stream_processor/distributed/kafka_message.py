"""A message for Kafka, before it is written. Pure."""

from __future__ import annotations

from typing import NamedTuple

from contracts.kafka_topic import KafkaTopic


class KafkaMessage(NamedTuple):
    """A message to write."""

    topic: KafkaTopic
    partition: int
    key: bytes | None
    value: bytes | None
    """None: a tombstone, on a compacted topic."""
