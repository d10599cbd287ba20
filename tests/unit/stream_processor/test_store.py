"""The DuckDB store and its Parquet export, on real files."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace

import duckdb
import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.notice import BatchesLost, Quarantined
from contracts.quality import Reason
from contracts.score import OTHER_SCORES
from contracts.uplink import BatchIdentity
from stream_processor.duckdb_store import SCHEMA_VERSION, DuckdbStore
from stream_processor.errors import StoreBusyError, StoreCorruptError
from stream_processor.fleet_index import FleetIndex
from stream_processor.parquet_export import ParquetExport
from stream_processor.pipeline.pipeline import Pipeline
from stream_processor.store_columns import Commit, coalesce


@pytest.fixture
def pipeline(fleet):
    pipeline = Pipeline()
    pipeline.take_fleet(FleetIndex(fleet))
    return pipeline


@pytest.fixture
def store(tmp_path):
    store = DuckdbStore(tmp_path)
    yield store
    store.close()


def commit_of(pipeline, record, **more):
    batches = [batch for batch in record.batches if batch is not None]
    return Commit(record, pipeline.step(record, 1), batches, **more)


def rows_in(store, query):
    with store.cursor() as cursor:
        return cursor.execute(query).fetchall()


def test_what_was_committed_is_there_after_reopening(tmp_path, store, pipeline, record_of):
    store.commit(commit_of(pipeline, record_of((11, 0, 30.0), (12, 1, np.nan, Reason.NO_ANSWER))))
    store.close()
    again = DuckdbStore(tmp_path)
    rows = rows_in(again, "SELECT channel_id, value, reason, gateway_id, epoch, batch FROM observation ORDER BY 1")
    assert rows == [(11, 30.0, Reason.OK, "gw-1", 7, 1), (12, None, Reason.NO_ANSWER, "gw-1", 7, 1)]
    assert list(again.stored_batches()) == [("gw-1", 7, 1, 1)]
    assert [event.condition_id for event in again.pending_events(10)] == ["gas-001-high"]
    assert [tuple(lane) for _, lane in again.condition_lanes()] == [(True, -1)]
    again.close()


def test_how_much_gateways_thinned_is_remembered_by_gateway_and_epoch(tmp_path, store, pipeline, record_of):
    for batch, thinned in ((1, {("gw-1", 7): 150}), (2, {("gw-1", 7): 50, ("gw-2", 1): 3})):
        store.commit(commit_of(pipeline, record_of((11, batch, 30.0), batch=batch), thinned=thinned))
    store.close()
    again = DuckdbStore(tmp_path)
    assert sorted(again.thinned_readings()) == [("gw-1", 7, 200), ("gw-2", 1, 3)]
    again.close()


def test_nan_never_stands_in_the_store(store, pipeline, record_of):
    store.commit(commit_of(pipeline, record_of((11, 0, np.nan, Reason.NO_ANSWER), (12, 0, np.inf))))
    assert rows_in(store, "SELECT count(*) FROM observation WHERE isnan(value) OR isnan(score_ewma_z)") == [(0,)]
    assert rows_in(store, "SELECT count(*) FROM observation WHERE value IS NOT NULL AND NOT isfinite(value)") == [(0,)]


def test_a_commit_is_all_or_nothing(store, pipeline, record_of):
    good = commit_of(pipeline, record_of((11, 0, 1.0)))
    bad = Commit(good.record, good.scored, good.batches, [Quarantined("no time", "t", "r", "d", b"")])
    with pytest.raises(duckdb.Error):
        store.commit(bad)
    assert rows_in(store, "SELECT count(*) FROM observation") == [(0,)]
    assert list(store.stored_batches()) == []
    store.commit(good)


def test_events_leave_the_outbox_only_when_confirmed(store, pipeline, record_of):
    store.commit(commit_of(pipeline, record_of((11, 0, 30.0), (11, 1, 1.0))))
    first, second = store.pending_events(10)
    assert (first.state, second.state) == ("active", "normal")
    store.confirm_events([first.event_id])
    assert [event.event_id for event in store.pending_events(10)] == [second.event_id]
    store.quarantine_event(second.event_id, Quarantined(1, "", "condition_refused", "d", b"x"))
    assert store.count_outbox() == 0
    assert store.quarantine_page().totals == {"condition_refused": 1}


def test_quarantine_and_lost_batches_are_kept(tmp_path, store, pipeline, record_of):
    bad = Quarantined(5, "topic", "unknown_node", "detail", b"\x01\xff")
    store.commit(
        commit_of(pipeline, record_of((11, 0, 1.0)), quarantined=[bad], lost=[BatchesLost("gw-1", 6, ((2, 3),))])
    )
    page = store.quarantine_page()
    assert page.totals == {"unknown_node": 1}
    assert page.newest[0].payload_hex == "01ff"
    assert list(store.lost_batches()) == [("gw-1", 6, 2, 3)]


def test_old_quarantined_payloads_leave_and_their_count_stays(store, pipeline, record_of):
    bad = [Quarantined(time_ns, "t", "unknown_node", "d", b"") for time_ns in (1, 2, 9)]
    store.commit(commit_of(pipeline, record_of((11, 0, 1.0)), quarantined=bad))
    store.drop_quarantine(5)
    store.drop_quarantine(5)
    page = store.quarantine_page()
    assert page.totals == {"unknown_node": 3}
    assert len(page.newest) == 1
    assert store.count_quarantine() == 3


def test_history_comes_back_in_the_order_in_which_it_was_stored(store, pipeline, record_of, time_ns):
    for number, value in enumerate((3.0, 1.0, 2.0), start=1):
        store.commit(commit_of(pipeline, record_of((11, number, value), (12, number, -value), batch=number)))
    history = list(store.history_after(1))
    assert [part.value.tolist() for part in history] == [[1.0, -1.0], [2.0, -2.0]]
    assert [part.event_ns.tolist() for part in history] == [[time_ns + n * 10**9] * 2 for n in (2, 3)]


def test_replaying_history_on_a_snapshot_continues_the_detector_bit_for_bit(store, fleet, pipeline, record_of):
    for number in range(1, 40):
        store.commit(commit_of(pipeline, record_of((11, number, number % 7), batch=number)))
        if number == 20:
            store.save_snapshot(pipeline.channels.channel_ids, pipeline.scores.snapshot(), number)
    commit_seq, channel_ids, state = store.snapshot()
    restored = Pipeline(tuple(channel_ids.tolist()))
    restored.scores.restore(state)
    restored.take_fleet(FleetIndex(fleet))
    for part in store.history_after(commit_seq):
        rows = restored.channels.rows_of(part.channel_id)
        restored.learn(rows, part.event_ns, part.value)
    assert restored.scores.snapshot() == pipeline.scores.snapshot()


def test_the_newest_good_value_is_not_the_newest_bad_one(store, pipeline, record_of, time_ns):
    store.commit(commit_of(pipeline, record_of((11, 0, 5.0), (11, 1, np.nan, Reason.NO_ANSWER))))
    channel_ids, values, good_ns, seen_ns = store.newest_good()
    assert (channel_ids.tolist(), values.tolist(), good_ns.tolist()) == ([11], [5.0], [time_ns])
    assert seen_ns.tolist() == [time_ns + 10**9]


def test_a_trend_counts_bad_readings_and_leaves_them_out_of_the_band(store, pipeline, record_of, time_ns):
    readings = [(11, 0, 5.0), (11, 1, 7.0), (11, 2, np.nan, Reason.NO_ANSWER), (11, 12, np.nan, Reason.CRC_ERROR)]
    store.commit(commit_of(pipeline, record_of(*readings)))
    trend = store.trend(11, time_ns, time_ns + 20 * 10**9, 10 * 10**9)
    assert trend.start_ns == [time_ns, time_ns + 10 * 10**9]
    assert (trend.minimum, trend.maximum, trend.mean) == ([5.0, None], [7.0, None], [6.0, None])
    assert (trend.observation_count, trend.bad_count) == ([3, 1], [1, 1])


NOVELTY, FLAT_LINE = ConditionInput.SCORE_NOVELTY, ConditionInput.SCORE_FLAT_LINE


def commit_with_scores(pipeline, record, scores):
    """As `commit_of`, with these other scores in place of the pipeline's."""
    commit = commit_of(pipeline, record)
    columns = {kind: np.array(column) for kind, column in scores.items()}
    return replace(commit, scored=replace(commit.scored, other_scores=columns))


def test_a_trend_has_the_highest_of_each_score_that_there_is(store, pipeline, record_of, time_ns):
    first = record_of((11, 0, 5.0), (11, 1, 7.0), (12, 1, 7.0))
    store.commit(commit_with_scores(pipeline, first, {NOVELTY: [0.25, 0.125, 0.9], FLAT_LINE: [np.nan, np.nan, 0.5]}))
    store.commit(commit_with_scores(pipeline, record_of((11, 12, 5.0), batch=2), {}))
    store.commit(commit_with_scores(pipeline, record_of((11, 22, 5.0), batch=3), {NOVELTY: [0.75]}))
    trend = store.trend(11, time_ns, time_ns + 30 * 10**9, 10 * 10**9)
    assert trend.scores_maximum == {NOVELTY: [0.25, None, 0.75]}
    assert store.trend(11, time_ns + 10**12, time_ns + 2 * 10**12, 10**9).scores_maximum == {}
    assert set(store.trend(12, time_ns, time_ns + 10 * 10**9, 10**9).scores_maximum) == {NOVELTY, FLAT_LINE}


def test_the_other_scores_go_to_parquet_as_the_pipeline_gave_them(tmp_path, store, fleet, pipeline, record_of):
    store.commit(commit_with_scores(pipeline, record_of((11, 0, 5.0), batch=1), {}))
    store.commit(
        commit_with_scores(pipeline, record_of((11, 1, 6.0), (12, 1, 7.0), batch=2), {NOVELTY: [np.nan, 0.123]})
    )
    ParquetExport(store, tmp_path / "parquet").export(fleet)
    sql = f"SELECT value, score_novelty, score_flat_line FROM '{tmp_path}/parquet/**/*.parquet' ORDER BY value"
    assert duckdb.sql(sql).fetchall() == [(5.0, None, None), (6.0, None, None), (7.0, 0.123, None)]


def test_a_store_of_version_1_keeps_its_rows_and_gets_a_column_for_each_score(
    tmp_path, store, fleet, pipeline, record_of
):
    store.commit(commit_of(pipeline, record_of((11, 0, 5.0), batch=1)))
    with store.transaction() as cursor:
        for kind in OTHER_SCORES:
            cursor.execute(f"ALTER TABLE observation DROP COLUMN {kind}")
        cursor.execute("UPDATE store_version SET version = 1")
    store.close()
    again = DuckdbStore(tmp_path)
    again.commit(commit_with_scores(pipeline, record_of((11, 1, 6.0), batch=2), {NOVELTY: [0.5]}))
    assert rows_in(again, "SELECT value, score_novelty FROM observation ORDER BY value") == [(5.0, None), (6.0, 0.5)]
    assert rows_in(again, "SELECT version FROM store_version") == [(SCHEMA_VERSION,)]
    assert ParquetExport(again, tmp_path / "parquet").export(fleet) == 2
    again.close()
    DuckdbStore(tmp_path).close()


def test_a_store_of_a_later_version_is_refused_and_left_as_it_is(tmp_path, store, pipeline, record_of):
    store.commit(commit_of(pipeline, record_of((11, 0, 5.0), batch=1)))
    with store.transaction() as cursor:
        cursor.execute("UPDATE store_version SET version = 99")
        cursor.execute("ALTER TABLE observation DROP COLUMN score_novelty")
    store.close()
    with pytest.raises(StoreCorruptError, match=r"hot\.duckdb: schema version 99, this program knows 2"):
        DuckdbStore(tmp_path)
    with duckdb.connect(tmp_path / "hot.duckdb") as connection:
        names = [name for name, *_ in connection.execute("DESCRIBE observation").fetchall()]
    assert "score_novelty" not in names
    assert "score_residual" in names


def test_parquet_holds_each_row_once_with_provenance_and_files_are_never_rewritten(
    tmp_path, store, fleet, pipeline, record_of
):
    export = ParquetExport(store, tmp_path / "parquet")
    store.commit(commit_of(pipeline, record_of((11, 0, 5.0), (12, 90_000, 6.0), batch=1)))
    assert export.export(fleet) == 2
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "parquet").rglob("*.parquet")}
    store.commit(commit_of(pipeline, record_of((11, 90_001, np.nan, Reason.NO_ANSWER), batch=2)))
    assert export.export(fleet) == 1
    assert export.export(fleet) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in first.items())
    folders = {path.parent.relative_to(tmp_path / "parquet").as_posix() for path in first}
    assert folders == {"date=2025-11-01/domain=gas", "date=2025-11-02/domain=gas"}
    rows = duckdb.sql(
        f"SELECT node_id, quantity, unit, value, quality, reason, batch FROM "
        f"read_parquet('{tmp_path}/parquet/**/*.parquet', hive_partitioning = true) ORDER BY batch, node_id"
    ).fetchall()
    assert rows == [
        ("gas-001", "methane_lel", "%{LEL}", 5.0, "good", "ok", 1),
        ("gas-002", "methane_lel", "%{LEL}", 6.0, "good", "ok", 1),
        ("gas-001", "methane_lel", "%{LEL}", None, "bad", "no_answer", 2),
    ]


def test_an_export_that_was_cut_off_is_done_again_without_doubles(tmp_path, store, fleet, pipeline, record_of):
    export = ParquetExport(store, tmp_path / "parquet")
    store.commit(commit_of(pipeline, record_of((11, 0, 5.0), batch=1)))
    export.export(fleet)
    with store.transaction() as cursor:
        cursor.execute("UPDATE parquet_export SET is_done = false")  # as after kill -9 between the copy and the note
    store.commit(commit_of(pipeline, record_of((11, 1, 6.0), batch=2)))
    export.export(fleet)
    export.export(fleet)
    path = f"{tmp_path}/parquet/**/*.parquet"
    assert sorted(duckdb.sql(f"SELECT value FROM read_parquet('{path}')").fetchall()) == [(5.0,), (6.0,)]


def test_a_channel_that_the_registry_learns_between_two_tries_is_exported_once(
    tmp_path, store, fleet, pipeline, record_of
):
    export = ParquetExport(store, tmp_path / "parquet")
    store.commit(commit_of(pipeline, record_of((11, 0, 5.0), batch=1)))
    export.export(fleet.model_copy(update={"channels": [], "conditions": []}))
    assert list(tmp_path.rglob("domain=unknown/*.parquet"))
    with store.transaction() as cursor:
        cursor.execute("UPDATE parquet_export SET is_done = false")
    assert export.export(fleet) == 1
    path = f"{tmp_path}/parquet/**/*.parquet"
    assert duckdb.sql(f"SELECT domain, value FROM read_parquet('{path}', hive_partitioning = true)").fetchall() == [
        ("gas", 5.0)
    ]


def test_many_commits_become_files_of_bounded_size(tmp_path, store, fleet, pipeline, record_of, monkeypatch):
    monkeypatch.setattr("stream_processor.parquet_export.ROWS_PER_FILE", 4)
    export = ParquetExport(store, tmp_path / "parquet")
    for number in range(5):
        store.commit(commit_of(pipeline, record_of((11, number, 1.0 + number), (12, number, 2.0), batch=number + 1)))
    assert export.export(fleet) == 10
    names = sorted(path.name for path in tmp_path.rglob("*.parquet"))
    assert names == [f"part-{first:012d}-{last:012d}.parquet" for first, last in ((1, 2), (3, 4), (5, 5))]


def test_event_time_is_exported_as_the_pipeline_said(tmp_path, store, fleet, pipeline, record_of, time_ns):
    commit = commit_of(pipeline, record_of((11, 0, 5.0), (12, 0, 6.0), batch=1))
    commit.scored.event_ns[:] = [time_ns + 1_234_567, time_ns]
    store.commit(commit)
    ParquetExport(store, tmp_path / "parquet").export(fleet)
    sql = f"SELECT epoch_ns(event_time) + event_rest_ns FROM '{tmp_path}/parquet/**/*.parquet' ORDER BY 1"
    assert duckdb.sql(sql).fetchall() == [(time_ns,), (time_ns + 1_234_567,)]


def test_a_store_from_before_the_event_time_is_opened_and_exported(
    tmp_path, store, fleet, pipeline, record_of, time_ns
):
    store.commit(commit_of(pipeline, record_of((11, 0, 5.0), batch=1)))
    with store.transaction() as cursor:
        cursor.execute("ALTER TABLE observation DROP COLUMN event_ns")
    store.close()
    again = DuckdbStore(tmp_path)
    again.commit(commit_of(pipeline, record_of((11, 1, 6.0), batch=2)))
    ParquetExport(again, tmp_path / "parquet").export(fleet)
    again.close()
    sql = f"SELECT epoch_ns(event_time) FROM '{tmp_path}/parquet/**/*.parquet' ORDER BY 1"
    assert duckdb.sql(sql).fetchall() == [(time_ns,), (time_ns + 10**9,)]


def test_rows_leave_the_hot_store_only_when_they_are_in_parquet_and_learnt(
    tmp_path, store, fleet, pipeline, record_of, time_ns
):
    export = ParquetExport(store, tmp_path / "parquet")
    store.commit(commit_of(pipeline, record_of((11, 0, 5.0), batch=1)))
    later_ns = time_ns + 3_600 * 10**9
    assert export.drop_exported(later_ns) == 0
    export.export(fleet)
    assert export.drop_exported(later_ns) == 0
    store.save_snapshot(pipeline.channels.channel_ids, pipeline.scores.snapshot(), 1)
    assert export.drop_exported(time_ns) == 0
    assert export.drop_exported(later_ns) == 1
    assert list(store.stored_batches()) == [("gw-1", 7, 1, 1)]


def test_commit_numbers_go_on_after_the_hot_store_was_emptied(tmp_path, store, fleet, pipeline, record_of, time_ns):
    store.commit(commit_of(pipeline, record_of((11, 0, 5.0), batch=1)))
    store.save_snapshot(pipeline.channels.channel_ids, pipeline.scores.snapshot(), 1)
    export = ParquetExport(store, tmp_path / "parquet")
    export.export(fleet)
    export.drop_exported(time_ns + 3_600 * 10**9)
    store.close()
    again = DuckdbStore(tmp_path)
    assert again.commit(commit_of(pipeline, record_of((11, 1, 6.0), batch=2))) == 2
    again.close()


def test_a_second_process_on_the_same_store_is_told_so(tmp_path, store):
    code = f"""
        from pathlib import Path
        from stream_processor.duckdb_store import DuckdbStore
        from stream_processor.errors import StoreBusyError
        try:
            DuckdbStore(Path({str(tmp_path)!r}))
        except StoreBusyError as error:
            print("busy:", error)
    """
    answer = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "busy:" in answer.stdout
    assert "hot.duckdb" in answer.stdout


def test_a_file_that_is_no_store_is_named(tmp_path):
    (tmp_path / "hot.duckdb").write_bytes(b"this is not a database" * 1_000)
    with pytest.raises((StoreCorruptError, StoreBusyError), match=r"hot\.duckdb"):
        DuckdbStore(tmp_path)


def test_adjacent_batches_are_one_range():
    batches = [BatchIdentity("b", 1, 2), BatchIdentity("a", 1, 5), BatchIdentity("a", 1, 6), BatchIdentity("a", 2, 7)]
    assert coalesce(batches) == [("a", 1, 5, 6), ("a", 2, 7, 7), ("b", 1, 2, 2)]
