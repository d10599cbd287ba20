"""What a Sparkplug host says to this gateway: NCMD and DCMD metrics, and the host's STATE. Pure.

    Node Control/Rebirth  true              send all births again
    Node Control/Reread Configuration  true   check the configuration file and apply it; the answer comes in NDATA as
                                            `Node Control/Answer`
    Uplink/AckEpoch + Uplink/AckRanges      these batches are stored: delete them
    Uplink/ResendEpoch + Uplink/ResendRanges  these batches are missing: send them again, or say that they are lost

Ranges are a UInt64Array: from, to, from, to and so on, both ends included.

In a DCMD each metric is a write: `<node_id>/<actuator>` with a number or a Boolean.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final

from contracts import uplink
from contracts.errors import PayloadError
from contracts.ranges import RangeSet
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, decode_payload

REBIRTH_METRIC: Final = "Node Control/Rebirth"
REREAD_METRIC: Final = "Node Control/Reread Configuration"
ANSWER_METRIC: Final = "Node Control/Answer"
"""String, in NDATA: what became of a command that was not refused silently."""


@dataclass(frozen=True, slots=True)
class RebirthCommand:
    """Send NBIRTH and all DBIRTHs."""


@dataclass(frozen=True, slots=True)
class AcknowledgeCommand:
    """These batches are durable at the far end."""

    epoch: int
    batches: RangeSet


@dataclass(frozen=True, slots=True)
class ResendCommand:
    """These batches are missing at the far end."""

    epoch: int
    batches: RangeSet


@dataclass(frozen=True, slots=True)
class RereadCommand:
    """Check the configuration file, and apply it if it has no fault."""


Command = RebirthCommand | AcknowledgeCommand | ResendCommand | RereadCommand


@dataclass(frozen=True, slots=True)
class WriteCommand:
    """A metric of a DCMD."""

    metric_name: str
    value: float
    """A Boolean counts as 0 or 1."""


@dataclass(frozen=True, slots=True)
class HostStatement:
    """What a STATE message says."""

    is_online: bool
    timestamp_ms: int


def parse_commands(octets: bytes) -> list[Command]:
    """The commands of an NCMD payload; metrics that are none of ours are passed over.

    Raises:
        PayloadError: not a payload, or a command that makes no sense.
    """
    metrics = {metric.name: metric for metric in decode_payload(octets).metrics}
    commands: list[Command] = []
    rebirth = metrics.get(REBIRTH_METRIC)
    if rebirth is not None and rebirth.value is True:
        commands.append(RebirthCommand())
    reread = metrics.get(REREAD_METRIC)
    if reread is not None and reread.value is True:
        commands.append(RereadCommand())
    if uplink.ACK_RANGES in metrics:
        commands.append(AcknowledgeCommand(*_batches(metrics, uplink.ACK_EPOCH, uplink.ACK_RANGES)))
    if uplink.RESEND_RANGES in metrics:
        commands.append(ResendCommand(*_batches(metrics, uplink.RESEND_EPOCH, uplink.RESEND_RANGES)))
    return commands


def parse_writes(octets: bytes) -> list[WriteCommand]:
    """The writes of a DCMD payload: all of them, or none.

    Raises:
        PayloadError: not a payload, no metric, or a metric that is no write.
    """
    metrics = decode_payload(octets).metrics
    if not metrics:
        raise PayloadError("DCMD: there is no metric in it")
    return [_write(metric) for metric in metrics]


def _write(metric: Metric) -> WriteCommand:
    if metric.name is None:
        raise PayloadError(f"DCMD: a metric with alias {metric.alias}: actuators go by name, they have no alias")
    value = metric.value
    if metric.fault is not None or not isinstance(value, int | float) or not math.isfinite(value):
        raise PayloadError(f"DCMD: {metric.name}: {metric.fault or f'{value!r:.40} is no number'}")
    return WriteCommand(metric.name, float(value))


def parse_host_statement(octets: bytes) -> HostStatement:
    """Parses `{"online": true, "timestamp": 1760000000000}`. Raises PayloadError."""
    try:
        document = json.loads(octets)
        is_online, timestamp_ms = document["online"], document["timestamp"]
    except (ValueError, KeyError, TypeError) as error:
        raise PayloadError(f"STATE: {octets[:80]!r} is no host statement: {error}") from error
    if not isinstance(is_online, bool) or isinstance(timestamp_ms, bool) or not isinstance(timestamp_ms, int):
        raise PayloadError(f"STATE: {octets[:80]!r}: online is a boolean and timestamp an integer")
    return HostStatement(is_online, timestamp_ms)


def _batches(metrics: dict[str | None, Metric], epoch_name: str, ranges_name: str) -> tuple[int, RangeSet]:
    epoch = metrics.get(epoch_name)
    ranges = metrics[ranges_name]
    if epoch is None or isinstance(epoch.value, bool) or not isinstance(epoch.value, int):
        raise PayloadError(f"{ranges_name} came without {epoch_name}")
    if ranges.datatype is not DataType.UINT64_ARRAY or not isinstance(ranges.value, list):
        raise PayloadError(f"{ranges_name} is no UInt64Array: {ranges.fault or ranges.datatype}")
    return epoch.value, RangeSet.from_flat(ranges.value)
