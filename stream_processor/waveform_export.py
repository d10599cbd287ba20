"""Waveforms from the hot store to Parquet (shell): files under `waveforms/date=YYYY-MM-DD/domain=NAME/`.

SELECT node_id, quantity, first_time, samples FROM read_parquet('waveforms/**/*.parquet', hive_partitioning = true)
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from contracts.fleet import FleetSnapshot
from contracts.uplink import BatchIdentity
from contracts.waveform_message import waveforms_of
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.export_range import ExportRange
from stream_processor.fleet_index import FleetIndex
from stream_processor.store_columns import StoredWaveform
from stream_processor.waveform_columns import build_waveform_parts

SAMPLES_PER_FILE: Final = 10_000_000
"""Commits are put together up to so many samples: 40 MB in memory at a time."""
_BLOCKS: Final = """
SELECT channel_id, first_ns, received_ns, sample_rate_hz, reason, samples, gateway_id, epoch, batch
FROM waveform WHERE commit_seq BETWEEN ? AND ? ORDER BY commit_seq, rowid
"""


class WaveformExport:
    """Moves blocks into Parquet. Methods block: call them from a worker thread."""

    def __init__(self, store: DuckdbStore, folder: Path) -> None:
        self._store = store
        self._range = ExportRange(store, folder, "waveform", "waveform_export")

    def export(self, fleet: FleetSnapshot) -> int:
        """Writes all blocks that are not yet in Parquet to new files. Returns how many."""
        begun = self._range.begin()
        if begun is None:
            return 0
        index = FleetIndex(fleet)
        parts = self._range.parts(*begun, "sum(len(samples))", SAMPLES_PER_FILE)
        count = sum(self._write(index, first, last) for first, last in parts)
        self._range.end(begun[0])
        return count

    def drop_exported(self, older_than_ns: int) -> int:
        """Removes blocks from the hot store that are in Parquet and were received before a time. Returns how many."""
        with self._store.transaction() as cursor:
            cursor.execute(
                """DELETE FROM waveform WHERE received_ns < ?
                   AND commit_seq <= (SELECT coalesce(max(last_commit), 0) FROM waveform_export WHERE is_done)""",
                [older_than_ns],
            )
            row = cursor.fetchone()
        return int(row[0]) if row is not None else 0

    def _write(self, index: FleetIndex, first: int, last: int) -> int:
        blocks = self._blocks(first, last)
        for part in build_waveform_parts(blocks, index.contexts):
            self._range.write(part.folder, first, last, part.table)
        return len(blocks)

    def _blocks(self, first: int, last: int) -> list[StoredWaveform]:
        with self._store.cursor() as cursor:
            table = cursor.sql(_BLOCKS, params=[first, last]).to_arrow_table().combine_chunks()
        columns = (table.column(name).to_pylist() for name in ("gateway_id", "epoch", "batch"))
        identities = [None if row[0] is None else BatchIdentity(*row) for row in zip(*columns, strict=True)]
        return list(zip(waveforms_of(table), identities, strict=True))
