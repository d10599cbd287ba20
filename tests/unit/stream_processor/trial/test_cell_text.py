"""Numbers and times of people's files; what could be read in two ways is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from stream_processor.trial.cell_text import (
    CellError,
    EpochUnit,
    TimeForm,
    parse_times,
    parse_values,
    recognise_times,
    times_of_numbers,
)

NOON_NS = int(datetime(2026, 10, 31, 12, tzinfo=UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    "text",
    [
        "2026-10-31 12:00:00",
        "2026-10-31T12:00:00Z",
        "2026-10-31T12:00",
        "2026/10/31 12:00:00",
        "2026-10-31T14:00:00+02:00",
        "2026-10-31 14:00:00 +0200",
        "2026-10-31 12:00:00.000",
        "2026.10.31 12:00:00,000",
        "1793448000",
        "1793448000.0",
        "1793448000000",
        "1793448000000000",
        "1793448000000000000",
        " 1793448000 ",
    ],
)
def test_one_time_in_many_forms_is_one_time(text):
    assert parse_times([text], recognise_times(text)).tolist() == [NOON_NS]


def test_nanoseconds_of_a_fraction_are_kept():
    assert parse_times(["2026-10-31 12:00:00.123456789"], TimeForm()).tolist() == [NOON_NS + 123_456_789]
    assert parse_times(["1793448000.25"], TimeForm(unit=EpochUnit.SECONDS)).tolist() == [NOON_NS + 250_000_000]
    assert times_of_numbers(np.array([1793448000.25]), EpochUnit.SECONDS).tolist() == [NOON_NS + 250_000_000]


def test_single_digits_and_a_change_of_zone_within_a_file_are_understood():
    times = parse_times(["2026-3-1 0:05", "2026-03-01T01:05:00+01:00", "2026-03-01T02:05:00+02:00"], TimeForm())
    assert len(set(times.tolist())) == 1


def test_a_form_that_is_named_is_used():
    form = TimeForm(pattern="%d/%m/%Y %I:%M %p")
    assert parse_times(["31/10/2026 12:00 PM"], form).tolist() == [NOON_NS]
    with pytest.raises(CellError) as caught:
        parse_times(["31/10/2026 12:00 PM", "10/31/2026 12:00 PM"], form)
    assert caught.value.position == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("03/04/2026 10:00", "day or with the month"),
        ("3.4.26", "day or with the month"),
        ("20261031", "--time-format %Y%m%d"),
        ("noon", "neither ISO 8601"),
        ("", "neither ISO 8601"),
    ],
)
def test_a_first_time_that_is_none_or_two_is_refused(text, words):
    with pytest.raises(CellError, match=words):
        recognise_times(text)


@pytest.mark.parametrize("text", ["1793448000000", "2026-10-31", "", "1793448000 s"])
def test_a_later_time_of_another_form_is_refused_where_it_stands(text):
    with pytest.raises(CellError) as caught:
        parse_times(["1793448000", text], TimeForm(unit=EpochUnit.SECONDS))
    assert caught.value.position == 1


@pytest.mark.parametrize("text", ["2026-13-01 00:00:00", "2026-02-30", "2026-01-01 25:00:00"])
def test_a_date_that_there_is_not_is_refused(text):
    with pytest.raises(CellError):
        parse_times([text], TimeForm())


def test_words_for_no_value_are_missing_and_nothing_else_is():
    values = parse_values(["1", "", "NA", "null", " - ", "NaN", "-2.5e3"])
    assert np.isnan(values[1:6]).all()
    assert values[[0, 6]].tolist() == [1.0, -2500.0]
    with pytest.raises(CellError, match="'abc' is no number"):
        parse_values(["1", "abc"])


def test_a_decimal_comma_is_taken_only_if_it_is_said():
    with pytest.raises(CellError, match="--decimal-comma"):
        parse_values(["3,14"])
    assert parse_values(["3,14", "-1.234,5", "7", "NA"], has_decimal_comma=True)[:3].tolist() == [3.14, -1234.5, 7.0]
    with pytest.raises(CellError, match="has a point"):
        parse_values(["3.14"], has_decimal_comma=True)
