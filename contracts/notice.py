"""What a Sparkplug host notices beside readings: lost channels, lost batches, bad input that was set aside."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.quality import Reason


@dataclass(frozen=True, slots=True)
class ChannelsLost:
    """Nobody speaks for these channels any more: a bus or a gateway died."""

    gateway_id: str
    channel_ids: tuple[int, ...]
    reason: Reason
    time_ns: int


@dataclass(frozen=True, slots=True)
class BatchesLost:
    """A gateway says that it does not hold these batches any more."""

    gateway_id: str
    epoch: int
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Bad input, set aside with its reason."""

    received_ns: int
    topic: str
    reason: str
    detail: str
    payload: bytes
