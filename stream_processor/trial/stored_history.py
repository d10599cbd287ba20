"""The archive's rows of some channels, day by day in the order in which they came (shell: reads Parquet files).

In memory is one day of the chosen channels: about 200 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from contracts.fleet import Channel, Domain, Node, Site
from contracts.quantity import QUANTITIES
from contracts.record import Bools, Floats, Int64s, Record, UInt8s, UInt32s
from contracts.uplink import BatchIdentity
from stream_processor.archive_columns import ODD_DATE, REASON_NAMES
from stream_processor.distributed.rebuild_plan import ArchiveFile, Selection, plan_rebuild
from stream_processor.errors import TrialError
from stream_processor.fleet_index import ChannelContext
from stream_processor.text_column import split_texts

ROWS_OF_RECORD: Final = 50_000
_CONTEXT: Final = ("district_id", "site_id", "gateway_id", "node_id", "quantity")
_COLUMNS: Final = (
    "channel_id", *_CONTEXT, "event_time", "event_rest_ns", "received_time", "value", "reason", "score_ewma_z",
    "is_late",
)  # fmt: skip
_NS_PER_MS: Final = 1_000_000
_BATCHES: Final = (BatchIdentity("archive", 1, 1),)
_REASON_CODES: Final = {name: code for code, name in enumerate(REASON_NAMES)}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows of the archive a backtest needs."""

    selection: Selection
    quantities: frozenset[str]
    channel_ids: frozenset[int]
    """Beside those of the quantities."""


class StoredRecord(NamedTuple):
    """Readings as the pipeline took them."""

    record: Record
    """Its reasons are those of quality control then; historical is what was late."""
    score_ewma_z: Floats
    new_contexts: Mapping[int, ChannelContext]
    """Of the channels that no record before had."""


def find_days(folder: Path) -> tuple[date, date]:
    """The first and the last day of an archive. Raises TrialError if it has none."""
    names = {each.parts[-3].removeprefix("date=") for each in folder.glob("date=????-??-??/domain=*/*.parquet")}
    days = sorted(names - {ODD_DATE})
    if not days:
        raise TrialError(f"{folder}: no files date=YYYY-MM-DD/domain=NAME/*.parquet")
    return date.fromisoformat(days[0]), date.fromisoformat(days[-1])


def read_history(folder: Path, choice: Choice) -> Iterator[StoredRecord]:
    """The readings with a value, in the order of their receipt within a day. Raises TrialError.

    Rows whose time cannot be (`ODD_DATE`) are left out.
    """
    paths = [str(each.relative_to(folder)) for each in folder.rglob("*.parquet")]
    files, _ = plan_rebuild(paths, choice.selection)
    known: set[int] = set()
    for day, of_day in groupby(files, key=lambda each: each.date):
        if day == ODD_DATE:
            continue
        try:
            parts = [_read_file(folder, each, choice, known) for each in of_day]
        except (OSError, pa.ArrowException) as error:
            raise TrialError(f"{folder}/date={day}: cannot be read: {error}") from error
        yield from _records([each for each in parts if len(each.channel_id)])


class _Rows(NamedTuple):
    """Rows of one file; columns of one length but for the last. `_records` relies on their order."""

    channel_id: UInt32s
    event_ns: Int64s
    received_ns: Int64s
    value: Floats
    reason: UInt8s
    score_ewma_z: Floats
    is_late: Bools
    new_contexts: Mapping[int, ChannelContext]


def _read_file(folder: Path, file: ArchiveFile, choice: Choice, known: set[int]) -> _Rows:
    """The rows of a file; its channels are then known."""
    form = ds.ParquetFileFormat(dictionary_columns=[*_CONTEXT, "reason"])
    wanted = ds.field("quantity").isin(pa.array(sorted(choice.quantities), pa.string()))
    if choice.channel_ids:
        wanted |= ds.field("channel_id").isin(pa.array(sorted(choice.channel_ids), pa.uint32()))
    if choice.selection.districts:
        wanted &= ds.field("district_id").isin(sorted(choice.selection.districts))
    table = ds.dataset(folder / file.path, format=form).to_table(
        list(_COLUMNS), filter=wanted & ds.field("value").is_valid()
    )
    channel_id = table.column("channel_id").to_numpy()
    return _Rows(
        channel_id,
        _int64(table, "event_time") * _NS_PER_MS + _int64(table, "event_rest_ns"),
        _int64(table, "received_time") * _NS_PER_MS,
        table.column("value").to_numpy(),
        _reasons(table),
        table.column("score_ewma_z").to_numpy(zero_copy_only=False).astype(np.float64, copy=False),
        table.column("is_late").to_numpy(),
        _new_contexts(table, channel_id, file.domain, known),
    )


def _records(parts: Sequence[_Rows]) -> Iterator[StoredRecord]:
    """The rows of one day as records."""
    if not parts:
        return
    columns = [np.concatenate(column) for column in list(zip(*parts, strict=True))[:-1]]
    contexts = {channel_id: each for part in parts for channel_id, each in part.new_contexts.items()}
    order = np.argsort(columns[2], kind="stable")
    for first in range(0, len(order), ROWS_OF_RECORD):
        at = order[first : first + ROWS_OF_RECORD]
        channel_id, event_ns, received_ns, value, reason, score, is_late = (column[at] for column in columns)
        index = np.zeros(len(at), dtype=np.int32)
        record = Record(channel_id, event_ns, received_ns, value, reason, is_late, index, _BATCHES)
        yield StoredRecord(record, score, contexts if first == 0 else {})


def _new_contexts(table: pa.Table, channel_id: UInt32s, domain: str, known: set[int]) -> dict[int, ChannelContext]:
    """What a file says of channels that are not known, from the first row of each: rows are sorted by channel."""
    begins = np.flatnonzero(np.diff(channel_id, prepend=np.uint32(0)))
    first = [at for at in begins.tolist() if int(channel_id[at]) not in known]
    rows = table.select(list(_CONTEXT)).take(pa.array(first, pa.int64())).to_pylist() if first else []
    found = {
        int(channel_id[at]): _context(int(channel_id[at]), row, domain) for at, row in zip(first, rows, strict=True)
    }
    known.update(found)
    return found


def _context(channel_id: int, row: Mapping[str, str], domain: str) -> ChannelContext:
    quantity = row["quantity"]
    if quantity not in QUANTITIES:
        raise TrialError(f"channel {channel_id}: quantity {quantity!r} is none that this program knows")
    site = Site(
        site_id=row["site_id"], district_id=row["district_id"], domain=Domain(domain), name=row["site_id"],
        latitude=0.0, longitude=0.0,
    )  # fmt: skip
    node = Node(
        node_id=row["node_id"], gateway_id=row["gateway_id"], bus_id="archive", site_id=row["site_id"], model="archive"
    )
    channel = Channel(channel_id=channel_id, node_id=row["node_id"], quantity=quantity)
    return ChannelContext(channel, node, site, QUANTITIES[quantity])


def _reasons(table: pa.Table) -> UInt8s:
    index, texts = split_texts(table.column("reason"))
    unknown = [text for text in texts if text not in _REASON_CODES]
    if unknown:
        raise TrialError(f"reasons that this program does not know: {', '.join(unknown)}")
    codes: UInt8s = np.array([_REASON_CODES[text] for text in texts], np.uint8)[index]
    return codes


def _int64(table: pa.Table, name: str) -> Int64s:
    column: Int64s = pc.cast(table.column(name), pa.int64()).to_numpy()
    return column
