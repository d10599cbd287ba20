"""All data as columns of Parquet: what a row says, in which folder and in which order it stands. Pure.

A row is one observation with all that it belongs to, or (without `batch`) the end of a channel's validity that the
platform itself noticed: then `value` is NULL and `reason` says what happened. Rows of a file are sorted by channel and
event time; rows of one channel and time keep the order in which they came.

| column            | type         | meaning                                                                          |
|-------------------|--------------|----------------------------------------------------------------------------------|
| channel_id        | uint32       | registry-given                                                                   |
| district_id … unit| string       | what was measured, where, through whom; NULL where the registry had no channel   |
| event_time        | timestamp ms | phenomenon time, or the time of receipt where the gateway's clock is wrong       |
| event_rest_ns     | int32        | nanoseconds of the event time beyond its millisecond; 0 for Sparkplug's own times |
| phenomenon_time   | timestamp ms | when the gateway says that it was measured                                       |
| received_time     | timestamp ms | when the platform received it, without what is below a millisecond               |
| value             | float64      | NULL where there is none                                                         |
| quality, reason   | string       | contracts.quality                                                                |
| score_ewma_z      | float64      | 0 to 1; NULL in warm-up and for bad readings                                     |
| score_novelty …   | float64      | one for each of OTHER_SCORES; NULL too where the channel is not scored by it     |
| is_late           | bool         | stored and scored as history, paged nobody                                       |
| epoch, batch      | uint64       | with gateway_id: the batch that it came in                                       |

Times are UTC in milliseconds, because Sparkplug's are: nanoseconds would cost 4 of the 10 bytes that a row may have.
All files have all columns, also of scores that none of their channels has. Files of before the other scores were stored
lack these columns: whoever reads both asks for a union by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.notice import ChannelsLost
from contracts.quality import REASONS, Reason
from contracts.quantity import QUANTITIES
from contracts.record import Bools, Floats, Int64s, UInt8s, UInt32s
from contracts.record_message import ScoredMessage
from contracts.score import OTHER_SCORES
from contracts.score_columns import OtherScores, join_scores, select_scores
from contracts.uplink import BatchIdentity
from stream_processor.fleet_index import ChannelContext
from stream_processor.text_column import build_texts, rank, split_texts

READINGS_FOLDER: Final = "parquet"
"""The dataset of all rows of this schema."""
UNKNOWN_DOMAIN: Final = "unknown"
"""Folder of the rows of channels that the registry did not know when the file was made."""
HISTORY_DAYS_MAX: Final = 92
"""A reading older than this when it is received, or a day ahead, has a wrong time: it gets no folder of its own."""
ODD_DATE: Final = "1970-01-01"
"""Folder of the rows whose time cannot be: one, so that a gateway with a mad clock makes no thousands of folders."""

_NS_PER_MS: Final = 1_000_000
_UINT16_MAX: Final = np.iinfo(np.uint16).max
_NS_PER_DAY: Final = 86_400_000_000_000
_MS = pa.timestamp("ms")
_CONTEXT_COLUMNS: Final = ("district_id", "site_id", "gateway_id", "node_id", "quantity", "unit")
SCHEMA: Final = pa.schema(
    [
        ("channel_id", pa.uint32()),
        *((name, pa.string()) for name in _CONTEXT_COLUMNS),
        ("event_time", _MS),
        ("event_rest_ns", pa.int32()),
        ("phenomenon_time", _MS),
        ("received_time", _MS),
        ("value", pa.float64()),
        ("quality", pa.string()),
        ("reason", pa.string()),
        ("score_ewma_z", pa.float64()),
        *((kind.value, pa.float64()) for kind in OTHER_SCORES),
        ("is_late", pa.bool_()),
        ("epoch", pa.uint64()),
        ("batch", pa.uint64()),
    ]
)
"""Of every file, as it is read. Its folder says `date` and `domain`."""
_TEXT = pa.dictionary(pa.int32(), pa.string())
TABLE_SCHEMA: Final = pa.schema([(each.name, _TEXT if each.type == pa.string() else each.type) for each in SCHEMA])
"""Of `FilePart.table`: text as Parquet keeps it, each text once, so that none is copied or compared row by row."""

REASON_NAMES: Final = tuple(Reason(code).wire_name if code in set(Reason) else f"reason_{code}" for code in range(256))
_LEVELS: Final = tuple(str(REASONS[Reason(code)].level) if code in set(Reason) else "bad" for code in range(256))


@dataclass(frozen=True, slots=True)
class ArchiveRows:
    """Rows in the order in which they came; columns of one length."""

    channel_id: UInt32s
    event_ns: Int64s
    phenomenon_ns: Int64s
    received_ns: Int64s
    value: Floats
    """Not finite: there is none."""
    reason: UInt8s
    score_ewma_z: Floats
    """Not finite: there is none."""
    is_late: Bools
    gateway_id: pa.Array
    """Of the batch, as strings or as a dictionary of them. Null, as `epoch` and `batch` are: it came in none."""
    epoch: pa.Array
    batch: pa.Array
    other_scores: OtherScores = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.channel_id)


@dataclass(frozen=True, slots=True)
class FilePart:
    """What goes into one file."""

    folder: str
    """Below that of the dataset, as tools that know partitioned Parquet read it."""
    table: pa.Table
    dataset: str = READINGS_FOLDER
    """Folder of all files of one schema, below the archive's directory."""


def rows_of_messages(messages: Sequence[ScoredMessage]) -> ArchiveRows:
    """All rows of scored messages, in their order."""
    parts = [part for message in messages for part in (_rows_of_record(message), *_rows_of_losses(message))]
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _NUMPY_COLUMNS}
    other_scores = join_scores([(part.other_scores, len(part.channel_id)) for part in parts])
    gateway_id, epoch, batch = _batch_columns(parts)
    return ArchiveRows(**columns, gateway_id=gateway_id, epoch=epoch, batch=batch, other_scores=other_scores)


def build_parts(rows: ArchiveRows, contexts: Mapping[int, ChannelContext]) -> Iterator[FilePart]:
    """The rows as files by date and domain, of readings."""
    if not len(rows):
        return
    channel_ids, channel = rank(rows.channel_id)
    known = [contexts.get(int(each)) for each in channel_ids]
    names = [UNKNOWN_DOMAIN if context is None else str(context.site.domain) for context in known]
    domains, domain_of_channel = np.unique(np.array(names), return_inverse=True)
    folders, folder = rank(_folder_days(rows.event_ns, rows.received_ns) * len(domains) + domain_of_channel[channel])
    order = _order(folder * len(channel_ids) + channel, rows.event_ns)
    gateways = split_texts(rows.gateway_id)
    for first, end in _runs(folder[order]):
        which = order[first:end]
        day, domain = divmod(int(folders[folder[which[0]]]), len(domains))
        table = _table(rows, gateways, channel[which], known, which)
        yield FilePart(f"date={np.datetime64(day, 'D')}/domain={domains[domain]}", table)


_NUMPY_COLUMNS: Final = (
    "channel_id",
    "event_ns",
    "phenomenon_ns",
    "received_ns",
    "value",
    "reason",
    "score_ewma_z",
    "is_late",
)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one message, or of one loss."""

    channel_id: UInt32s
    event_ns: Int64s
    phenomenon_ns: Int64s
    received_ns: Int64s
    value: Floats
    reason: UInt8s
    score_ewma_z: Floats
    is_late: Bools
    batch_index: NDArray[np.int32]
    batches: tuple[BatchIdentity | None, ...]
    other_scores: OtherScores


def _batch_columns(parts: Sequence[_Part]) -> Iterator[pa.Array]:
    """`gateway_id`, `epoch` and `batch` of all rows: looked up once for each batch, not for each row."""
    batches = [batch for part in parts for batch in part.batches]
    firsts = np.cumsum([0, *(len(part.batches) for part in parts[:-1])])
    index = np.concatenate([part.batch_index + first for part, first in zip(parts, firsts, strict=True)])
    is_none = np.array([batch is None for batch in batches], np.bool_)[index]
    gateways = pa.array([None if batch is None else batch.gateway_id for batch in batches], pa.string())
    codes, texts = split_texts(gateways)
    yield build_texts(texts, codes[index])
    for name in ("epoch", "batch"):
        numbers = np.array([0 if batch is None else getattr(batch, name) for batch in batches], np.uint64)
        yield pa.array(numbers[index], mask=is_none)


def _rows_of_record(message: ScoredMessage) -> _Part:
    record = message.record
    return _Part(
        record.channel_id,
        message.event_ns,
        record.phenomenon_ns,
        record.received_ns,
        record.value,
        record.reason,
        message.score_ewma_z,
        message.is_late,
        record.batch_index,
        record.batches,
        message.other_scores,
    )


def _rows_of_losses(message: ScoredMessage) -> Iterator[_Part]:
    for lost in message.channels_lost:
        yield _rows_of_loss(lost, message.made_ns)


def _rows_of_loss(lost: ChannelsLost, made_ns: int) -> _Part:
    count = len(lost.channel_ids)
    at_ns = np.full(count, lost.time_ns, np.int64)
    return _Part(
        np.array(lost.channel_ids, np.uint32),
        at_ns,
        at_ns,
        np.full(count, made_ns, np.int64),
        np.full(count, np.nan),
        np.full(count, lost.reason, np.uint8),
        np.full(count, np.nan),
        np.zeros(count, np.bool_),
        np.zeros(count, np.int32),
        (None,),
        {},
    )


def _folder_days(event_ns: Int64s, received_ns: Int64s) -> Int64s:
    """Days since 1970 by which rows are put into folders."""
    event_day, received_day = event_ns // _NS_PER_DAY, received_ns // _NS_PER_DAY
    is_odd = (event_day > received_day + 1) | (event_day < received_day - HISTORY_DAYS_MAX)
    days: Int64s = np.where(is_odd, np.int64(0), event_day)
    return days


def _runs(column: Int64s) -> Iterator[tuple[int, int]]:
    """First and end of each run of equal numbers."""
    edges = np.flatnonzero(np.diff(column)) + 1
    bounds = [0, *edges.tolist(), len(column)]
    return pairwise(bounds)


def _order(key: Int64s, event_ns: Int64s) -> NDArray[np.intp]:
    """Rows by key, then event time, then arrival. Mostly those of a key came in the order of their times."""
    narrow = key.astype(np.uint16) if int(key.max()) <= _UINT16_MAX else key  # numpy sorts 16 bits by radix
    order = np.argsort(narrow, kind="stable")
    key_in_order, time_in_order = key[order], event_ns[order]
    is_unordered = (key_in_order[1:] == key_in_order[:-1]) & (time_in_order[1:] < time_in_order[:-1])
    return np.lexsort((event_ns, key)) if is_unordered.any() else order


def _table(
    rows: ArchiveRows,
    gateways: tuple[NDArray[np.int64], list[str]],
    channel: NDArray[np.int64],
    known: Sequence[ChannelContext | None],
    which: NDArray[np.intp],
) -> pa.Table:
    """Rows `which`, whose channels are `channel` (in order)."""
    bounds = list(_runs(channel))
    contexts = [known[int(channel[first])] for first, _ in bounds]
    context_index = np.repeat(np.arange(len(bounds)), [end - first for first, end in bounds])
    columns: dict[str, Any] = {
        "channel_id": rows.channel_id[which],
        **_context_columns(contexts, context_index, gateways[0][which], gateways[1]),
        **_event_columns(rows.event_ns[which]),
        "phenomenon_time": _milliseconds(rows.phenomenon_ns[which]),
        "received_time": _milliseconds(rows.received_ns[which]),
        "value": _finite(rows.value[which]),
        **_reason_columns(rows.reason[which]),
        "score_ewma_z": _finite(rows.score_ewma_z[which]),
        **_score_columns(select_scores(rows.other_scores, which), len(which)),
        "is_late": rows.is_late[which],
        "epoch": rows.epoch.take(pa.array(which)),
        "batch": rows.batch.take(pa.array(which)),
    }
    return pa.table({name: columns[name] for name in TABLE_SCHEMA.names}, schema=TABLE_SCHEMA)


def _context_columns(
    contexts: Sequence[ChannelContext | None],
    index: NDArray[np.int64],
    batch_gateway: NDArray[np.int64],
    batch_gateways: Sequence[str],
) -> dict[str, pa.Array]:
    """What the registry says of each row's channel; the gateway is the batch's, if the row came in one."""
    rows = [(None,) * len(_CONTEXT_COLUMNS) if context is None else _context_texts(context) for context in contexts]
    columns: dict[str, pa.Array] = {}
    for position, name in enumerate(_CONTEXT_COLUMNS):
        codes, texts = split_texts(pa.array([row[position] for row in rows], pa.string()))
        code = codes[index]
        if name == "gateway_id":
            code = np.where(batch_gateway >= 0, batch_gateway + len(texts), code)
            texts = [*texts, *batch_gateways]
        columns[name] = build_texts(texts, code)
    return columns


def _event_columns(event_ns: Int64s) -> dict[str, Any]:
    milliseconds, rest = np.divmod(event_ns, _NS_PER_MS)
    return {"event_time": pa.array(milliseconds).cast(_MS), "event_rest_ns": rest.astype(np.int32)}


def _reason_columns(reason: UInt8s) -> dict[str, pa.Array]:
    return {"quality": build_texts(_LEVELS, reason), "reason": build_texts(REASON_NAMES, reason)}


def _score_columns(scores: OtherScores, count: int) -> dict[str, pa.Array]:
    """A column of each other score, of so many rows."""
    return {
        kind.value: _finite(scores[kind]) if kind in scores else pa.nulls(count, pa.float64()) for kind in OTHER_SCORES
    }


def _context_texts(context: ChannelContext) -> tuple[str, ...]:
    node, site, quantity = context.node, context.site, context.channel.quantity
    return site.district_id, site.site_id, node.gateway_id, node.node_id, quantity, QUANTITIES[quantity].unit


def _milliseconds(time_ns: Int64s) -> pa.Array:
    return pa.array(time_ns // _NS_PER_MS).cast(_MS)


def _finite(column: Floats) -> pa.Array:
    return pa.array(column, mask=~np.isfinite(column))
