"""Completeness by the hour in the archive: the last word counts, whichever file it stands in."""

from __future__ import annotations

from datetime import date

import duckdb
import pytest

from contracts.fleet import Domain
from contracts.record_message import HourOfGateway, encode_scored
from stream_processor.distributed.archive_completeness import build_completeness_parts, newest_hours_of
from stream_processor.distributed.archive_plan import read_frame
from stream_processor.distributed.parquet_archive import ParquetArchive
from stream_processor.distributed.rebuild_plan import Selection, plan_completeness
from stream_processor.fleet_index import FleetIndex
from tests.scored_messages import SECOND_NS, scored_message, small_fleet

HOUR_NS = 3_600 * SECOND_NS
BEGIN_NS = 489_600 * HOUR_NS  # 2025-11-08T00:00Z
ALL = Selection(date(2025, 11, 1), date(2025, 11, 30))


def hour(number, stored, expected=720, gateway="gw-1", district="harbour"):
    return HourOfGateway(district, gateway, BEGIN_NS + number * HOUR_NS, stored, expected)


def told(offset, *hours):
    return scored_message(offset, made_ns=BEGIN_NS + offset * SECOND_NS, completeness=hours)


def test_of_each_hour_the_last_word_is_kept_in_the_folder_of_its_date():
    messages = [told(1, hour(0, 1), hour(-1, 700)), told(2, hour(0, 2), hour(0, 5, gateway="gw-2"))]
    parts = {part.folder: part.table.to_pylist() for part in build_completeness_parts(messages)}
    assert list(parts) == ["date=2025-11-07", "date=2025-11-08"]
    assert [(row["gateway_id"], row["stored_batches"]) for row in parts["date=2025-11-08"]] == [
        ("gw-1", 2),
        ("gw-2", 5),
    ]


def test_what_was_told_later_counts_whichever_file_is_read_first():
    tables = [
        part.table for each in (told(9, hour(0, 8)), told(3, hour(0, 2))) for part in build_completeness_parts([each])
    ]
    assert newest_hours_of(tables, frozenset()) == [hour(0, 8)]
    assert newest_hours_of(tables[::-1], frozenset()) == [hour(0, 8)]


def test_only_the_districts_that_are_asked_for_come_back():
    messages = [told(1, hour(0, 1), hour(0, 2, gateway="gw-2", district="hill"))]
    tables = [part.table for part in build_completeness_parts(messages)]
    assert newest_hours_of(tables, frozenset({"hill"})) == [hour(0, 2, gateway="gw-2", district="hill")]


def test_an_hour_told_without_any_reading_is_archived_and_readable_in_one_line_of_sql(tmp_path):
    archive = ParquetArchive(tmp_path, 1_000, FleetIndex(small_fleet()).contexts)
    messages = [told(offset, hour(0, offset), hour(0, 0, 1, "gw-silent")) for offset in range(5)]
    archive.append(3, [read_frame(encode_scored(each)) for each in messages], BEGIN_NS)
    assert archive.close_older(BEGIN_NS + 1, BEGIN_NS)
    day = f"'{tmp_path}/completeness/**/*.parquet' WHERE date = '2025-11-08'"
    sql = f"SELECT gateway_id, stored_batches FROM {day} ORDER BY 1"
    assert duckdb.sql(sql).fetchall() == [("gw-1", 4), ("gw-silent", 0)]
    assert not list((tmp_path / "parquet").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("selection", "dates"),
    [
        (ALL, ["2025-11-07", "2025-11-08"]),
        (Selection(date(2025, 11, 8), date(2025, 11, 9)), ["2025-11-08"]),
        (Selection(ALL.from_date, ALL.until_date, frozenset({str(Domain.GAS)})), []),
    ],
)
def test_a_rebuild_takes_the_dates_that_it_was_given_and_nothing_for_some_domains(selection, dates):
    paths = ["date=2025-11-08/part-b.parquet", "date=2025-11-07/part-a.parquet", "date=2025-11-08/.part.draft"]
    assert list(plan_completeness(paths, selection)) == dates
