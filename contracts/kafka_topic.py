"""The topics of Kafka: what crosses them, how it is keyed, how long it is kept. Data that renderers and jobs read.

A topic's number of partitions is the fleet's, not the topic's: all topics that are keyed by gateway have the same
number, so that a gateway is on the same partition of each, and a worker that owns a partition owns all that belongs to
it. The number cannot be changed later without moving gateways to other workers' state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_MEBIBYTE: Final = 1024 * 1024
_MS_PER_DAY: Final = 86_400_000


class Cleanup(StrEnum):
    """What Kafka does with old messages (`cleanup.policy`)."""

    DELETE = "delete"
    """Gone after the retention."""
    COMPACT = "compact"
    """The newest of each key stays for ever."""


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """One topic. Every message is keyed by `gateway_id`."""

    name: str
    meaning: str
    cleanup: Cleanup
    retention_ms: int | None
    """None: compacted, nothing ends by age."""
    message_bytes_max: int


OBSERVATIONS: Final = KafkaTopic(
    "observations",
    "records as Arrow IPC (contracts.record), from bridge to job",
    Cleanup.DELETE,
    7 * _MS_PER_DAY,
    4 * _MEBIBYTE,
)
"""Seven days: what is measured while InfluxDB or all workers are away for a long weekend."""
ALARM_CONDITIONS: Final = KafkaTopic(
    "alarm.conditions",
    "condition events as JSON (contracts.alarm.ConditionEvent), from job to alarm service",
    Cleanup.DELETE,
    30 * _MS_PER_DAY,
    _MEBIBYTE,
)
STATE_SNAPSHOTS: Final = KafkaTopic(
    "state.snapshots",
    "detectors, deduplication windows and condition timers of a gateway, from job to the job that has it next",
    Cleanup.COMPACT,
    None,
    8 * _MEBIBYTE,
)
TOPICS: Final = (OBSERVATIONS, ALARM_CONDITIONS, STATE_SNAPSHOTS)
