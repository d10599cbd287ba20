"""Cells of a table as text: numbers, and times of the forms that people's files have. Pure.

A time is ISO 8601 (`2026-10-31 08:15:00`, with or without zone, `/` for `-`), a number of seconds, milliseconds,
microseconds or nanoseconds since 1970 (told by its size), or of a form that the caller names (as for strptime). A time
without zone is UTC. What could be read in two ways is refused: `03/04/2026` is March in one country and April in
another, and `20260304` is a date or a second of August 1970.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from contracts.record import Floats, Int64s

MISSING: Final = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?", "nil", "missing"})
"""Words for "no value", in lower case."""
_NS_PER_S: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_FIRST: Final = re.compile(
    r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"
    r"(?:[ T]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r"\s*(?P<zone>Z|UTC|[+-]\d\d(?::?\d\d)?)?"
)
_DAY_OR_MONTH_FIRST: Final = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}\b.*")
_WITH_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+")
_PARTS: Final = ("year", "month", "day", "hour", "minute", "second")
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_DIGITS_OF_DATE: Final = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")


class CellError(ValueError):
    """A cell that cannot be read: which one of those given, and why."""

    def __init__(self, position: int, reason: str) -> None:
        self.position = position
        super().__init__(reason)


class EpochUnit(Enum):
    """What a time that is a number counts, with its nanoseconds."""

    SECONDS = _NS_PER_S
    MILLISECONDS = 1_000_000
    MICROSECONDS = 1_000
    NANOSECONDS = 1


_LARGEST: Final = ((1e11, EpochUnit.SECONDS), (1e14, EpochUnit.MILLISECONDS), (1e17, EpochUnit.MICROSECONDS))
"""Each unit's times end here (years 5138 to 5138), and those of the next unit begin (year 1973)."""


class TimeForm(NamedTuple):
    """How the times of one file are written."""

    unit: EpochUnit | None = None
    """They are numbers."""
    pattern: str | None = None
    """They are text of this form (strptime)."""

    def __str__(self) -> str:
        if self.unit is not None:
            return f"{self.unit.name.lower()} since 1970"
        return "ISO 8601, UTC where no zone stands" if self.pattern is None else self.pattern


# --- numbers ---------------------------------------------------------------------------------------------------------


def parse_values(texts: Sequence[str], *, has_decimal_comma: bool = False) -> Floats:
    """Numbers; NaN where there is none. Raises CellError."""
    if not has_decimal_comma:
        with suppress(ValueError):
            return np.array(list(map(float, texts)))
    return np.array([_number(text, at, has_decimal_comma) for at, text in enumerate(texts)])


def _number(text: str, position: int, has_decimal_comma: bool) -> float:
    plain = text.strip()
    if plain.lower() in MISSING:
        return np.nan
    if has_decimal_comma:
        if "." in plain and not _WITH_THOUSANDS.fullmatch(plain):
            raise CellError(position, f"{text!r} has a point, though the comma is the decimal sign")
        plain = plain.replace(".", "").replace(",", ".")
    try:
        return float(plain)
    except ValueError:
        hint = ": if the comma is the decimal sign, say --decimal-comma" if "," in plain else ""
        raise CellError(position, f"{text!r} is no number{hint}") from None


# --- times -----------------------------------------------------------------------------------------------------------


def recognise_times(text: str) -> TimeForm:
    """The form of a file's times, from the first of them. Raises CellError."""
    plain = text.strip()
    if _DIGITS_OF_DATE.fullmatch(plain):
        raise CellError(0, f"{text!r} is a date or a number of seconds: for a date say --time-format %Y%m%d")
    if _NUMBER.fullmatch(plain):
        return TimeForm(unit=unit_of(float(plain)))
    if _YEAR_FIRST.fullmatch(plain):
        return TimeForm()
    raise CellError(0, _not_a_time(text))


def unit_of(number: float) -> EpochUnit:
    """What a number of this size counts since 1970."""
    return next((unit for limit, unit in _LARGEST if abs(number) < limit), EpochUnit.NANOSECONDS)


def parse_times(texts: Sequence[str], form: TimeForm) -> Int64s:
    """Nanoseconds since 1970, UTC. Raises CellError."""
    if form.pattern is not None:
        pattern = form.pattern
        return _each(texts, lambda text: _nanoseconds(datetime.strptime(text.strip(), pattern)))  # noqa: DTZ007  # see there
    if form.unit is not None:
        unit = form.unit
        return _each(texts, lambda text: _epoch_ns(text, unit))
    for zone in (None, "UTC"):
        try:
            times: Int64s = pa.array(texts).cast(pa.timestamp("ns", zone)).cast(pa.int64()).to_numpy()
        except pa.ArrowInvalid:
            continue
        return times
    return _each(texts, _iso_ns)


def times_of_numbers(numbers: Floats | Int64s, unit: EpochUnit) -> Int64s:
    """As `parse_times`, of numbers that are numbers already."""
    if np.issubdtype(numbers.dtype, np.integer):
        return numbers.astype(np.int64) * unit.value
    whole = np.floor(numbers)
    rest = np.rint((numbers - whole) * unit.value).astype(np.int64)
    times: Int64s = whole.astype(np.int64) * unit.value + rest
    return times


def _each(texts: Sequence[str], read: Callable[[str], int]) -> Int64s:
    times = np.empty(len(texts), dtype=np.int64)
    for position, text in enumerate(texts):
        try:
            times[position] = read(text)
        except (ValueError, InvalidOperation, OverflowError) as error:
            why = _not_a_time(text) if text.strip() else "there is no time"
            raise CellError(position, f"{why} ({error})" if isinstance(error, OverflowError) else why) from None
    return times


def _epoch_ns(text: str, unit: EpochUnit) -> int:
    plain = text.strip()
    number_ns = int(plain) * unit.value if plain.isdigit() else int(Decimal(plain) * unit.value)
    if unit_of(number_ns / unit.value) is not unit and number_ns >= 0:
        raise ValueError(text)
    return number_ns


def _iso_ns(text: str) -> int:
    match = _YEAR_FIRST.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    named = match.groupdict(default="0")
    year, month, day, hour, minute, second = (int(named[part]) for part in _PARTS)
    time = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    fraction_ns = int((match["fraction"] or "").ljust(9, "0"))
    return _nanoseconds(time) - _zone_s(match["zone"]) * _NS_PER_S + fraction_ns


def _zone_s(zone: str | None) -> int:
    if zone is None or zone in {"Z", "UTC"}:
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (-1 if zone[0] == "-" else 1) * (int(digits[:2]) * 3_600 + int(digits[2:]) * 60)


def _nanoseconds(time: datetime) -> int:
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1_000


def _not_a_time(text: str) -> str:
    if _DAY_OR_MONTH_FIRST.fullmatch(text.strip()):
        return (
            f"{text!r} begins with the day or with the month: say which, --time-format '%d/%m/%Y %H:%M:%S' or "
            "'%m/%d/%Y %H:%M:%S'"
        )
    return f"{text!r} is neither ISO 8601 nor seconds, ms, us or ns since 1970 of one size: --time-format names a form"
