"""What follows from a received message: records to store, commands to publish, things to tell."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.notice import BatchesLost, ChannelsLost, Quarantined
from contracts.record import Record
from contracts.uplink import BatchIdentity
from contracts.waveform_message import Waveform


@dataclass(frozen=True, slots=True)
class BatchReceived:
    """A batch to store. Its identity is None if the edge node sends none; it may be empty."""

    gateway_id: str
    identity: BatchIdentity | None
    record: Record
    refused: tuple[Quarantined, ...] = ()
    """Readings of the same payload that are none of ours: quarantined in the same commit as the rest is stored."""
    thinned_readings: int = 0
    """So many were taken out of the batch by its agent, whose disk was full (`contracts.uplink.THINNED`)."""
    waveforms: tuple[Waveform, ...] = ()
    """Blocks of samples that came in the same payload."""


@dataclass(frozen=True, slots=True)
class CommandDue:
    """A message to publish: QoS 0, not retained."""

    topic: str
    payload: bytes


Effect = BatchReceived | CommandDue | ChannelsLost | BatchesLost | Quarantined
