"""The archive's rows of some channels, day by day in the order in which they came (shell: reads Parquet files).

In memory is one day of the chosen channels: about 200 bytes a row. Files of before the other scores were stored have no
columns of them: their readings have no such score, as those of channels that were not scored so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from contracts.alarm import ConditionInput
from contracts.fleet import Channel, Domain, Node, Site
from contracts.quality import Level
from contracts.quantity import QUANTITIES
from contracts.record import Bools, Floats, Int64s, Record, UInt8s, UInt32s
from contracts.score import GROUP_SCORES
from contracts.score_columns import OtherScores, drop_empty_scores, join_scores, select_scores
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
_COLUMN_COUNT: Final = 7
"""Of `_Rows`: of one length, in every file."""
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
    scores: tuple[ConditionInput, ...] = ()
    """Beside `score_ewma_z`: those that the rules look at."""


class StoredRecord(NamedTuple):
    """Readings as the pipeline took them."""

    record: Record
    """Its reasons are those of quality control then; historical is what was late."""
    score_ewma_z: Floats
    other_scores: OtherScores
    """Those chosen."""
    new_contexts: Mapping[int, ChannelContext]
    """Of the channels that no record before had: scored by what a condition asks for, and in groups if one does."""


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
    known: set[int] = set()
    for files in _days(folder, choice.selection):
        parts = [_read_rows(folder, each, choice, known) for each in files]
        yield from _records([each for each in parts if len(each.channel_id)])


def find_quantities(folder: Path, choice: Choice) -> frozenset[str]:
    """What the channels measure that are chosen by their numbers. Raises TrialError."""
    numbered = replace(choice, quantities=frozenset())
    if not choice.channel_ids:
        return frozenset()
    tables = (
        _read_table(folder, file, numbered, ("quantity",))
        for files in _days(folder, choice.selection)
        for file in files
    )
    return frozenset(quantity for table in tables for quantity in pc.unique(table.column("quantity")).to_pylist())


def find_unscored(folder: Path, choice: Choice, kind: ConditionInput) -> frozenset[int]:
    """The channels that on some day have live good readings, and this score on none of them. Raises TrialError.

    They were not scored by it then, or were warming up. A group is scored as a whole: if any channel is without its
    score, all are named.
    """
    everyone: set[int] = set()
    unscored: set[int] = set()
    live_good = (ds.field("quality") != str(Level.BAD)) & ~ds.field("is_late")
    for files in _days(folder, choice.selection):
        heard: set[int] = set()
        scored: set[int] = set()
        for file in files:
            table = _read_table(folder, file, choice, ("channel_id",), (kind,), live_good)
            channel_id = table.column("channel_id")
            heard |= set(pc.unique(channel_id).to_pylist())
            if kind.value in table.column_names:
                scored |= set(pc.unique(channel_id.filter(table.column(kind.value).is_valid())).to_pylist())
        everyone |= heard
        unscored |= heard - scored
    return frozenset(everyone if unscored and kind in GROUP_SCORES else unscored)


def _days(folder: Path, selection: Selection) -> Iterator[list[ArchiveFile]]:
    """The files of each day, in order."""
    paths = [str(each.relative_to(folder)) for each in folder.rglob("*.parquet")]
    files, _ = plan_rebuild(paths, selection)
    for day, of_day in groupby(files, key=lambda each: each.date):
        if day != ODD_DATE:
            yield list(of_day)


class _Rows(NamedTuple):
    """Rows of one file; `_records` relies on the order of these columns."""

    channel_id: UInt32s
    event_ns: Int64s
    received_ns: Int64s
    value: Floats
    reason: UInt8s
    score_ewma_z: Floats
    is_late: Bools
    other_scores: OtherScores
    new_contexts: Mapping[int, ChannelContext]


def _read_table(
    folder: Path,
    file: ArchiveFile,
    choice: Choice,
    columns: Sequence[str],
    scores: Sequence[ConditionInput] = (),
    further: ds.Expression | None = None,
) -> pa.Table:
    """The chosen rows of a file that have a value; of the scores those that it has columns for. Raises TrialError."""
    form = ds.ParquetFileFormat(dictionary_columns=[*_CONTEXT, "reason"])
    wanted = ds.field("quantity").isin(pa.array(sorted(choice.quantities), pa.string()))
    if choice.channel_ids:
        wanted |= ds.field("channel_id").isin(pa.array(sorted(choice.channel_ids), pa.uint32()))
    if choice.selection.districts:
        wanted &= ds.field("district_id").isin(sorted(choice.selection.districts))
    wanted &= ds.field("value").is_valid()
    try:
        rows = ds.dataset(folder / file.path, format=form)
        present = [kind.value for kind in scores if kind.value in rows.schema.names]
        return rows.to_table([*columns, *present], filter=wanted if further is None else wanted & further)
    except (OSError, pa.ArrowException) as error:
        raise TrialError(f"{folder / file.path}: cannot be read: {error}") from error


def _read_rows(folder: Path, file: ArchiveFile, choice: Choice, known: set[int]) -> _Rows:
    """The rows of a file; its channels are then known."""
    table = _read_table(folder, file, choice, _COLUMNS, choice.scores)
    others = {kind: _floats(table, kind.value) for kind in choice.scores if kind.value in table.column_names}
    channel_id = table.column("channel_id").to_numpy()
    return _Rows(
        channel_id,
        _int64(table, "event_time") * _NS_PER_MS + _int64(table, "event_rest_ns"),
        _int64(table, "received_time") * _NS_PER_MS,
        table.column("value").to_numpy(),
        _reasons(table),
        _floats(table, "score_ewma_z"),
        table.column("is_late").to_numpy(),
        drop_empty_scores(others),
        _new_contexts(table, channel_id, file.domain, known, choice.scores),
    )


def _records(parts: Sequence[_Rows]) -> Iterator[StoredRecord]:
    """The rows of one day as records."""
    if not parts:
        return
    columns = [np.concatenate(column) for column in list(zip(*parts, strict=True))[:_COLUMN_COUNT]]
    others = join_scores([(part.other_scores, len(part.channel_id)) for part in parts])
    contexts = {channel_id: each for part in parts for channel_id, each in part.new_contexts.items()}
    order = np.argsort(columns[2], kind="stable")
    for first in range(0, len(order), ROWS_OF_RECORD):
        at = order[first : first + ROWS_OF_RECORD]
        channel_id, event_ns, received_ns, value, reason, score, is_late = (column[at] for column in columns)
        index = np.zeros(len(at), dtype=np.int32)
        record = Record(channel_id, event_ns, received_ns, value, reason, is_late, index, _BATCHES)
        yield StoredRecord(record, score, select_scores(others, at), contexts if first == 0 else {})


def _new_contexts(
    table: pa.Table, channel_id: UInt32s, domain: str, known: set[int], scores: Sequence[ConditionInput]
) -> dict[int, ChannelContext]:
    """What a file says of channels that are not known, from the first row of each: rows are sorted by channel."""
    begins = np.flatnonzero(np.diff(channel_id, prepend=np.uint32(0)))
    first = [at for at in begins.tolist() if int(channel_id[at]) not in known]
    rows = table.select(list(_CONTEXT)).take(pa.array(first, pa.int64())).to_pylist() if first else []
    of_group = tuple(kind for kind in GROUP_SCORES if kind in scores)
    found = {
        int(channel_id[at]): _context(int(channel_id[at]), row, domain, of_group)
        for at, row in zip(first, rows, strict=True)
    }
    known.update(found)
    return found


def _context(
    channel_id: int, row: Mapping[str, str], domain: str, scores: tuple[ConditionInput, ...]
) -> ChannelContext:
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
    channel = Channel(channel_id=channel_id, node_id=row["node_id"], quantity=quantity, scores=scores)
    return ChannelContext(channel, node, site, QUANTITIES[quantity])


def _reasons(table: pa.Table) -> UInt8s:
    index, texts = split_texts(table.column("reason"))
    unknown = [text for text in texts if text not in _REASON_CODES]
    if unknown:
        raise TrialError(f"reasons that this program does not know: {', '.join(unknown)}")
    codes: UInt8s = np.array([_REASON_CODES[text] for text in texts], np.uint8)[index]
    return codes


def _floats(table: pa.Table, name: str) -> Floats:
    """NULL as NaN."""
    column: Floats = table.column(name).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return column


def _int64(table: pa.Table, name: str) -> Int64s:
    column: Int64s = pc.cast(table.column(name), pa.int64()).to_numpy()
    return column
