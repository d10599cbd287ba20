"""The embedded store: DuckDB for what is hot, and the processor's own memory beside it.

Shell: owns the database file. One commit holds all that a set of batches means: observations, batch identities,
quarantine, condition events for the outbox, condition lanes. After `commit` returns it is durable (DuckDB syncs its
write-ahead log at each commit), so that the batches may be acknowledged.

| table          | holds                                                                                       |
|----------------|---------------------------------------------------------------------------------------------|
| observation    | one row an observation, with quality, scores and provenance                                 |
| stored_batch   | ranges of batches that are durably stored: the gap ledger's memory                          |
| lost_batch     | ranges that a gateway says are gone for good                                                |
| thinned        | how many readings gateways took out of stored batches before they sent them                 |
| waveform       | one row a block of samples, with quality and provenance                                     |
| quarantine     | bad input with its reason; `quarantine_dropped` counts what has left it by age              |
| outbox         | condition events that the alarm service has not yet confirmed                               |
| condition_lane | lanes of conditions that are active or have a delay running                                 |
| snapshot       | detector state, with the commit up to which it has learnt                                   |
| parquet_export | ranges of commits that are in Parquet; `waveform_export` likewise for blocks of samples     |
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from contracts.alarm import ConditionEvent
from contracts.condition import LaneState
from contracts.notice import Quarantined
from contracts.quality import REASONS
from contracts.query import QuarantinePage, QuarantineRow, Trend
from contracts.record import Floats, Int64s, UInt32s
from contracts.score import OTHER_SCORES, SCORES
from contracts.waveform_message import Waveform, waveforms_of
from stream_processor.errors import StoreBusyError, StoreCorruptError
from stream_processor.pipeline.conditions import ConditionKey
from stream_processor.pipeline.pipeline import Scored
from stream_processor.store_columns import (
    BatchRange,
    Commit,
    StoredHistory,
    coalesce,
    merge_ranges,
    numpy_column,
    observation_table,
    waveform_table,
)

SCHEMA_VERSION: Final = 2
"""2: `observation` has a column of each other score. A store of version 1 is brought to it when it is opened."""
QUARANTINE_PAYLOAD_BYTES: Final = 4_096
NEWEST_QUARANTINE_ROWS: Final = 200

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS observation (
    commit_seq BIGINT NOT NULL, channel_id UINTEGER NOT NULL, phenomenon_ns BIGINT NOT NULL,
    received_ns BIGINT NOT NULL, value DOUBLE, reason UTINYINT NOT NULL, score_ewma_z DOUBLE,
    is_late BOOLEAN NOT NULL, gateway_id VARCHAR, epoch UBIGINT, batch UBIGINT, event_ns BIGINT);
ALTER TABLE observation ADD COLUMN IF NOT EXISTS event_ns BIGINT; -- NULL in rows from before it: the phenomenon time
{"".join(f"ALTER TABLE observation ADD COLUMN IF NOT EXISTS {kind} DOUBLE;" for kind in OTHER_SCORES)}
CREATE TABLE IF NOT EXISTS stored_batch (gateway_id VARCHAR, epoch UBIGINT, first_batch UBIGINT, last_batch UBIGINT);
CREATE TABLE IF NOT EXISTS lost_batch (gateway_id VARCHAR, epoch UBIGINT, first_batch UBIGINT, last_batch UBIGINT);
CREATE TABLE IF NOT EXISTS thinned (gateway_id VARCHAR, epoch UBIGINT, readings UBIGINT);
CREATE TABLE IF NOT EXISTS waveform (
    commit_seq BIGINT NOT NULL, channel_id UINTEGER NOT NULL, first_ns BIGINT NOT NULL, received_ns BIGINT NOT NULL,
    sample_rate_hz DOUBLE NOT NULL, reason UTINYINT NOT NULL, samples FLOAT[] NOT NULL, gateway_id VARCHAR,
    epoch UBIGINT, batch UBIGINT);
CREATE TABLE IF NOT EXISTS waveform_export (first_commit BIGINT, last_commit BIGINT, is_done BOOLEAN);
CREATE TABLE IF NOT EXISTS quarantine (
    received_ns BIGINT, topic VARCHAR, reason VARCHAR, detail VARCHAR, payload BLOB);
CREATE TABLE IF NOT EXISTS quarantine_dropped (reason VARCHAR, dropped BIGINT);
CREATE TABLE IF NOT EXISTS outbox (position BIGINT, event_id VARCHAR, event VARCHAR);
CREATE SEQUENCE IF NOT EXISTS outbox_position;
CREATE TABLE IF NOT EXISTS condition_lane (
    condition_id VARCHAR, is_historical BOOLEAN, is_active BOOLEAN, since_ns BIGINT);
CREATE TABLE IF NOT EXISTS snapshot (commit_seq BIGINT, channel_ids BLOB, detector BLOB);
CREATE TABLE IF NOT EXISTS parquet_export (first_commit BIGINT, last_commit BIGINT, is_done BOOLEAN);
"""

_TREND_COLUMNS: Final = (
    "start_ns",
    "min(good)",
    "max(good)",
    "avg(good)",
    "count(*)",
    "count(*) - count(good)",
    *(f"max({kind})" for kind in SCORES),
)
_TREND: Final = f"""
SELECT {", ".join(_TREND_COLUMNS)}
FROM (SELECT *, $from + ((phenomenon_ns - $from) // $bucket) * $bucket AS start_ns,
             CASE WHEN list_contains($bad::UTINYINT[], reason) THEN NULL ELSE value END AS good
      FROM observation WHERE channel_id = $channel AND phenomenon_ns >= $from AND phenomenon_ns < $to)
GROUP BY start_ns ORDER BY start_ns
"""  # noqa: S608  # our names


class DuckdbStore:
    """One file, `hot.duckdb`, in a directory. Methods block: call them from a worker thread.

    Raises StoreCorruptError at opening if the file is no store or one of a later version, StoreBusyError where waiting
    may help (another process holds the file, disk full). A store of an earlier version keeps its rows.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        path = directory / "hot.duckdb"
        try:
            self._connection = duckdb.connect(path)
        except duckdb.IOException as error:
            raise StoreBusyError(f"{path}: {error}") from error
        except duckdb.Error as error:
            raise StoreCorruptError(f"{path}: {error}") from error
        self._connection.execute("SET checkpoint_threshold = '64MB'")
        self._connection.execute("SET threads = 2")
        try:
            self._bring_to_version(path)
        except BaseException:
            self._connection.close()
            raise
        row = self._one("SELECT coalesce(max(commit_seq), 0) FROM observation")
        exported = self._one("SELECT coalesce(max(last_commit), 0) FROM parquet_export")
        snapshot = self._one("SELECT coalesce(max(commit_seq), 0) FROM snapshot")
        sampled = self._one(
            "SELECT greatest((SELECT coalesce(max(commit_seq), 0) FROM waveform),"
            " (SELECT coalesce(max(last_commit), 0) FROM waveform_export))"
        )
        self._commit_seq = max(int(row[0]), int(exported[0]), int(snapshot[0]), int(sampled[0]))
        self.stored_total = int(self._one("SELECT count(*) FROM observation")[0])

    def _bring_to_version(self, path: Path) -> None:
        """Makes all tables and columns that are not there yet, and notes the version: all or nothing."""
        with self.transaction() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS store_version (version INTEGER NOT NULL)")
            (version,) = self._one_of(cursor, "SELECT max(version) FROM store_version")
            if version is not None and version > SCHEMA_VERSION:
                raise StoreCorruptError(f"{path}: schema version {version}, this program knows {SCHEMA_VERSION}")
            cursor.execute(_SCHEMA)
            if version != SCHEMA_VERSION:
                cursor.execute("DELETE FROM store_version")
                cursor.execute("INSERT INTO store_version VALUES (?)", [SCHEMA_VERSION])

    def close(self) -> None:
        """Checkpoints and closes."""
        with self._lock:
            self._connection.close()

    # --- writing -------------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> int:
        """Makes a set of batches durable, all or nothing. Returns its number. Raises StoreBusyError."""
        with self.transaction() as cursor:
            seq = self._commit_seq + 1
            if len(commit.record):
                rows = observation_table(seq, commit)  # noqa: F841  # DuckDB finds it by name
                cursor.execute("INSERT INTO observation BY NAME SELECT * FROM rows")
            if commit.waveforms:
                blocks = waveform_table(seq, commit.waveforms)  # noqa: F841  # likewise
                cursor.execute("INSERT INTO waveform SELECT * FROM blocks")
            for gateway_id, epoch, first, last in coalesce(commit.batches):
                cursor.execute("INSERT INTO stored_batch VALUES (?, ?, ?, ?)", [gateway_id, epoch, first, last])
            for lost in commit.lost:
                for first, last in lost.ranges:
                    cursor.execute(
                        "INSERT INTO lost_batch VALUES (?, ?, ?, ?)", [lost.gateway_id, lost.epoch, first, last]
                    )
            for (gateway_id, epoch), readings in commit.thinned.items():
                cursor.execute("INSERT INTO thinned VALUES (?, ?, ?)", [gateway_id, epoch, readings])
            for bad in commit.quarantined:
                _quarantine(cursor, bad)
            self._write_conditions(cursor, commit.scored)
        self._commit_seq = seq
        self.stored_total += len(commit.record)
        return seq

    def _write_conditions(self, cursor: duckdb.DuckDBPyConnection, scored: Scored) -> None:
        for event in scored.events:
            values = [event.event_id, event.model_dump_json()]
            cursor.execute("INSERT INTO outbox VALUES (nextval('outbox_position'), ?, ?)", values)
        for key, lane in scored.changed_lanes.items():
            cursor.execute("DELETE FROM condition_lane WHERE condition_id = ? AND is_historical = ?", list(key))
            if lane != LaneState():
                cursor.execute("INSERT INTO condition_lane VALUES (?, ?, ?, ?)", [*key, *lane])

    def save_snapshot(self, channel_ids: UInt32s, detector: bytes, commit_seq: int) -> None:
        """Keeps detector state that has learnt all commits up to `commit_seq`."""
        with self.transaction() as cursor:
            cursor.execute("DELETE FROM snapshot")
            cursor.execute("INSERT INTO snapshot VALUES (?, ?, ?)", [commit_seq, channel_ids.tobytes(), detector])

    def confirm_events(self, event_ids: Sequence[str]) -> None:
        """The alarm service has these events: they leave the outbox."""
        with self.transaction() as cursor:
            cursor.execute("DELETE FROM outbox WHERE event_id IN (SELECT unnest(?::VARCHAR[]))", [list(event_ids)])

    def quarantine_event(self, event_id: str, bad: Quarantined) -> None:
        """An event that the alarm service refuses: from the outbox into quarantine."""
        with self.transaction() as cursor:
            _quarantine(cursor, bad)
            cursor.execute("DELETE FROM outbox WHERE event_id = ?", [event_id])

    # --- reading back at a start -----------------------------------------------------------------------------------

    def stored_batches(self) -> list[BatchRange]:
        """Ranges of batches that are stored. Each commit adds some rows; this merges them, so that they stay few."""
        with self.transaction() as cursor:
            cursor.execute("SELECT gateway_id, epoch, first_batch, last_batch FROM stored_batch ORDER BY 1, 2, 3")
            merged = merge_ranges(cursor.fetchall())
            cursor.execute("DELETE FROM stored_batch")
            if merged:
                cursor.executemany("INSERT INTO stored_batch VALUES (?, ?, ?, ?)", merged)
        return merged

    def lost_batches(self) -> list[BatchRange]:
        """Ranges of batches that are gone for good."""
        return [tuple(row) for row in self._all("SELECT gateway_id, epoch, first_batch, last_batch FROM lost_batch")]

    def thinned_readings(self) -> list[tuple[str, int, int]]:
        """How many readings gateways have taken out of stored batches: (gateway_id, epoch, readings)."""
        return list(self._all("SELECT gateway_id, epoch, sum(readings)::BIGINT FROM thinned GROUP BY 1, 2"))

    def condition_lanes(self) -> Iterator[tuple[ConditionKey, LaneState]]:
        """Lanes that are active or have a delay running."""
        for condition_id, is_historical, is_active, since_ns in self._all("SELECT * FROM condition_lane"):
            yield ConditionKey(condition_id, is_historical), LaneState(is_active, since_ns)

    def snapshot(self) -> tuple[int, UInt32s, bytes] | None:
        """The last detector snapshot: (commit_seq, channel_ids by row, detector state)."""
        row = next(self._all("SELECT commit_seq, channel_ids, detector FROM snapshot"), None)
        return None if row is None else (int(row[0]), np.frombuffer(row[1], dtype=np.uint32).copy(), bytes(row[2]))

    def history_after(self, commit_seq: int) -> Iterator[StoredHistory]:
        """Readings of each commit after `commit_seq`, in order, as they were scored."""
        query = (
            "SELECT commit_seq, channel_id, coalesce(event_ns, phenomenon_ns) AS event_ns, value, reason, is_late "
            "FROM observation WHERE commit_seq > ? ORDER BY commit_seq, rowid"
        )
        table = self._arrow(query, [commit_seq])
        seqs = numpy_column(table, "commit_seq", np.int64)
        edges = np.flatnonzero(np.diff(seqs)) + 1
        columns = (
            numpy_column(table, "channel_id", np.uint32),
            numpy_column(table, "event_ns", np.int64),
            numpy_column(table, "value", np.float64),
            numpy_column(table, "reason", np.uint8),
            numpy_column(table, "is_late", np.bool_),
        )
        if len(seqs) == 0:
            return
        for parts in zip(*(np.split(column, edges) for column in columns), strict=True):
            yield StoredHistory(*parts)

    def newest_good(self) -> tuple[UInt32s, Floats, Int64s, Int64s]:
        """Per channel of the hot store: id, last good value, its time, and the newest live time of any quality."""
        bad = [int(reason) for reason, row in REASONS.items() if row.level == "bad"]
        table = self._arrow(
            """SELECT channel_id,
                      arg_max(value, phenomenon_ns) FILTER (NOT list_contains(?::UTINYINT[], reason)) AS value,
                      coalesce(max(phenomenon_ns) FILTER (NOT list_contains(?::UTINYINT[], reason)), 0) AS good_ns,
                      coalesce(max(least(phenomenon_ns, received_ns)) FILTER (NOT is_late), 0) AS seen_ns
               FROM observation GROUP BY channel_id""",
            [bad, bad],
        )
        return (
            numpy_column(table, "channel_id", np.uint32),
            numpy_column(table, "value", np.float64),
            numpy_column(table, "good_ns", np.int64),
            numpy_column(table, "seen_ns", np.int64),
        )

    # --- questions ---------------------------------------------------------------------------------------------------

    def pending_events(self, limit: int) -> list[ConditionEvent]:
        """Condition events that the alarm service has not confirmed, oldest first."""
        rows = self._all("SELECT event FROM outbox ORDER BY position LIMIT ?", [limit])
        return [ConditionEvent.model_validate_json(event) for (event,) in rows]

    def count_outbox(self) -> int:
        """How many events wait."""
        return int(self._one("SELECT count(*) FROM outbox")[0])

    def count_quarantine(self) -> int:
        """How much bad input was ever set aside."""
        query = "SELECT (SELECT count(*) FROM quarantine) + coalesce(sum(dropped), 0) FROM quarantine_dropped"
        return int(self._one(query)[0])

    def drop_quarantine(self, older_than_ns: int) -> None:
        """Removes old quarantined payloads; how many there were per reason is kept."""
        with self.transaction() as cursor:
            cursor.execute(
                """INSERT INTO quarantine_dropped
                   SELECT reason, count(*) FROM quarantine WHERE received_ns < ? GROUP BY reason""",
                [older_than_ns],
            )
            cursor.execute("DELETE FROM quarantine WHERE received_ns < ?", [older_than_ns])

    def quarantine_page(self) -> QuarantinePage:
        """Totals per reason, and the newest rows."""
        totals = dict(
            self._all(
                """SELECT reason, sum(seen)::BIGINT FROM (
                     SELECT reason, count(*) AS seen FROM quarantine GROUP BY reason
                     UNION ALL SELECT reason, dropped FROM quarantine_dropped)
                   GROUP BY reason ORDER BY reason"""
            )
        )
        newest = self._all(
            "SELECT received_ns, topic, reason, detail, payload FROM quarantine ORDER BY received_ns DESC LIMIT ?",
            [NEWEST_QUARANTINE_ROWS],
        )
        rows = [
            QuarantineRow(received_ns=time_ns, topic=topic, reason=reason, detail=detail, payload_hex=bytes(blob).hex())
            for time_ns, topic, reason, detail, blob in newest
        ]
        return QuarantinePage(totals=totals, newest=rows)

    def trend(self, channel_id: int, from_ns: int, to_ns: int, bucket_ns: int) -> Trend:
        """Observations of a channel in time buckets."""
        bad = [int(reason) for reason, row in REASONS.items() if row.level == "bad"]
        parameters = {"from": from_ns, "to": to_ns, "bucket": bucket_ns, "bad": bad, "channel": channel_id}
        rows = list(self._all(_TREND, parameters))
        columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in _TREND_COLUMNS]
        start_ns, minimum, maximum, mean, count, bad_count, score, *others = columns
        return Trend(
            channel_id=channel_id,
            from_ns=from_ns,
            to_ns=to_ns,
            bucket_ns=bucket_ns,
            start_ns=start_ns,
            minimum=minimum,
            maximum=maximum,
            mean=mean,
            score_ewma_z_maximum=score,
            scores_maximum={
                kind: column for kind, column in zip(OTHER_SCORES, others, strict=True) if set(column) - {None}
            },
            observation_count=count,
            bad_count=bad_count,
        )

    def waveforms(self, channel_id: int, from_ns: int, to_ns: int, blocks_max: int) -> list[Waveform]:
        """Blocks of a channel whose first sample lies in a time, in order; at most so many."""
        query = (
            "SELECT channel_id, first_ns, received_ns, sample_rate_hz, reason, samples FROM waveform"
            " WHERE channel_id = ? AND first_ns >= ? AND first_ns < ? ORDER BY first_ns, received_ns LIMIT ?"
        )
        return waveforms_of(self._arrow(query, [channel_id, from_ns, to_ns, blocks_max]).combine_chunks())

    # --- plumbing ----------------------------------------------------------------------------------------------------

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own, for reading beside the writer."""
        return self._connection.cursor()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """All or nothing on a cursor of its own; one writer at a time."""
        with self._lock, self.cursor() as cursor:
            try:
                cursor.execute("BEGIN")
                yield cursor
                cursor.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(duckdb.Error):
                    cursor.execute("ROLLBACK")
                if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException | duckdb.TransactionException):
                    raise StoreBusyError(str(error)) from error
                raise

    def _all(self, query: str, values: object = None) -> Iterator[tuple[Any, ...]]:
        with self.cursor() as cursor:
            rows = cursor.execute(query, values).fetchall()
        yield from rows

    def _one(self, query: str) -> tuple[Any, ...]:
        with self.cursor() as cursor:
            return self._one_of(cursor, query)

    @staticmethod
    def _one_of(cursor: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
        row = cursor.execute(query).fetchone()
        assert row is not None  # aggregates always give a row
        return row

    def _arrow(self, query: str, values: list[object]) -> pa.Table:
        with self.cursor() as cursor:
            return cursor.sql(query, params=values).to_arrow_table()


def _quarantine(cursor: duckdb.DuckDBPyConnection, bad: Quarantined) -> None:
    payload = bad.payload[:QUARANTINE_PAYLOAD_BYTES]
    values = [bad.received_ns, bad.topic, bad.reason, bad.detail, payload]
    cursor.execute("INSERT INTO quarantine VALUES (?, ?, ?, ?, ?)", values)
