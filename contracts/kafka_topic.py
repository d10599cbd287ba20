"""The topics of Kafka: what crosses them, how it is keyed, how long it is kept. Data that renderers and jobs read.

A topic's number of partitions is the fleet's, not the topic's: all topics have the same number, and a gateway is on the
same partition of each (`partition_of`), so that a worker that owns a partition owns all that belongs to it. The number
cannot be changed later without moving gateways to other workers' state.

    bridge → waveforms → archive of waveforms → Parquet
    bridge → observations → score job → observations.scored → store job → InfluxDB
                                ↓     ↘ state.snapshots        ↓     ↘ archive → Parquet
                        alarm.conditions                 uplink.commands → bridge → NCMD
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_MEBIBYTE: Final = 1024 * 1024
_MS_PER_HOUR: Final = 3_600_000
_MS_PER_DAY: Final = 86_400_000


class Cleanup(StrEnum):
    """What Kafka does with old messages (`cleanup.policy`)."""

    DELETE = "delete"
    """Gone after the retention."""
    COMPACT = "compact"
    """The newest of each key stays for ever."""


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """One topic."""

    name: str
    meaning: str
    cleanup: Cleanup
    retention_ms: int | None
    """None: compacted, nothing ends by age."""
    message_bytes_max: int


OBSERVATIONS: Final = KafkaTopic(
    "observations",
    "records of many gateways of one partition (contracts.record_message.ObservationMessage), from bridge to score job",
    Cleanup.DELETE,
    7 * _MS_PER_DAY,
    4 * _MEBIBYTE,
)
"""Seven days: what is measured while all workers are away for a long weekend."""
SCORED: Final = KafkaTopic(
    "observations.scored",
    "the same records with quality, score and lateness (contracts.record_message.ScoredMessage): one for each message "
    "of `observations`, in their order, from score job to store job, archive and read API",
    Cleanup.DELETE,
    7 * _MS_PER_DAY,
    7 * _MEBIBYTE,
)
"""Seven days: what is measured while InfluxDB is away for a long weekend. A row is half as large again as in
`observations`, so the largest message is larger too."""
WAVEFORMS: Final = KafkaTopic(
    "waveforms",
    "blocks of samples of one batch (contracts.waveform_message.WaveformMessage), keyed by gateway, from bridge to the "
    "archive of waveforms; written before the message of `observations` that names their batch",
    Cleanup.DELETE,
    7 * _MS_PER_DAY,
    5 * _MEBIBYTE,
)
"""Seven days, as `observations`: what is acknowledged to a gateway stands here until it is in Parquet. A payload of an
edge node has at most 4 MiB."""
ALARM_CONDITIONS: Final = KafkaTopic(
    "alarm.conditions",
    "condition events as JSON (contracts.alarm.ConditionEvent), keyed by gateway, from score job to alarm service",
    Cleanup.DELETE,
    30 * _MS_PER_DAY,
    _MEBIBYTE,
)
STATE_SNAPSHOTS: Final = KafkaTopic(
    "state.snapshots",
    "what the score job knows of a partition, in chunks, for the worker that has the partition next",
    Cleanup.COMPACT,
    None,
    2 * _MEBIBYTE,
)
UPLINK_COMMANDS: Final = KafkaTopic(
    "uplink.commands",
    "acknowledgements and requests to send again, as JSON (contracts.uplink_command.UplinkCommand), keyed by gateway, "
    "from store job and score job to bridge",
    Cleanup.DELETE,
    _MS_PER_HOUR,
    _MEBIBYTE,
)
"""An hour: a command that nobody published is not missed, because agents send again and are acknowledged again."""
GATEWAY_STATUS: Final = KafkaTopic(
    "gateway.status",
    "which gateways are online, as JSON (contracts.query.GatewayHealth), keyed by gateway, and how each bridge is "
    "(BridgeHealth), keyed by bridge/<host id>; from bridge to read API",
    Cleanup.COMPACT,
    None,
    _MEBIBYTE,
)
GATEWAY_COMPLETENESS: Final = KafkaTopic(
    "gateway.completeness",
    "the gap ledger of a gateway, as JSON (contracts.query.GatewayCompleteness), keyed by gateway, from score job to "
    "read API",
    Cleanup.COMPACT,
    None,
    _MEBIBYTE,
)
QUARANTINE: Final = KafkaTopic(
    "quarantine",
    "bad input with its reason, as JSON (contracts.query.QuarantineRow), from score job and store job to read API",
    Cleanup.DELETE,
    30 * _MS_PER_DAY,
    _MEBIBYTE,
)
TOPICS: Final = (
    OBSERVATIONS,
    SCORED,
    WAVEFORMS,
    ALARM_CONDITIONS,
    STATE_SNAPSHOTS,
    UPLINK_COMMANDS,
    GATEWAY_STATUS,
    GATEWAY_COMPLETENESS,
    QUARANTINE,
)


def partition_of(gateway_id: str, partition_count: int) -> int:
    """The partition of a gateway on every topic: CRC-32 of its name, modulo the number of partitions."""
    return zlib.crc32(gateway_id.encode()) % partition_count
