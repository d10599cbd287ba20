"""Tables that people have, CSV and Parquet, as batches of rows in bounded memory (shell: reads files).

Fails with file, line, column and value: nothing is guessed that could be read in two ways.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from stream_processor.errors import TrialError
from stream_processor.trial.csv_table import read_csv
from stream_processor.trial.parquet_table import read_parquet
from stream_processor.trial.table import TableBatch, TableLayout

_PARQUET: Final = frozenset({".parquet", ".pq"})


def read_table(path: Path, layout: TableLayout) -> Iterator[TableBatch]:
    """The table's rows. Raises TrialError, which names file, line, column and value."""
    read = read_parquet if path.suffix.lower() in _PARQUET else read_csv
    try:
        yield from read(path, layout)
    except (OSError, EOFError, pa.ArrowException, csv.Error) as error:
        raise TrialError(f"{path}: cannot be read: {error}") from error
