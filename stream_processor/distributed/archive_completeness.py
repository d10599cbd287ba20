"""Completeness by gateway and hour in the archive, and back: what a rebuild gives InfluxDB again. Pure.

Files of `completeness/date=YYYY-MM-DD/`, the date being that of the hour. An hour is told again whenever it changes, so
it may stand in several files: the row that was told last counts.

| column           | type         | meaning                                              |
|------------------|--------------|------------------------------------------------------|
| district_id      | string       | of the gateway when it was told                      |
| gateway_id       | string       |                                                      |
| hour             | timestamp ms | its begin, UTC                                       |
| stored_batches   | int64        | batches of the hour that are stored                  |
| expected_batches | int64        | batches that the gateway must have made in the hour  |
| told_time        | timestamp ms | the bridge's clock                                   |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

import pyarrow as pa

from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.record_message import HourOfGateway, ScoredMessage
from stream_processor.archive_columns import FilePart

COMPLETENESS_FOLDER: Final = "completeness"
COMPLETENESS_SCHEMA: Final = pa.schema(
    [
        ("district_id", pa.string()),
        ("gateway_id", pa.string()),
        ("hour", pa.timestamp("ms")),
        ("stored_batches", pa.int64()),
        ("expected_batches", pa.int64()),
        ("told_time", pa.timestamp("ms")),
    ]
)
_NS_PER_MS: Final = 1_000_000


def build_completeness_parts(messages: Sequence[ScoredMessage]) -> Iterator[FilePart]:
    """The last word of these messages on each gateway and hour, as files by date."""
    newest = {
        (hour.gateway_id, hour.hour_ns): (hour, message.made_ns)
        for message in messages
        for hour in message.completeness
    }
    told = sorted(newest.values(), key=lambda each: (each[0].hour_ns, each[0].gateway_id))
    for date, rows in groupby(told, key=lambda each: _date(each[0])):
        table = pa.Table.from_pylist([_row(*each) for each in rows], COMPLETENESS_SCHEMA)
        yield FilePart(f"date={date}", table, COMPLETENESS_FOLDER)


def newest_hours_of(tables: Iterable[pa.Table], districts: frozenset[str]) -> list[HourOfGateway]:
    """The last word on each gateway and hour, by hour. Of all districts if none are named."""
    newest: dict[tuple[str, datetime], dict[str, object]] = {}
    for row in (row for table in tables for row in table.to_pylist()):
        place = row["gateway_id"], row["hour"]
        if (not districts or row["district_id"] in districts) and (
            place not in newest or newest[place]["told_time"] <= row["told_time"]
        ):
            newest[place] = row
    return [_hour(newest[place]) for place in sorted(newest, key=lambda place: (place[1], place[0]))]


def _row(hour: HourOfGateway, made_ns: int) -> dict[str, object]:
    return {
        "district_id": hour.district_id,
        "gateway_id": hour.gateway_id,
        "hour": hour.hour_ns // _NS_PER_MS,
        "stored_batches": hour.stored_batches,
        "expected_batches": hour.expected_batches,
        "told_time": made_ns // _NS_PER_MS,
    }


def _hour(row: dict[str, object]) -> HourOfGateway:
    begin = row["hour"]
    assert isinstance(begin, datetime)
    return HourOfGateway(
        district_id=str(row["district_id"]),
        gateway_id=str(row["gateway_id"]),
        hour_ns=round(begin.replace(tzinfo=UTC).timestamp()) * NANOSECONDS_PER_SECOND,
        stored_batches=int(str(row["stored_batches"])),
        expected_batches=int(str(row["expected_batches"])),
    )


def _date(hour: HourOfGateway) -> str:
    return datetime.fromtimestamp(hour.hour_ns // NANOSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%d")
