"""What a Sparkplug host says to this gateway: NCMD metrics and the host's STATE. Pure.

    Node Control/Rebirth  true              send all births again
    Uplink/AckEpoch + Uplink/AckRanges      these batches are stored: delete them
    Uplink/ResendEpoch + Uplink/ResendRanges  these batches are missing: send them again, or say that they are lost

Ranges are a UInt64Array: from, to, from, to and so on, both ends included.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from contracts import uplink
from contracts.errors import PayloadError
from contracts.ranges import RangeSet
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, decode_payload

REBIRTH_METRIC: Final = "Node Control/Rebirth"


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


Command = RebirthCommand | AcknowledgeCommand | ResendCommand


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
    if uplink.ACK_RANGES in metrics:
        commands.append(AcknowledgeCommand(*_batches(metrics, uplink.ACK_EPOCH, uplink.ACK_RANGES)))
    if uplink.RESEND_RANGES in metrics:
        commands.append(ResendCommand(*_batches(metrics, uplink.RESEND_EPOCH, uplink.RESEND_RANGES)))
    return commands


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
