"""One Parquet file of the archive (shell): encodings, and that it is on the disk when it is said to be.

Bytes a row are what each column's encoding leaves before zstd; figures in docs/benchmarks.md. Times of one channel step
evenly, so their differences are small (DELTA_BINARY_PACKED); scores have three decimals, so a dictionary holds them;
what belongs to a channel is the same for thousands of rows on end (dictionary, run lengths). Values are plain: zstd
finds the few steps of an instrument as well as a dictionary does, and the four empty bytes of a 32-bit float too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS: Final = 131_072
"""What a reader takes at once, and one thread of DuckDB; few enough channels for small dictionaries."""
_DELTA: Final = ("event_time", "phenomenon_time", "received_time", "epoch", "batch")
_PLAIN: Final = ("value", "is_late")


def write_parquet(path: Path, table: pa.Table) -> None:
    """Writes a table of the archive to a new file; when this returns, its bytes are on the disk."""
    names = table.schema.names
    pq.write_table(
        table,
        path,
        compression="zstd",
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=[name for name in names if name not in {*_DELTA, *_PLAIN}],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in names if name in _DELTA},
        store_schema=False,
    )
    sync(path)


def sync(path: Path) -> None:
    """Has the disk keep a file's bytes, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
