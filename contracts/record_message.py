"""Records on Kafka: one Arrow IPC stream with one record batch a message, and a JSON head behind it.

    Arrow IPC stream (schema, record batch, end of stream) | head (JSON) | length of the head (u32, little-endian)

A reader of Arrow streams stops at the end of the stream: any tool reads the columns of a message as it is.

*ObservationMessage* (topic `observations`) is what the bridge heard: the columns of `contracts.record.Record` of many
gateways of one partition, and in the head the batches that `batch_index` points to and what the bridge noticed beside
them. *ScoredMessage* (topic `observations.scored`) is what the score job says of one ObservationMessage: one row an
observation that is not a duplicate, with

| column         | type    | meaning                                                                       |
|----------------|---------|-------------------------------------------------------------------------------|
| event_ns       | int64   | phenomenon time, or the time of receipt where the gateway's clock is wrong    |
| score_ewma_z   | float64 | NaN where there is none                                                       |
| is_late        | bool    | stored and scored as history, pages nobody                                    |
| score_…        | float64 | one for each other score that any row has, as `scores` in the head names them |

beside the record's, whose `reason` is then that of quality control. `source_offset` is the offset of the
ObservationMessage in the same partition: a message that comes twice (a worker was killed between writing and
committing) has the same one, so whoever reads skips what is not beyond the last that it took.

Sources: Arrow columnar format 1.5, IPC streaming format; https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa

from contracts.alarm import ConditionInput
from contracts.arrow_layout import ArrowColumns, Column
from contracts.errors import ContractError, RecordError
from contracts.notice import BatchesLost, ChannelsLost, Quarantined
from contracts.quality import Reason
from contracts.record import Bools, Floats, Int64s, Record
from contracts.score import OTHER_SCORES
from contracts.score_columns import OtherScores
from contracts.uplink import BatchIdentity

VERSION: Final = 1
_LENGTH: Final = struct.Struct("<I")
_SETS_KEPT: Final = 64
"""Of other scores. There are about as many as mixtures of domains in a message."""
_LAYOUTS_OF_SET: Final = 1_024
"""Of the messages with one such set: 100 MB if all were kept of all sets, some MB in practice."""
_COLUMNS: Final = (
    ("channel_id", pa.uint32()),
    ("phenomenon_ns", pa.int64()),
    ("received_ns", pa.int64()),
    ("value", pa.float64()),
    ("reason", pa.uint8()),
    ("is_historical", pa.bool_()),
    ("batch_index", pa.int32()),
)
OBSERVATION_SCHEMA: Final = pa.schema(_COLUMNS)
SCORED_SCHEMA: Final = pa.schema(
    [*_COLUMNS, ("event_ns", pa.int64()), ("score_ewma_z", pa.float64()), ("is_late", pa.bool_())]
)
_OBSERVATION_COLUMNS: Final = ArrowColumns(OBSERVATION_SCHEMA)


@lru_cache(_SETS_KEPT)
def _scored_columns(names: tuple[str, ...]) -> tuple[tuple[ConditionInput, ...], ArrowColumns]:
    """The other scores of these names, and the columns of a message that has them.

    Raises:
        ValueError: a name is that of no other score, or stands twice.
    """
    known = {kind.value: kind for kind in OTHER_SCORES}
    if len(set(names)) != len(names) or not known.keys() >= set(names):
        raise ValueError(f"scores {', '.join(map(str, names))}: not each once of {', '.join(known)}")
    schema = pa.schema([*SCORED_SCHEMA, *((name, pa.float64()) for name in names)])
    return tuple(known[name] for name in names), ArrowColumns(schema, _LAYOUTS_OF_SET)


@dataclass(frozen=True, slots=True)
class ObservationMessage:
    """What a bridge heard of some gateways of one partition."""

    made_ns: int
    """The bridge's clock. A partition on which nothing is heard gets a message without rows each second, so that its
    time goes on."""
    record: Record
    quarantined: tuple[tuple[int | None, Quarantined], ...] = ()
    """Bad input, with the position in `record.batches` of the batch that it came in (None: in none): if that batch is
    a duplicate, it was set aside before."""
    batches_lost: tuple[BatchesLost, ...] = ()
    channels_lost: tuple[ChannelsLost, ...] = ()
    thinned: tuple[tuple[int, int], ...] = ()
    """(position in `record.batches`, readings): what agents took out of these batches before they sent them."""


@dataclass(frozen=True, slots=True)
class PartitionTotals:
    """Counters of a partition since its first message."""

    observations: int = 0
    duplicate_batches: int = 0
    duplicate_observations: int = 0
    """Of edge nodes without batch identity: same channel, same time, same value."""
    quarantined: int = 0
    unscored_messages: int = 0
    """The pipeline failed on them: a defect of ours."""


@dataclass(frozen=True, slots=True)
class HourOfGateway:
    """How much of one hour of a gateway is stored; told again whenever it has changed."""

    district_id: str
    gateway_id: str
    hour_ns: int
    """Begin of the hour, UTC."""
    stored_batches: int
    expected_batches: int


@dataclass(frozen=True, slots=True)
class ScoredMessage:
    """What the score job says of one ObservationMessage."""

    source_offset: int
    made_ns: int
    """The bridge's clock, from the ObservationMessage."""
    record: Record
    """Without duplicates. `batches` are the ones that are new."""
    event_ns: Int64s
    score_ewma_z: Floats
    is_late: Bools
    other_scores: OtherScores = field(default_factory=dict)
    duplicates: tuple[BatchIdentity, ...] = ()
    """Came before: to be acknowledged again."""
    batches_lost: tuple[BatchesLost, ...] = ()
    channels_lost: tuple[ChannelsLost, ...] = ()
    completeness: tuple[HourOfGateway, ...] = ()
    totals: PartitionTotals = field(default_factory=PartitionTotals)
    """After this message."""

    def identities(self) -> list[BatchIdentity]:
        """All batches that may be acknowledged once this message is durably stored."""
        return [*(batch for batch in self.record.batches if batch is not None), *self.duplicates]


def encode_observations(message: ObservationMessage) -> bytes:
    """An ObservationMessage as bytes."""
    head = {
        "version": VERSION,
        "made_ns": message.made_ns,
        "batches": message.record.batches,
        "quarantined": [
            [at, bad.received_ns, bad.topic, bad.reason, bad.detail, base64.b64encode(bad.payload).decode()]
            for at, bad in message.quarantined
        ],
        **_notices(message.batches_lost, message.channels_lost),
        "thinned": message.thinned,
    }
    return _encode(_OBSERVATION_COLUMNS, _record_columns(message.record), head)


def decode_observations(data: bytes) -> ObservationMessage:
    """Raises RecordError if `data` is no ObservationMessage of this version."""
    try:
        head, end = _decode_head(data)
        columns = _OBSERVATION_COLUMNS.decode(data, end)
        return ObservationMessage(
            made_ns=int(head["made_ns"]),
            record=_record(columns, head),
            quarantined=tuple(
                (at, Quarantined(received_ns, topic, reason, detail, base64.b64decode(payload, validate=True)))
                for at, received_ns, topic, reason, detail, payload in head["quarantined"]
            ),
            batches_lost=_batches_lost(head),
            channels_lost=_channels_lost(head),
            thinned=_thinned(head),
        )
    except _MALFORMED as error:
        raise RecordError(f"not an observation message: {error!r}") from error


def encode_scored(message: ScoredMessage) -> bytes:
    """A ScoredMessage as bytes.

    Raises:
        ValueError: columns differ in length, or `other_scores` has what is no other score.
    """
    others = tuple(message.other_scores)
    head = {
        "version": VERSION,
        "source_offset": message.source_offset,
        "made_ns": message.made_ns,
        "batches": message.record.batches,
        "duplicates": message.duplicates,
        **_notices(message.batches_lost, message.channels_lost),
        "completeness": [_fields(hour) for hour in message.completeness],
        "totals": _fields(message.totals),
        "scores": others,
    }
    columns = [
        *_record_columns(message.record),
        message.event_ns,
        message.score_ewma_z,
        message.is_late,
        *message.other_scores.values(),
    ]
    return _encode(_scored_columns(others)[1], columns, head)


def decode_scored(data: bytes) -> ScoredMessage:
    """Raises RecordError if `data` is no ScoredMessage of this version."""
    try:
        head, end = _decode_head(data)
        others, stream = _scored_columns(tuple(head.get("scores", ())))  # none: written before there were any
        columns = stream.decode(data, end)
        event_ns, score_ewma_z, is_late, *other_scores = columns[len(_COLUMNS) :]
        return ScoredMessage(
            source_offset=int(head["source_offset"]),
            made_ns=int(head["made_ns"]),
            record=_record(columns, head),
            event_ns=event_ns,
            score_ewma_z=score_ewma_z,
            is_late=is_late,
            other_scores=dict(zip(others, other_scores, strict=True)),
            duplicates=tuple(BatchIdentity(*each) for each in head["duplicates"]),
            batches_lost=_batches_lost(head),
            channels_lost=_channels_lost(head),
            completeness=tuple(HourOfGateway(*each) for each in head["completeness"]),
            totals=PartitionTotals(*(int(each) for each in head["totals"])),
        )
    except _MALFORMED as error:
        raise RecordError(f"not a scored message: {error!r}") from error


_MALFORMED: Final = (
    pa.ArrowException,
    ContractError,
    ValueError,
    KeyError,
    TypeError,
    OSError,
    StopIteration,
    struct.error,
)


def _encode(stream: ArrowColumns, columns: Sequence[Column], head: dict[str, Any]) -> bytes:
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((stream.encode(columns), text, _LENGTH.pack(len(text))))


def _decode_head(data: bytes) -> tuple[dict[str, Any], int]:
    """The head, and where the stream before it ends."""
    end = len(data) - _LENGTH.size
    (length,) = _LENGTH.unpack_from(data, end)
    if length > end:
        raise ValueError(f"a head of {length} bytes in a message of {len(data)}")
    head: dict[str, Any] = json.loads(data[end - length : end])
    if head["version"] != VERSION:
        raise ValueError(f"version {head['version']}, this program knows {VERSION}")
    return head, end - length


def _record_columns(record: Record) -> list[Column]:
    return [getattr(record, name) for name, _ in _COLUMNS]


def _record(columns: Sequence[Column], head: dict[str, Any]) -> Record:
    """The record of the columns that both schemas begin with."""
    batches = tuple(None if each is None else BatchIdentity(*each) for each in head["batches"])
    channel_id, phenomenon_ns, received_ns, value, reason, is_historical, index = columns[: len(_COLUMNS)]
    if len(index) and not (int(index.min()) >= 0 and int(index.max()) < len(batches)):
        raise ValueError(f"batch_index {int(index.min())}..{int(index.max())} of {len(batches)} batches")
    return Record(channel_id, phenomenon_ns, received_ns, value, reason, is_historical, index, batches)


def _fields(row: HourOfGateway | PartitionTotals) -> list[Any]:
    """What `dataclasses.astuple` gives, without its deep copies."""
    return [getattr(row, name) for name in row.__slots__]


def _notices(batches_lost: Iterable[BatchesLost], channels_lost: Iterable[ChannelsLost]) -> dict[str, Any]:
    return {
        "batches_lost": [[lost.gateway_id, lost.epoch, lost.ranges] for lost in batches_lost],
        "channels_lost": [
            [lost.gateway_id, lost.channel_ids, int(lost.reason), lost.time_ns] for lost in channels_lost
        ],
    }


def _batches_lost(head: dict[str, Any]) -> tuple[BatchesLost, ...]:
    return tuple(
        BatchesLost(gateway_id, epoch, tuple((first, last) for first, last in ranges))
        for gateway_id, epoch, ranges in head["batches_lost"]
    )


def _thinned(head: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Messages from before there was any have none."""
    thinned = tuple((int(at), int(readings)) for at, readings in head.get("thinned", ()))
    for at, readings in thinned:
        if not 0 <= at < len(head["batches"]) or readings < 0:
            raise ValueError(f"{readings} readings thinned of batch {at} of {len(head['batches'])}")
    return thinned


def _channels_lost(head: dict[str, Any]) -> tuple[ChannelsLost, ...]:
    return tuple(
        ChannelsLost(gateway_id, tuple(channel_ids), Reason(reason), time_ns)
        for gateway_id, channel_ids, reason, time_ns in head["channels_lost"]
    )
