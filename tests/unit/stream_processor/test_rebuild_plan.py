"""What a rebuild reads, in which order, and how it goes on after a stop."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from contracts.alarm import ConditionInput
from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError
from contracts.quality import Reason
from contracts.score import OTHER_SCORES
from stream_processor.archive_columns import SCHEMA, build_parts, rows_of_messages
from stream_processor.distributed import rebuild_process
from stream_processor.distributed.rebuild_aggregates import (
    WINDOW_QUERY,
    build_windows,
    plan_folders,
    plan_hours,
)
from stream_processor.distributed.rebuild_plan import (
    Selection,
    format_purpose,
    parse_progress,
    plan_rebuild,
    select_rows,
)
from stream_processor.fleet_index import FleetIndex
from stream_processor.parquet_file import write_parquet
from tests.scored_messages import METHANE, NAN, SECOND_NS, STRAIN, good, scored_message, small_fleet

NOVEMBER = Selection(date(2026, 11, 1), date(2026, 11, 3))
EXAMPLE = Path(rebuild_process.__file__).parent / "example-rebuild.toml"


def test_files_come_in_the_order_in_which_their_rows_came():
    paths = [
        "date=2026-11-02/domain=gas/part-20261103T000000Z-0000-000000000009-000000000010.parquet",
        "date=2026-11-02/domain=gas/part-20261102T235959Z-0001-000000000100-000000000200.parquet",
        "date=2026-11-01/domain=fire/part-20261104T000000Z-0000-000000000001-000000000002.parquet",
        "date=2026-11-02/domain=bridge/part-20261102T000000Z-0000-000000000001-000000000002.parquet",
    ]
    files, strange = plan_rebuild(paths, NOVEMBER)
    assert [file.path for file in files] == [paths[2], paths[3], paths[1], paths[0]]
    assert [(file.date, file.domain) for file in files[:1]] == [("2026-11-01", "fire")]
    assert strange == []


def test_only_chosen_days_and_domains_are_read_and_what_nobody_knew_is_not():
    names = [f"date={day}/domain={domain}/part-1.parquet" for day in ("2026-10-31", "2026-11-03", "2026-11-04")
             for domain in ("gas", "unknown", "fire")]  # fmt: skip
    odd = "date=1970-01-01/domain=gas/part-1.parquet"
    chosen = Selection(NOVEMBER.from_date, NOVEMBER.until_date, frozenset({"gas"}))
    files, strange = plan_rebuild([*names, odd, "date=2026-11-02/other.parquet"], chosen)
    assert [file.path for file in files] == [odd, "date=2026-11-03/domain=gas/part-1.parquet"]
    assert strange == ["date=2026-11-02/other.parquet"]


def test_rows_are_chosen_by_event_time_and_district():
    times = [datetime(2026, 11, day, hour, 59, 59, 999_000, UTC) for day, hour in ((1, 0), (3, 23), (4, 0))]
    columns = {name: pa.nulls(4, SCHEMA.field(name).type) for name in SCHEMA.names}
    before = datetime(2026, 10, 31, 23, 59, 59, 999_000, UTC)
    columns["event_time"] = pa.array([before, *times], pa.timestamp("ms"))
    columns["district_id"] = pa.array(["harbour", "harbour", "hill", "hill"])
    columns["value"] = pa.array([0.0, 1.0, 2.0, 3.0])
    table = pa.table(columns)
    assert select_rows(table, NOVEMBER).column("value").to_pylist() == [1.0, 2.0]
    hill = Selection(NOVEMBER.from_date, NOVEMBER.until_date, districts=frozenset({"hill"}))
    assert select_rows(table, hill).column("value").to_pylist() == [2.0]


def test_progress_is_that_of_the_same_rebuild_and_a_torn_line_is_not_done():
    purpose = format_purpose(NOVEMBER, ("http://a", "readings"))
    text = f"{purpose}\na.parquet\nb.parquet\nc.parq"
    assert parse_progress(text, purpose) == {"a.parquet", "b.parquet"}
    assert parse_progress(text, format_purpose(NOVEMBER, ("http://b", "readings"))) == frozenset()
    assert parse_progress("", purpose) == frozenset()


def test_the_documented_example_is_a_configuration():
    settings = parse_settings(rebuild_process.ProcessSettings, EXAMPLE.read_text(), str(EXAMPLE)).anchored(Path("/etc"))
    assert settings.rebuild.directory == Path("/etc/archive")
    assert settings.rebuild.progress_file == Path("/etc/rebuild.progress")
    assert settings.rebuild.selection() == Selection(date(2026, 11, 1), date(2026, 11, 22))
    assert settings.influxdb.token_file == Path("/etc/secret/influxdb-token")


def test_days_in_the_wrong_order_are_a_fault():
    text = EXAMPLE.read_text().replace("2026-11-22", "2026-10-22")
    with pytest.raises(ConfigurationError, match="until_date 2026-10-22 is before from_date 2026-11-01"):
        parse_settings(rebuild_process.ProcessSettings, text, "rebuild.toml")


def test_windows_are_computed_by_folder_and_not_of_times_that_cannot_be():
    paths = [
        "date=2026-11-02/domain=gas/part-2.parquet",
        "date=2026-11-01/domain=gas/part-1.parquet",
        "date=2026-11-02/domain=gas/part-1.parquet",
        "date=1970-01-01/domain=gas/part-1.parquet",
    ]
    folders = plan_folders(plan_rebuild(paths, NOVEMBER)[0])
    assert [(each.date, each.domain, each.paths) for each in folders] == [
        ("2026-11-01", "gas", (paths[1],)),
        ("2026-11-02", "gas", (paths[2], paths[0])),
    ]


def windows_of(folder: Path, *files, old: tuple[int, ...] = (), **values) -> list[bytes]:
    """Lines of the windows of messages that stand in files, one a list of messages.

    `old`: those that were written before the other scores were stored.
    """
    contexts = FleetIndex(small_fleet()).contexts
    paths = []
    for number, messages in enumerate(files):
        for part in build_parts(rows_of_messages(messages), contexts):
            paths.append(folder / f"part-{number}-{part.folder.replace('/', '-')}.parquet")
            write_parquet(paths[-1], part.table.drop_columns(list(OTHER_SCORES)) if number in old else part.table)
    defaults = {"window_us": 60_000_000, "from_us": 0, "until_us": 2**60, "is_every_district": True, "districts": []}
    parameters = {"paths": [str(path) for path in paths], **defaults, **values}
    with duckdb.connect() as connection:
        rows = connection.execute(WINDOW_QUERY, parameters).fetchall()
    return sorted(build_windows("gas", rows).text.split(b"\n")) if rows else []


MINUTE_NS = 60 * SECOND_NS
T = 1_761_955_200 * SECOND_NS
METHANE_SERIES = b"gas,district=harbour,gateway=gw-1,node=gas-001,quantity=methane_lel"


def test_a_window_counts_good_values_once_a_time_and_takes_the_last(tmp_path):
    first = [scored_message(1, good(METHANE, T, 1.0), good(METHANE, T + 59 * SECOND_NS, 3.0))]
    second = [
        scored_message(2, good(METHANE, T, 2.0), (METHANE, T + 1, 99.0, Reason.OUT_OF_RANGE, NAN)),
        scored_message(3, (METHANE, T + 2 * SECOND_NS, NAN, Reason.NO_ANSWER, NAN), good(METHANE, T + MINUTE_NS, 7.5)),
    ]
    fields = b" value_mean=%s,value_min=%s,value_max=%s,value_count=%di %d"
    assert windows_of(tmp_path, first, second) == [
        METHANE_SERIES + fields % (b"2.5", b"2.0", b"3.0", 2, T),
        METHANE_SERIES + fields % (b"7.5", b"7.5", b"7.5", 1, T + MINUTE_NS),
    ]


NOVELTY, RATE = ConditionInput.SCORE_NOVELTY, ConditionInput.SCORE_RATE_OF_CHANGE


def test_a_window_has_the_highest_of_each_score_that_influxdb_has(tmp_path):
    rows = [good(METHANE, T + second * SECOND_NS, 1.0, score) for second, score in enumerate((0.6, 0.75, NAN))]
    told = replace(
        scored_message(1, *rows), other_scores={NOVELTY: np.array([0.5, 0.875, 0.2]), RATE: np.array([0.1, NAN, 0.4])}
    )
    low = replace(scored_message(3, good(METHANE, T + MINUTE_NS, 1.0, 0.4)), other_scores={NOVELTY: np.array([0.499])})
    later = {RATE: np.array([0.625]), NOVELTY: np.array([0.75])}
    again = replace(scored_message(2, good(METHANE, T + SECOND_NS, 1.0, 0.3)), other_scores=later)
    second, first = windows_of(tmp_path, [told], [again, low])
    assert first == (
        METHANE_SERIES + b" value_mean=1.0,value_min=1.0,value_max=1.0,value_count=3i,score_ewma_z_max=0.75,"
        b"score_rate_of_change_max=0.625,score_novelty_max=0.75 %d" % T
    ), "the point that came again has its later scores, and keeps those that it was not given anew"
    assert second == METHANE_SERIES + b" value_mean=1.0,value_min=1.0,value_max=1.0,value_count=1i %d" % (T + MINUTE_NS)


@pytest.mark.parametrize("old", [(0,), (0, 1)])
def test_windows_are_made_of_files_with_and_without_the_other_scores(tmp_path, old):
    first = [scored_message(1, good(METHANE, T, 1.0, 0.75))]
    second = [replace(scored_message(2, good(METHANE, T + 1, 3.0)), other_scores={NOVELTY: np.array([0.875])})]
    novelty = b"" if 1 in old else b",score_novelty_max=0.875"
    assert windows_of(tmp_path, first, second, old=old) == [
        METHANE_SERIES
        + b" value_mean=2.0,value_min=1.0,value_max=3.0,value_count=2i,score_ewma_z_max=0.75%s %d" % (novelty, T)
    ]


def test_a_file_that_lacks_what_a_point_is_made_of_is_named_and_one_without_other_scores_is_read(tmp_path):
    (part,) = build_parts(rows_of_messages([scored_message(1, good(METHANE, T, 1.0))]), {})
    path = tmp_path / "part.parquet"
    write_parquet(path, part.table.drop_columns(list(OTHER_SCORES)))
    (table,) = rebuild_process.read_tables(path)
    assert table.column("value").to_pylist() == [1.0]
    write_parquet(path, part.table.drop_columns(["value", "reason"]))
    with pytest.raises(ValueError, match=r"part\.parquet: no column reason, value"):
        next(rebuild_process.read_tables(path))


def test_a_window_that_has_not_ended_and_another_district_are_left_out(tmp_path):
    messages = [
        scored_message(1, good(METHANE, T, 1.0), good(STRAIN, T, 5.0)),
        scored_message(2, good(METHANE, T + MINUTE_NS, 1.0)),
    ]
    until_us = (T + MINUTE_NS) // 1_000
    assert len(windows_of(tmp_path, messages)) == 3
    assert len(windows_of(tmp_path, messages, until_us=until_us)) == 2
    (line,) = windows_of(tmp_path, messages, until_us=until_us, is_every_district=False, districts=["harbour"])
    assert line.startswith(METHANE_SERIES)


def test_windows_are_read_by_the_hour_and_end_with_the_last_that_has_ended():
    begin_us = T // 1_000
    hour_us = 3_600_000_000
    now_s = T // SECOND_NS + 2 * 3_600 + 119
    assert len(plan_hours("2025-11-01", now_s + 100 * 86_400, 60)) == 24
    assert plan_hours("2025-11-01", now_s, 60) == [
        (begin_us, begin_us + hour_us),
        (begin_us + hour_us, begin_us + 2 * hour_us),
        (begin_us + 2 * hour_us, begin_us + 2 * hour_us + 60_000_000),
    ]
    assert plan_hours("2025-11-01", now_s, 3_600) == [
        (begin_us, begin_us + hour_us),
        (begin_us + hour_us, begin_us + 2 * hour_us),
    ]
    assert plan_hours("2025-11-02", now_s, 60) == []
