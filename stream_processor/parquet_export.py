"""Parquet, all data: rows that are durable in the hot store go to new files by date and domain, then leave it by age.

Shell: owns the files under `parquet/date=YYYY-MM-DD/domain=NAME/`. Closed files are never rewritten. Any tool
reads them:

    SELECT * FROM read_parquet('parquet/**/*.parquet', hive_partitioning = true)
"""

from __future__ import annotations

from pathlib import Path

from contracts.fleet import FleetSnapshot
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.store_columns import channel_contexts, reason_rows

_COPY = """
COPY (
    SELECT channel_id, district_id, site_id, o.gateway_id, node_id, quantity, unit,
           make_timestamp_ns(phenomenon_ns) AS phenomenon_time, make_timestamp_ns(received_ns) AS received_time,
           value, quality, r.name AS reason, score_ewma_z, is_late, epoch, batch,
           strftime(make_timestamp_ns(phenomenon_ns), '%Y-%m-%d') AS date, coalesce(domain, 'unknown') AS domain
    FROM observation o
    LEFT JOIN channel_context USING (channel_id)
    LEFT JOIN reason_row r ON o.reason = r.code
    WHERE commit_seq BETWEEN {first} AND {last}
    ORDER BY channel_id, phenomenon_ns
) TO '{folder}'
(FORMAT parquet, COMPRESSION zstd, PARTITION_BY (date, domain),
 FILENAME_PATTERN 'part-{first:012d}-{last:012d}-{{i}}', OVERWRITE_OR_IGNORE)
"""


class ParquetExport:
    """Moves what the store holds into Parquet. Methods block: call them from a worker thread."""

    def __init__(self, store: DuckdbStore, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def export(self, fleet: FleetSnapshot) -> int:
        """Writes all rows that are not yet in Parquet to new files. Returns how many rows.

        A range of commits is first noted as begun, then written, then noted as done: after a crash in between it is
        written again over the same file names.
        """
        begun = self._begin()
        if begun is None:
            return 0
        count = self._copy(fleet, *begun)
        with self._store.transaction() as cursor:
            cursor.execute("UPDATE parquet_export SET is_done = true WHERE first_commit = ?", [begun[0]])
        return count

    def drop_exported(self, older_than_ns: int) -> int:
        """Removes rows from the hot store that are in Parquet and were received before a time. Returns how many.

        Not yet learnt rows stay: detectors replay what came after their snapshot.
        """
        with self._store.transaction() as cursor:
            cursor.execute(
                """DELETE FROM observation WHERE received_ns < ?
                   AND commit_seq <= (SELECT coalesce(max(last_commit), 0) FROM parquet_export WHERE is_done)
                   AND commit_seq <= (SELECT coalesce(max(commit_seq), 0) FROM snapshot)""",
                [older_than_ns],
            )
            row = cursor.fetchone()
        return int(row[0]) if row is not None else 0

    def _begin(self) -> tuple[int, int] | None:
        with self._store.transaction() as cursor:
            unfinished = cursor.execute(
                "SELECT first_commit, last_commit FROM parquet_export WHERE NOT is_done"
            ).fetchone()
            if unfinished is not None:
                return int(unfinished[0]), int(unfinished[1])
            row = cursor.execute(
                """SELECT (SELECT coalesce(max(last_commit), 0) FROM parquet_export) + 1,
                          (SELECT coalesce(max(commit_seq), 0) FROM observation)"""
            ).fetchone()
            assert row is not None  # aggregates always give a row
            first, last = int(row[0]), int(row[1])
            if last < first:
                return None
            cursor.execute("INSERT INTO parquet_export VALUES (?, ?, false)", [first, last])
            return first, last

    def _copy(self, fleet: FleetSnapshot, first: int, last: int) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = str(self._folder).replace("'", "''")
        with self._store.cursor() as cursor:
            cursor.register("channel_context", channel_contexts(fleet))
            cursor.register("reason_row", reason_rows())
            row = cursor.execute(_COPY.format(first=first, last=last, folder=folder)).fetchone()
        return int(row[0]) if row is not None else 0
