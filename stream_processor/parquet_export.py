"""Parquet, all data: rows that are durable in the hot store go to new files by date and domain, then leave it by age.

Shell: owns the files under `parquet/date=YYYY-MM-DD/domain=NAME/`. They have the columns and encodings of the
distributed engine's archive (stream_processor.archive_columns). Closed files are never rewritten. Any tool reads them:

    SELECT * FROM read_parquet('parquet/**/*.parquet', hive_partitioning = true)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from contracts.fleet import FleetSnapshot
from stream_processor.archive_columns import ArchiveRows, build_parts
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.fleet_index import FleetIndex
from stream_processor.parquet_file import sync, write_parquet
from stream_processor.store_columns import numpy_column

ROWS_PER_FILE: Final = 1_000_000
"""Commits are put together up to so many rows: what is in memory at a time."""
_NAME: Final = re.compile(r"part-(\d+)-(\d+)\.parquet")
_ROWS: Final = """
SELECT channel_id, coalesce(event_ns, phenomenon_ns) AS event_ns, phenomenon_ns, received_ns, value, reason,
       score_ewma_z, is_late, gateway_id, epoch, batch
FROM observation WHERE commit_seq BETWEEN ? AND ? ORDER BY commit_seq, rowid
"""


class ParquetExport:
    """Moves what the store holds into Parquet. Methods block: call them from a worker thread."""

    def __init__(self, store: DuckdbStore, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def export(self, fleet: FleetSnapshot) -> int:
        """Writes all rows that are not yet in Parquet to new files. Returns how many rows.

        A range of commits is first noted as begun, then written, then noted as done: after a crash in between, what
        was written of it is taken away and written again.
        """
        begun = self._begin()
        if begun is None:
            return 0
        self._take_away(*begun)
        index = FleetIndex(fleet)
        count = sum(self._write(index, first, last) for first, last in self._parts(*begun))
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

    def _take_away(self, first: int, last: int) -> None:
        """Files of a range that was begun and not done: they were never closed."""
        for path in self._folder.rglob("part-*.parquet"):
            match = _NAME.fullmatch(path.name)
            if match is not None and first <= int(match[1]) and int(match[2]) <= last:
                path.unlink()

    def _parts(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Ranges of commits of about ROWS_PER_FILE rows."""
        with self._store.cursor() as cursor:
            commits = cursor.execute(
                "SELECT commit_seq, count(*) FROM observation WHERE commit_seq BETWEEN ? AND ? GROUP BY 1 ORDER BY 1",
                [first, last],
            ).fetchall()
        rows = 0
        for commit_seq, count in commits:
            rows += count
            if rows >= ROWS_PER_FILE:
                yield first, commit_seq
                first, rows = commit_seq + 1, 0
        if rows:
            yield first, last

    def _write(self, index: FleetIndex, first: int, last: int) -> int:
        with self._store.cursor() as cursor:
            rows = _archive_rows(cursor.sql(_ROWS, params=[first, last]).to_arrow_table())
        for part in build_parts(rows, index.contexts):
            folder = self._folder / part.folder
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"part-{first:012d}-{last:012d}.parquet"
            write_parquet(path.with_suffix(".draft"), part.table)
            path.with_suffix(".draft").rename(path)
            for changed in (folder, folder.parent, self._folder):
                sync(changed)
        return len(rows)


def _archive_rows(table: pa.Table) -> ArchiveRows:
    return ArchiveRows(
        numpy_column(table, "channel_id", np.uint32),
        numpy_column(table, "event_ns", np.int64),
        numpy_column(table, "phenomenon_ns", np.int64),
        numpy_column(table, "received_ns", np.int64),
        numpy_column(table, "value", np.float64),
        numpy_column(table, "reason", np.uint8),
        numpy_column(table, "score_ewma_z", np.float64),
        numpy_column(table, "is_late", np.bool_),
        table.column("gateway_id").combine_chunks(),
        table.column("epoch").combine_chunks(),
        table.column("batch").combine_chunks(),
    )
