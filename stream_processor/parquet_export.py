"""Parquet, all data: rows that are durable in the hot store go to new files by date and domain, then leave it by age.

Shell: owns the files under `parquet/date=YYYY-MM-DD/domain=NAME/`. They have the columns and encodings of the
distributed engine's archive (stream_processor.archive_columns). Closed files are never rewritten. Any tool reads them:

    SELECT * FROM read_parquet('parquet/**/*.parquet', hive_partitioning = true)
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from contracts.fleet import FleetSnapshot
from contracts.score import OTHER_SCORES
from contracts.score_columns import drop_empty_scores
from stream_processor.archive_columns import ArchiveRows, build_parts
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.export_range import ExportRange
from stream_processor.fleet_index import FleetIndex
from stream_processor.store_columns import numpy_column

ROWS_PER_FILE: Final = 1_000_000
"""Commits are put together up to so many rows: what is in memory at a time."""
_ROWS: Final = f"""
SELECT channel_id, coalesce(event_ns, phenomenon_ns) AS event_ns, phenomenon_ns, received_ns, value, reason,
       score_ewma_z, is_late, gateway_id, epoch, batch, {", ".join(OTHER_SCORES)}
FROM observation WHERE commit_seq BETWEEN ? AND ? ORDER BY commit_seq, rowid
"""  # noqa: S608  # our names


class ParquetExport:
    """Moves what the store holds into Parquet. Methods block: call them from a worker thread."""

    def __init__(self, store: DuckdbStore, folder: Path) -> None:
        self._store = store
        self._range = ExportRange(store, folder, "observation", "parquet_export")

    def export(self, fleet: FleetSnapshot) -> int:
        """Writes all rows that are not yet in Parquet to new files. Returns how many rows."""
        begun = self._range.begin()
        if begun is None:
            return 0
        index = FleetIndex(fleet)
        parts = self._range.parts(*begun, "count(*)", ROWS_PER_FILE)
        count = sum(self._write(index, first, last) for first, last in parts)
        self._range.end(begun[0])
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

    def _write(self, index: FleetIndex, first: int, last: int) -> int:
        with self._store.cursor() as cursor:
            rows = _archive_rows(cursor.sql(_ROWS, params=[first, last]).to_arrow_table())
        for part in build_parts(rows, index.contexts):
            self._range.write(part.folder, first, last, part.table)
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
        drop_empty_scores({kind: numpy_column(table, kind.value, np.float64) for kind in OTHER_SCORES}),
    )
