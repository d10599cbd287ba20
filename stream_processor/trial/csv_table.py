"""CSV in batches of rows (shell: reads a file).

Separator comma, semicolon, tab, bar or (said by the caller) space; quotes as in RFC 4180; UTF-8 with or without byte
order mark, else Windows-1252; `.gz` is unpacked; empty lines are passed over. A missing value is an empty cell or one
of `cell_text.MISSING`.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np

from contracts.record import Floats, Int64s
from stream_processor.errors import TrialError
from stream_processor.trial.cell_text import CellError, TimeForm, parse_times, parse_values
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

_SNIFFED: Final = (",", ";", "\t", "|")
_HEAD_BYTES: Final = 65_536


class _Lines(NamedTuple):
    """Some rows of a CSV file, and the line on which each ends."""

    cells: list[list[str]]
    numbers: list[int]

    def column(self, at: int) -> list[str]:
        """The cells of a column."""
        return [row[at] for row in self.cells]


def read_csv(path: Path, layout: TableLayout) -> Iterator[TableBatch]:
    """The table's rows. Raises TrialError, OSError, csv.Error."""
    with _open_text(path) as file:
        header = _read_header(path, file, layout)
        reader = csv.reader(file, delimiter=_separator(file, layout), skipinitialspace=True)
        if layout.has_header:
            next(reader)
        places = find_places(path, layout, header)
        form: TimeForm | None = None
        rows_before = 0
        for lines in _groups(path, reader, max(1, BATCH_CELLS // len(header)), places.width):
            columns = zip(layout.values, places.values, strict=True)
            values = np.column_stack([_values(path, layout, name, lines, at) for name, at in columns])
            if places.time is None:
                times_ns = numbered_times(rows_before, len(values), layout.period_s)
            else:
                form, times_ns = _times(path, layout, lines, places.time, form)
            rows_before += len(values)
            yield TableBatch(times_ns, values, describe_times(layout, form))


def _read_header(path: Path, file: IO[str], layout: TableLayout) -> list[str]:
    """The names of the columns; numbers from 1 if they have none."""
    first = next(csv.reader(file, delimiter=_separator(file, layout), skipinitialspace=True), [])
    file.seek(0)
    if not any(cell.strip() for cell in first):
        raise TrialError(f"{path}: the file is empty, or its first line is")
    return [name.strip() if layout.has_header else str(at) for at, name in enumerate(first, 1)]


def _separator(file: IO[str], layout: TableLayout) -> str:
    """What the caller says, else what stands most often in the first line."""
    if layout.separator is not None:
        return layout.separator
    file.seek(0)
    first = file.readline()
    file.seek(0)
    return max(_SNIFFED[layout.has_decimal_comma :], key=first.count)


def _times(path: Path, layout: TableLayout, lines: _Lines, at: int, form: TimeForm | None) -> tuple[TimeForm, Int64s]:
    texts = lines.column(at)
    try:
        form = form or form_of(layout, texts[0])
        return form, parse_times(texts, form)
    except CellError as error:
        raise fault_at(path, lines.numbers[error.position], layout.time, error) from error


def _open_text(path: Path) -> IO[str]:
    is_packed = path.suffix.lower() == ".gz"
    with gzip.open(path) if is_packed else path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    try:
        head[: head.rfind(b"\n") + 1].decode("utf-8")
        encoding = "utf-8-sig"
    except UnicodeDecodeError:
        encoding = "cp1252"
    if is_packed:
        return gzip.open(path, "rt", encoding=encoding, errors="replace", newline="")
    return path.open(encoding=encoding, errors="replace", newline="")


def _groups(path: Path, reader: Iterator[list[str]], count: int, width: int) -> Iterator[_Lines]:
    """Rows in groups; empty lines are passed over."""
    lines = _Lines([], [])
    for row in reader:
        if not row or (width > 1 and len(row) == 1 and not row[0].strip()):
            continue
        number: int = reader.line_num  # type: ignore[attr-defined]  # of csv.reader, which has no name to annotate with
        if len(row) < width:
            raise TrialError(f"{path}: line {number}: {len(row)} cells, where {width} or more were expected: {row}")
        lines.cells.append(row)
        lines.numbers.append(number)
        if len(lines.cells) == count:
            yield lines
            lines = _Lines([], [])
    if lines.cells:
        yield lines


def _values(path: Path, layout: TableLayout, name: str, lines: _Lines, at: int) -> Floats:
    try:
        return parse_values(lines.column(at), has_decimal_comma=layout.has_decimal_comma)
    except CellError as error:
        raise fault_at(path, lines.numbers[error.position], name, error) from error
