"""Parquet in batches of rows (shell: reads a file). Any numeric type holds readings; text does too, as in CSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.record import Floats, Int64s
from stream_processor.errors import TrialError
from stream_processor.trial.cell_text import (
    CellError,
    EpochUnit,
    TimeForm,
    parse_times,
    parse_values,
    times_of_numbers,
    unit_of,
)
from stream_processor.trial.table import (
    BATCH_CELLS,
    TableBatch,
    TableLayout,
    describe_times,
    fault_at,
    find_places,
    form_of,
    numbered_times,
)


def read_parquet(path: Path, layout: TableLayout) -> Iterator[TableBatch]:
    """The table's rows. Raises TrialError, OSError, pyarrow.ArrowException."""
    with pq.ParquetFile(path) as file:
        find_places(path, layout, file.schema_arrow.names)
        names = [*layout.values, *([] if layout.time is None else [layout.time])]
        form: TimeForm | None = None
        rows_before = 0
        for batch in file.iter_batches(max(1, BATCH_CELLS // len(names)), columns=names):
            values = np.column_stack([_cast_values(path, batch, name, rows_before) for name in layout.values])
            if layout.time is None:
                times_ns = numbered_times(rows_before, len(values), layout.period_s)
            else:
                form, times_ns = _times(path, layout, batch, rows_before, form)
            rows_before += len(values)
            yield TableBatch(times_ns, values, describe_times(layout, form))


def _times(
    path: Path, layout: TableLayout, batch: pa.RecordBatch, rows_before: int, form: TimeForm | None
) -> tuple[TimeForm, Int64s]:
    column = _decoded(batch.column(layout.time))
    try:
        form = form or _form_of_column(layout, column)
        return form, _cast_times(column, form)
    except CellError as error:
        raise fault_at(path, rows_before + error.position + 1, layout.time, error, "row") from error


def _decoded(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    return column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _cast_values(path: Path, batch: pa.RecordBatch, name: str, rows_before: int) -> Floats:
    column = _decoded(batch.column(name))
    try:
        if _is_text(column.type):
            return parse_values([text or "" for text in column.to_pylist()])
        numbers = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
        values: Floats = numbers.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    except CellError as error:
        raise fault_at(path, rows_before + error.position + 1, name, error, "row") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TrialError(f"{path}: column {name!r} of type {column.type} holds no numbers: {error}") from error
    return values


def _form_of_column(layout: TableLayout, column: pa.Array) -> TimeForm:
    if pa.types.is_temporal(column.type):
        return TimeForm()
    if _is_text(column.type):
        return form_of(layout, column[0].as_py() or "")
    first = column[0].as_py()
    return TimeForm(unit=EpochUnit.SECONDS if first is None else unit_of(float(first)))


def _cast_times(column: pa.Array, form: TimeForm) -> Int64s:
    if column.null_count:
        raise CellError(column.is_null().index(True).as_py(), "there is no time")
    if _is_text(column.type):
        return parse_times(column.to_pylist(), form)
    if pa.types.is_temporal(column.type):
        zone = getattr(column.type, "tz", None)
        times: Int64s = column.cast(pa.timestamp("ns", zone)).cast(pa.int64()).to_numpy()
        return times
    numbers = column.to_numpy(zero_copy_only=False)
    is_none = np.flatnonzero(~np.isfinite(numbers))
    if len(is_none):
        raise CellError(int(is_none[0]), "there is no time")
    return times_of_numbers(numbers, form.unit or EpochUnit.SECONDS)
