"""What the bridge gathers for each partition of `observations` until it is a message. Pure.

A partition is due when it holds enough readings, or its first effect has waited long enough. One on which nothing was
heard gets a message without rows each second, so that its time goes on.

A message says first what was read and then who was lost. So a gateway's effects keep their order: its readings after
its loss begin a message of their own. A message never outgrows the topic: what is told is cut into pieces, and the
bad readings of one payload that are beyond a bound go without their batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from contracts.kafka_topic import OBSERVATIONS, partition_of
from contracts.notice import BatchesLost, ChannelsLost, Quarantined
from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.record import Record, concatenate
from contracts.record_message import ObservationMessage
from contracts.sparkplug.topic import NAMESPACE
from contracts.waveform_message import WaveformMessage
from stream_processor.effects import BatchReceived, Effect

IDLE_NS: Final = NANOSECONDS_PER_SECOND
MESSAGE_BYTES: Final = OBSERVATIONS.message_bytes_max - 128 * 1024
"""Room for Arrow's schema and for the head's own words."""
QUARANTINED_PAYLOAD_BYTES: Final = 4 * 1024
"""As much of bad input as anybody will see (contracts.query.QuarantineRow)."""
QUARANTINED_TEXT_CHARACTERS: Final = 1_000
REFUSED_BYTES: Final = 512 * 1024
"""Bad readings that stay with their batch; 100,000 good ones, the most of a payload, still fit beside them."""
CHANNELS_PER_NOTICE: Final = 10_000
RANGES_PER_NOTICE: Final = 5_000

_ROW_BYTES: Final = 34
_BATCH_BYTES: Final = 128
_NUMBER_BYTES: Final = 22
_JSON_BYTES_PER_CHARACTER: Final = 12
"""A character beyond the basic plane is two escapes of six."""


class GatherBounds(NamedTuple):
    """When a partition is due."""

    rows: int
    interval_ns: int


@dataclass(slots=True)
class _Draft:
    """A message that is being gathered."""

    opened_ns: int
    byte_count: int = 0
    rows: int = 0
    records: list[Record] = field(default_factory=list)
    batch_count: int = 0
    quarantined: list[tuple[int | None, Quarantined]] = field(default_factory=list)
    batches_lost: list[BatchesLost] = field(default_factory=list)
    channels_lost: list[ChannelsLost] = field(default_factory=list)
    lost_gateways: set[str] = field(default_factory=set)
    thinned: list[tuple[int, int]] = field(default_factory=list)

    def add_batch(self, record: Record, refused: Iterable[Quarantined], thinned_readings: int) -> None:
        if thinned_readings:
            self.thinned.append((self.batch_count, thinned_readings))
        self.quarantined += [(self.batch_count, bad) for bad in refused]
        self.records.append(record)
        self.batch_count += len(record.batches)
        self.rows += len(record)

    def message(self, made_ns: int) -> ObservationMessage:
        return ObservationMessage(
            made_ns=made_ns,
            record=concatenate(self.records),
            quarantined=tuple(self.quarantined),
            batches_lost=tuple(self.batches_lost),
            channels_lost=tuple(self.channels_lost),
            thinned=tuple(self.thinned),
        )


@dataclass(slots=True)
class _Partition:
    closed: list[_Draft] = field(default_factory=list)
    """Full ones, oldest first."""
    draft: _Draft | None = None
    made_ns: int | None = None
    """When its last message was made."""

    def close(self) -> None:
        if self.draft is not None:
            self.closed.append(self.draft)
            self.draft = None


class PartitionBuffer:
    """All partitions."""

    def __init__(self, partition_count: int, bounds: GatherBounds) -> None:
        self._bounds = bounds
        self._partitions = [_Partition() for _ in range(partition_count)]
        self._waveforms: list[tuple[int, WaveformMessage]] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing is gathered."""
        return all(each.draft is None and not each.closed for each in self._partitions)

    def add(self, effect: Effect, now_ns: int) -> None:
        """Takes one effect. Commands are none of its concern."""
        match effect:
            case BatchReceived():
                self._add_batch(effect, now_ns)
            case Quarantined():
                self._add_quarantined(self._partition(_sender(effect.topic)), effect, now_ns)
            case BatchesLost():
                self._add_batches_lost(effect, now_ns)
            case ChannelsLost():
                self._add_channels_lost(effect, now_ns)

    def pop_waveforms(self) -> list[tuple[int, WaveformMessage]]:
        """Waveforms that were gathered, with their partition: to be written before the records of their batches."""
        waveforms, self._waveforms = self._waveforms, []
        return waveforms

    def pop_due(self, now_ns: int) -> list[tuple[int, ObservationMessage]]:
        """Messages to write now, with their partition; those of one partition in order."""
        return list(self._pop(now_ns, is_everything_due=False))

    def pop_all(self, now_ns: int) -> list[tuple[int, ObservationMessage]]:
        """All that is gathered."""
        return list(self._pop(now_ns, is_everything_due=True))

    def _pop(self, now_ns: int, *, is_everything_due: bool) -> Iterator[tuple[int, ObservationMessage]]:
        for number, partition in enumerate(self._partitions):
            draft = partition.draft
            if draft is not None and (is_everything_due or self._is_due(draft, now_ns)):
                partition.close()
            if not partition.closed and draft is None and _is_idle(partition, now_ns):
                partition.closed.append(_Draft(now_ns))
            for each in partition.closed:
                partition.made_ns = now_ns
                yield number, each.message(now_ns)
            partition.closed = []

    def _is_due(self, draft: _Draft, now_ns: int) -> bool:
        """A clock that was set back counts as due."""
        return draft.rows >= self._bounds.rows or not 0 <= now_ns - draft.opened_ns < self._bounds.interval_ns

    def _partition(self, sender: str) -> _Partition:
        return self._partitions[partition_of(sender, len(self._partitions))]

    def _add_batch(self, batch: BatchReceived, now_ns: int) -> None:
        partition = self._partition(batch.gateway_id)
        if batch.waveforms:
            number = partition_of(batch.gateway_id, len(self._partitions))
            self._waveforms.append((number, WaveformMessage(batch.gateway_id, batch.identity, batch.waveforms)))
        if partition.draft is not None and batch.gateway_id in partition.draft.lost_gateways:
            partition.close()
        refused = [_trimmed(bad) for bad in batch.refused]
        kept, kept_bytes = _fitting(refused) if refused else (0, 0)
        byte_count = len(batch.record) * _ROW_BYTES + _BATCH_BYTES + kept_bytes
        _room(partition, byte_count, now_ns).add_batch(batch.record, refused[:kept], batch.thinned_readings)
        for bad in refused[kept:]:
            self._add_quarantined(partition, bad, now_ns)

    def _add_quarantined(self, partition: _Partition, bad: Quarantined, now_ns: int) -> None:
        trimmed = _trimmed(bad)
        _room(partition, _quarantined_bytes(trimmed), now_ns).quarantined.append((None, trimmed))

    def _add_batches_lost(self, lost: BatchesLost, now_ns: int) -> None:
        partition = self._partition(lost.gateway_id)
        for start in range(0, len(lost.ranges), RANGES_PER_NOTICE):
            piece = replace(lost, ranges=lost.ranges[start : start + RANGES_PER_NOTICE])
            room = _BATCH_BYTES + 2 * _NUMBER_BYTES * len(piece.ranges)
            _room(partition, room, now_ns).batches_lost.append(piece)

    def _add_channels_lost(self, lost: ChannelsLost, now_ns: int) -> None:
        partition = self._partition(lost.gateway_id)
        for start in range(0, len(lost.channel_ids), CHANNELS_PER_NOTICE):
            piece = replace(lost, channel_ids=lost.channel_ids[start : start + CHANNELS_PER_NOTICE])
            draft = _room(partition, _BATCH_BYTES + _NUMBER_BYTES * len(piece.channel_ids), now_ns)
            draft.channels_lost.append(piece)
            draft.lost_gateways.add(lost.gateway_id)


def _room(partition: _Partition, byte_count: int, now_ns: int) -> _Draft:
    """The draft that the next `byte_count` bytes go into."""
    if partition.draft is not None and partition.draft.byte_count + byte_count > MESSAGE_BYTES:
        partition.close()
    if partition.draft is None:
        partition.draft = _Draft(now_ns)
    partition.draft.byte_count += byte_count
    return partition.draft


def _is_idle(partition: _Partition, now_ns: int) -> bool:
    return partition.made_ns is None or not 0 <= now_ns - partition.made_ns < IDLE_NS


def _sender(topic: str) -> str:
    """The edge node that a topic names, or the topic itself if it names none."""
    elements = topic.split("/")
    return elements[3] if elements[0] == NAMESPACE and len(elements) > 3 else topic


def _trimmed(bad: Quarantined) -> Quarantined:
    return replace(
        bad,
        topic=bad.topic[:QUARANTINED_TEXT_CHARACTERS],
        detail=bad.detail[:QUARANTINED_TEXT_CHARACTERS],
        payload=bad.payload[:QUARANTINED_PAYLOAD_BYTES],
    )


def _quarantined_bytes(bad: Quarantined) -> int:
    """At most so much of the head: JSON with escapes, and the payload as base64."""
    texts = len(bad.topic) + len(bad.detail) + len(bad.reason)
    return _BATCH_BYTES + _JSON_BYTES_PER_CHARACTER * texts + 4 * (len(bad.payload) // 3 + 1)


def _fitting(refused: list[Quarantined]) -> tuple[int, int]:
    """How many of them stay with their batch, and their bytes."""
    byte_count = 0
    for number, bad in enumerate(refused):
        grown = byte_count + _quarantined_bytes(bad)
        if grown > REFUSED_BYTES:
            return number, byte_count
        byte_count = grown
    return len(refused), byte_count
