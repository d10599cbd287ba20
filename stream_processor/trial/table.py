"""A table with readings: how it is written, where its columns stand, its rows in batches. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from contracts.record import Floats, Int64s
from stream_processor.errors import TrialError
from stream_processor.trial.cell_text import TimeForm, recognise_times

BATCH_CELLS: Final = 200_000
"""Cells of a batch: what is in memory at a time is some hundred bytes for each."""
_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TableLayout:
    """What a caller says of a table."""

    values: tuple[str, ...]
    """Columns with readings: each is a channel. In a file without header their numbers, from 1."""
    time: str | None = None
    """Column with times. None: rows are `period_s` apart, and begin at 1970."""
    period_s: float = 1.0
    time_format: str | None = None
    """As for strptime. None: ISO 8601 or a number."""
    separator: str | None = None
    """None: told by the first line."""
    has_header: bool = True
    has_decimal_comma: bool = False


class TableBatch(NamedTuple):
    """Rows in the order of the file."""

    times_ns: Int64s
    values: Floats
    """By row and column; NaN where there is no value."""
    time_form: str
    """How times are written, for people."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the columns stand in a row."""

    time: int | None
    values: tuple[int, ...]

    @property
    def width(self) -> int:
        """Cells that a row needs."""
        return 1 + max((*self.values, -1 if self.time is None else self.time))


def find_places(path: Path, layout: TableLayout, header: Sequence[str]) -> Places:
    """Where the columns stand among these. Raises TrialError if one is not there, or twice."""
    wanted = [*layout.values, *([] if layout.time is None else [layout.time])]
    absent = [name for name in wanted if name not in header]
    if absent:
        looks_like_reading = all(_is_number(cell) for cell in header[-1:]) and layout.has_header
        hint = ": the first line looks like a reading; if it is one, say --no-header" if looks_like_reading else ""
        raise TrialError(f"{path}: there is no column {', '.join(map(repr, absent))} among {', '.join(header)}{hint}")
    twice = sorted({name for name in wanted if header.count(name) > 1 or wanted.count(name) > 1})
    if twice:
        raise TrialError(f"{path}: column {', '.join(map(repr, twice))} stands more than once")
    return Places(
        None if layout.time is None else header.index(layout.time), tuple(header.index(name) for name in layout.values)
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def form_of(layout: TableLayout, text: str) -> TimeForm:
    """How times are written, from the first of them. Raises CellError."""
    return recognise_times(text) if layout.time_format is None else TimeForm(pattern=layout.time_format)


def describe_times(layout: TableLayout, form: TimeForm | None) -> str:
    """Where times come from, for people."""
    return f"rows {layout.period_s:g} s apart" if form is None else f"{layout.time}, {form}"


def fault_at(path: Path, line: int, column: str | None, error: Exception, what: str = "line") -> TrialError:
    """What is wrong with a cell, and where it stands."""
    return TrialError(f"{path}: {what} {line}: column {column!r}: {error}")


def numbered_times(first: int, count: int, period_s: float) -> Int64s:
    """Times of rows that have none, from the number of the first."""
    times: Int64s = np.rint(np.arange(first, first + count) * (period_s * _NS_PER_S)).astype(np.int64)
    return times
