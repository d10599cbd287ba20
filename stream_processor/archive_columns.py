"""All data as columns of Parquet: what a row says, in which folder and order rows stand, and points from rows. Pure.

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
| score_ewma_z      | float64      | NULL in warm-up, for bad and for late readings                                   |
| is_late           | bool         | stored and scored as history, paged nobody                                       |
| epoch, batch      | uint64       | with gateway_id: the batch that it came in                                       |

Times are UTC in milliseconds, because Sparkplug's are: nanoseconds would cost 4 of the 10 bytes that a row may have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.influx_schema import series_tags
from contracts.notice import ChannelsLost
from contracts.quality import REASONS, Reason
from contracts.quantity import QUANTITIES
from contracts.record import Bools, Floats, Int64s, UInt8s, UInt32s
from contracts.record_message import ScoredMessage
from stream_processor.fleet_index import ChannelContext
from stream_processor.line_protocol import Points, build_series, format_series

UNKNOWN_DOMAIN: Final = "unknown"
"""Folder of the rows of channels that the registry did not know when the file was made."""
HISTORY_DAYS_MAX: Final = 92
"""A reading older than this when it is received, or a day ahead, has a wrong time: it gets no folder of its own."""
ODD_DATE: Final = "1970-01-01"
"""Folder of the rows whose time cannot be: one, so that a gateway with a mad clock makes no thousands of folders."""

_NS_PER_MS: Final = 1_000_000
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
        ("is_late", pa.bool_()),
        ("epoch", pa.uint64()),
        ("batch", pa.uint64()),
    ]
)
"""Of every file. Its folder says `date` and `domain`."""

_REASON_NAMES: Final = tuple(Reason(code).wire_name if code in set(Reason) else f"reason_{code}" for code in range(256))
_REASON_CODES: Final = {name: code for code, name in enumerate(_REASON_NAMES)}
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
    """Of the batch. Null, as `epoch` and `batch` are: it came in none."""
    epoch: pa.Array
    batch: pa.Array

    def __len__(self) -> int:
        return len(self.channel_id)


@dataclass(frozen=True, slots=True)
class FilePart:
    """What goes into one file."""

    date: str
    """YYYY-MM-DD, UTC."""
    domain: str
    table: pa.Table

    @property
    def folder(self) -> str:
        """Below the archive's root, as tools that know partitioned Parquet read it."""
        return f"date={self.date}/domain={self.domain}"


def rows_of_messages(messages: Sequence[ScoredMessage]) -> ArchiveRows:
    """All rows of scored messages, in their order."""
    parts = [part for message in messages for part in (_rows_of_record(message), *_rows_of_losses(message))]
    return ArchiveRows(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in _NUMPY_COLUMNS),
        *(pa.concat_arrays([getattr(part, name) for part in parts]) for name in ("gateway_id", "epoch", "batch")),
    )


def build_parts(rows: ArchiveRows, contexts: Mapping[int, ChannelContext]) -> Iterator[FilePart]:
    """The rows as files by date and domain."""
    if not len(rows):
        return
    channel_ids, channel = np.unique(rows.channel_id, return_inverse=True)
    known = [contexts.get(int(each)) for each in channel_ids]
    names = [UNKNOWN_DOMAIN if context is None else str(context.site.domain) for context in known]
    domains, domain_of_channel = np.unique(np.array(names), return_inverse=True)
    folder = _folder_days(rows.event_ns, rows.received_ns) * len(domains) + domain_of_channel[channel]
    order = np.lexsort((rows.event_ns, channel, folder))
    in_order = folder[order]
    for first, end in _runs(in_order):
        day, domain = divmod(int(in_order[first]), len(domains))
        table = _table(rows, channel, known, order[first:end])
        yield FilePart(str(np.datetime64(day, "D")), str(domains[domain]), table)


def points_of_table(table: pa.Table, domain: str) -> tuple[pa.Array, Points, int]:
    """Rows of one domain as line protocol takes them: the series, the points, and how many rows say of no channel.

    Raises ValueError for names that no line can carry, and for unknown reasons.
    """
    tags = [table.column(name) for name in ("district_id", "gateway_id", "node_id", "quantity")]
    columns = [_encode_dictionary(column) for column in tags]
    is_complete = np.logical_and.reduce([index >= 0 for index, _ in columns])
    kept = np.flatnonzero(is_complete)
    codes = np.stack([index[kept] for index, _ in columns])
    distinct, row = np.unique(codes, axis=1, return_inverse=True)
    beginnings = (
        format_series(domain, series_tags(*(texts[code] for code, (_, texts) in zip(one, columns, strict=True))))
        for one in distinct.T
    )
    event_ns = _int64(table, "event_time") * _NS_PER_MS + _int64(table, "event_rest_ns")
    points = Points(
        row.reshape(-1).astype(np.intp),
        event_ns[kept],
        _floats(table, "value")[kept],
        _reason_codes(table)[kept],
        _floats(table, "score_ewma_z")[kept],
    )
    return build_series(beginnings), points, len(table) - len(kept)


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


def _rows_of_record(message: ScoredMessage) -> ArchiveRows:
    record = message.record
    index = pa.array(record.batch_index)
    return ArchiveRows(
        record.channel_id,
        message.event_ns,
        record.phenomenon_ns,
        record.received_ns,
        record.value,
        record.reason,
        message.score_ewma_z,
        message.is_late,
        pa.array([None if batch is None else batch.gateway_id for batch in record.batches], pa.string()).take(index),
        pa.array([None if batch is None else batch.epoch for batch in record.batches], pa.uint64()).take(index),
        pa.array([None if batch is None else batch.batch for batch in record.batches], pa.uint64()).take(index),
    )


def _rows_of_losses(message: ScoredMessage) -> Iterator[ArchiveRows]:
    for lost in message.channels_lost:
        yield _rows_of_loss(lost, message.made_ns)


def _rows_of_loss(lost: ChannelsLost, made_ns: int) -> ArchiveRows:
    count = len(lost.channel_ids)
    at_ns = np.full(count, lost.time_ns, np.int64)
    return ArchiveRows(
        np.array(lost.channel_ids, np.uint32),
        at_ns,
        at_ns,
        np.full(count, made_ns, np.int64),
        np.full(count, np.nan),
        np.full(count, lost.reason, np.uint8),
        np.full(count, np.nan),
        np.zeros(count, np.bool_),
        pa.nulls(count, pa.string()),
        pa.nulls(count, pa.uint64()),
        pa.nulls(count, pa.uint64()),
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


def _table(
    rows: ArchiveRows, channel: NDArray[np.intp], known: Sequence[ChannelContext | None], which: NDArray[np.intp]
) -> pa.Table:
    present, channel_index = np.unique(channel[which], return_inverse=True)
    contexts = [known[each] for each in present]
    columns: dict[str, Any] = {
        "channel_id": rows.channel_id[which],
        **_context_columns(contexts, pa.array(channel_index.astype(np.int32))),
        "event_time": _milliseconds(rows.event_ns[which]),
        "event_rest_ns": (rows.event_ns[which] % _NS_PER_MS).astype(np.int32),
        "phenomenon_time": _milliseconds(rows.phenomenon_ns[which]),
        "received_time": _milliseconds(rows.received_ns[which]),
        "value": _finite(rows.value[which]),
        "quality": pa.array(_LEVELS).take(pa.array(rows.reason[which])),
        "reason": pa.array(_REASON_NAMES).take(pa.array(rows.reason[which])),
        "score_ewma_z": _finite(rows.score_ewma_z[which]),
        "is_late": rows.is_late[which],
        "epoch": rows.epoch.take(pa.array(which)),
        "batch": rows.batch.take(pa.array(which)),
    }
    of_batch = rows.gateway_id.take(pa.array(which))
    columns["gateway_id"] = pa.compute.coalesce(of_batch, columns["gateway_id"])
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _context_columns(contexts: Sequence[ChannelContext | None], index: pa.Array) -> dict[str, pa.Array]:
    texts = [(None,) * len(_CONTEXT_COLUMNS) if context is None else _context_texts(context) for context in contexts]
    return {
        name: pa.array([text[position] for text in texts], pa.string()).take(index)
        for position, name in enumerate(_CONTEXT_COLUMNS)
    }


def _context_texts(context: ChannelContext) -> tuple[str, ...]:
    node, site, quantity = context.node, context.site, context.channel.quantity
    return site.district_id, site.site_id, node.gateway_id, node.node_id, quantity, QUANTITIES[quantity].unit


def _milliseconds(time_ns: Int64s) -> pa.Array:
    return pa.array(time_ns // _NS_PER_MS).cast(_MS)


def _finite(column: Floats) -> pa.Array:
    return pa.array(column, mask=~np.isfinite(column))


def _encode_dictionary(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Of each row the position of its text, -1 where it has none; the texts."""
    encoded = column.combine_chunks().dictionary_encode()
    index = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return index.astype(np.int64), encoded.dictionary.to_pylist()


def _int64(table: pa.Table, name: str) -> Int64s:
    column: Int64s = table.column(name).cast(pa.int64()).to_numpy()
    return column


def _floats(table: pa.Table, name: str) -> Floats:
    """NULL as NaN."""
    column: Floats = table.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
    return column


def _reason_codes(table: pa.Table) -> UInt8s:
    index, texts = _encode_dictionary(table.column("reason"))
    unknown = [text for text in texts if text not in _REASON_CODES]
    if unknown:
        raise ValueError(f"reasons that this program does not know: {', '.join(unknown)}")
    codes: UInt8s = np.array([_REASON_CODES[text] for text in texts], np.uint8)[index]
    return codes
