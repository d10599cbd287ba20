"""The table of scores as CSV or Parquet, told by the suffix: whole or not at all (shell: writes one file).

| column            | meaning                                                                                  |
|-------------------|------------------------------------------------------------------------------------------|
| time              | as it was read, UTC, nanoseconds                                                         |
| A                 | the reading of column A, empty where there is none                                       |
| A_reason          | what quality control says of it (contracts.quality): `ok`, `out_of_range`, …             |
| A_is_late         | older than one of its column, or as old: scored, not learnt                              |
| A_<detector>      | 0 to 1; empty: none (warm-up, no reading, bad)                                           |
| <group detector>  | of all columns together, on the row that closed the frame                                |

One line for each line of the input, in its order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from contracts.record import Floats
from stream_processor.archive_columns import REASON_NAMES
from stream_processor.errors import TrialError
from stream_processor.text_column import build_texts
from stream_processor.trial.score_run import ScoredRows

SUFFIXES: Final = (".csv", ".parquet", ".pq")


class ScoreFile:
    """Takes rows; see `write_scores`."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._path = path
        self._columns = columns
        self._writer: Any = None

    def add(self, rows: ScoredRows) -> None:
        """Writes rows."""
        table = pa.table(_build_columns(rows, self._columns))
        if self._writer is None:
            is_csv = self._path.suffix.lower() == ".csv"
            part = partial_path(self._path)
            self._writer = pa_csv.CSVWriter(part, table.schema) if is_csv else pq.ParquetWriter(part, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def write_scores(path: Path | None, columns: tuple[str, ...]) -> Iterator[ScoreFile | None]:
    """A file that has its name when the block has ended well, and is not there at all otherwise."""
    if path is None:
        yield None
        return
    file = ScoreFile(path, columns)
    try:
        with whole_file(path):
            try:
                yield file
            finally:
                file.close()
    except OSError as error:
        raise TrialError(f"{path}: cannot be written: {error}") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which is renamed to `path` when the block has ended well, and removed otherwise."""
    part = partial_path(path)
    try:
        yield part
        if part.exists():
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """Where a file is written until it is whole: beside it, so that it can be renamed."""
    return path.with_name(f".{path.name}.part")


def _build_columns(rows: ScoredRows, names: tuple[str, ...]) -> dict[str, pa.Array]:
    columns = {"time": pa.array(rows.times_ns).cast(pa.timestamp("ns", "UTC"))}
    columns.update((name, _nullable(rows.values[:, at])) for at, name in enumerate(names))
    for at, name in enumerate(names):
        codes = np.where(np.isnan(rows.values[:, at]), -1, rows.reasons[:, at].astype(np.int64))
        columns[f"{name}_reason"] = build_texts(REASON_NAMES, codes).cast(pa.string())
        columns[f"{name}_is_late"] = pa.array(rows.is_late[:, at])
        columns.update((f"{name}_{detector}", _nullable(found[:, at])) for detector, found in rows.scores.items())
    columns.update((detector, _nullable(found)) for detector, found in rows.group_scores.items())
    return columns


def _nullable(column: Floats) -> pa.Array:
    return pa.array(column, mask=np.isnan(column))
