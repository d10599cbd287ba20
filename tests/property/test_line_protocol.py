"""Line protocol reads back exactly, by a parser that knows nothing of the builder.

The parser follows InfluxData's page "Line protocol" (v2, sections *Special characters* and *Data types*): a comma or
space ends a measurement, a comma, equals sign or space ends a tag, unless a backslash stands before it; any other
backslash is itself.
"""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.influx_schema import SCORE_WRITTEN_FROM
from contracts.quality import Level, Reason, level_of
from contracts.score import OTHER_SCORES, STANDARD
from contracts.score_columns import OtherScores
from stream_processor.line_protocol import (
    Points,
    build_bodies,
    build_series,
    escape_measurement,
    escape_tag,
    find_without_series,
    format_series,
    halves,
)


def scan(text: str, position: int, ends: str, escapable: str) -> tuple[str, int]:
    """A name up to an unescaped end."""
    found = ""
    while text[position] not in ends:
        if text[position] == "\\" and text[position + 1] in escapable:
            position += 1
        found += text[position]
        position += 1
    return found, position


def parse_line(line: str) -> tuple[str, dict[str, str], dict[str, float | int], int]:
    measurement, at = scan(line, 0, ", ", ", ")
    tags = {}
    while line[at] == ",":
        key, at = scan(line, at + 1, "=", ",= ")
        tags[key], at = scan(line, at + 1, ", ", ",= ")
    fields_text, _, time_text = line[at + 1 :].partition(" ")
    fields = {}
    for pair in fields_text.split(","):
        key, _, number = pair.partition("=")
        assert key not in fields
        fields[key] = int(number[:-1]) if number.endswith("i") else float(number)
    return measurement, tags, fields, int(time_text)


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def is_written(score: float) -> bool:
    return math.isfinite(score) and score >= SCORE_WRITTEN_FROM


def is_writable(text: str) -> bool:
    return bool(text) and not text.endswith("\\") and not any(ch < " " or ch == "\x7f" for ch in text)


NAMES = st.text(st.one_of(st.sampled_from(',= \\"aé中i'), st.characters(codec="utf-8")), min_size=1).filter(is_writable)
SERIES = st.tuples(
    NAMES.filter(lambda name: not name.startswith("#")), st.dictionaries(NAMES, NAMES, min_size=1, max_size=4)
)
NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e21, 1e-7, 123.4]))
TIMES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.just(1_761_955_200_000_000_000))
ROWS = st.tuples(st.integers(0, 2), TIMES, NUMBERS, st.sampled_from(sorted(Reason)), NUMBERS)
OTHERS = st.lists(st.sampled_from(OTHER_SCORES), unique=True, max_size=4)
SCORE_NUMBERS = st.one_of(st.just(math.nan), st.floats(0.0, 1.0), NUMBERS)


def points_of(rows: list[tuple[int, int, float, int, float]], other_scores: OtherScores | None = None) -> Points:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    return Points(
        np.array(columns[0], dtype=np.intp),
        np.array(columns[1], dtype=np.int64),
        np.array(columns[2], dtype=np.float64),
        np.array(columns[3], dtype=np.uint8),
        np.array(columns[4], dtype=np.float64),
        other_scores or {},
    )


@given(st.lists(SERIES, min_size=3, max_size=3), st.lists(ROWS, max_size=12), st.integers(1, 5), st.integers(1, 60))
@example([("gas", {"node": "a"})] * 3, [(0, 1, -0.0, Reason.OK, 0.0), (1, 2, 0.0, Reason.OK, -0.0)], 2, 300)
@example([("a,b c", {"x=y": "\\,", "k": "a\\ b"})] * 3, [(2, 0, math.nan, Reason.NO_ANSWER, math.inf)], 1, 1)
def test_every_point_reads_back_exactly(series, rows, lines_per_body, repeat):
    rows = rows * repeat  # many equal numbers take another way through the builder
    beginnings = build_series(format_series(measurement, tags.items()) for measurement, tags in series)
    bodies = list(build_bodies(beginnings, points_of(rows), lines_per_body * repeat))
    assert [int(each) for body in bodies for each in body.point_index] == list(range(len(rows)))
    lines = [line for body in bodies for line in body.text.decode().split("\n")]
    assert len(lines) == len(rows)
    for line, (row, time_ns, value, reason, score) in zip(lines, rows, strict=True):
        measurement, tags, fields, parsed_ns = parse_line(line)
        assert (measurement, tags, parsed_ns) == (*series[row], time_ns)
        assert fields.pop("quality", 0) == reason
        key = "bad_value" if level_of(reason) is Level.BAD else "value"
        expected = {key: value} if math.isfinite(value) else {}
        if math.isfinite(value) and is_written(score):
            expected["score_ewma_z"] = score
        assert {name: bits(number) for name, number in fields.items()} == {
            name: bits(number) for name, number in expected.items()
        }


@given(st.data(), st.lists(ROWS, min_size=1, max_size=20), OTHERS, st.integers(1, 7))
def test_every_score_of_a_point_reads_back_exactly_from_its_line(data, rows, kinds, lines_per_body):
    columns = {kind: data.draw(st.lists(SCORE_NUMBERS, min_size=len(rows), max_size=len(rows))) for kind in kinds}
    points = points_of(rows, {kind: np.array(column, np.float64) for kind, column in columns.items()})
    bodies = list(build_bodies(build_series(["a,t=0 ", None, "a,t=2 "]), points, lines_per_body))
    written = [int(index) for body in bodies for index in body.point_index]
    assert written == [index for index, row in enumerate(rows) if row[0] != 1]
    for line, index in zip([line for body in bodies for line in body.text.decode().split("\n")], written, strict=True):
        row, time_ns, value, reason, score = rows[index]
        _, tags, fields, parsed_ns = parse_line(line)
        assert (tags, parsed_ns, fields.pop("quality", 0)) == ({"t": str(row)}, time_ns, reason)
        scores = {STANDARD: score, **{kind: column[index] for kind, column in columns.items()}}
        expected = {kind.value: bits(one) for kind, one in scores.items() if math.isfinite(value) and is_written(one)}
        assert {name: bits(number) for name, number in fields.items() if name.startswith("score_")} == expected
        assert len(fields) == len(expected) + math.isfinite(value)


@given(st.text())
def test_a_name_is_either_written_or_refused(text):
    for escape in (escape_measurement, escape_tag):
        if is_writable(text) and not (escape is escape_measurement and text.startswith("#")):
            assert escape(text)
        else:
            with pytest.raises(ValueError, match=r"measurement|tag"):
                escape(text)


@given(st.lists(ROWS, min_size=2, max_size=40))
def test_halves_have_all_lines_in_order(rows):
    (body,) = build_bodies(build_series(["a,t=0 ", "a,t=1 ", "a,t=2 "]), points_of(rows))
    first, second = halves(body)
    assert first.text + b"\n" + second.text == body.text
    assert [*first.point_index, *second.point_index] == list(range(len(rows)))
    assert first.text.count(b"\n") + 1 == len(first.point_index)


@given(st.lists(ROWS, max_size=30))
def test_a_point_of_no_known_channel_is_named_and_not_written(rows):
    series, points = build_series(["a,t=0 ", None, "a,t=2 "]), points_of(rows)
    missing = [index for index, row in enumerate(rows) if row[0] == 1]
    assert list(find_without_series(series, points.row)) == missing
    written = [int(index) for body in build_bodies(series, points, 7) for index in body.point_index]
    assert sorted(written + missing) == list(range(len(rows)))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_a_thousand_different_numbers_of_any_bits_read_back_exactly(seed):
    chance = np.random.default_rng(seed)
    values, scores = (chance.integers(-(2**63), 2**63 - 1, 1000).view(np.float64) for _ in range(2))
    rows = [(0, int(time_ns), *pair) for time_ns, pair in enumerate(zip(values, [0] * 1000, scores, strict=True))]
    (body,) = build_bodies(build_series(["a,t=0 "]), points_of(rows))
    for line, (_, time_ns, value, _, score) in zip(body.text.decode().split("\n"), rows, strict=True):
        _, _, fields, parsed_ns = parse_line(line)
        assert parsed_ns == time_ns
        if not math.isfinite(value):
            assert fields == {"quality": 0}
            continue
        assert bits(fields["value"]) == bits(value)
        assert ("score_ewma_z" in fields) == is_written(score)
        if is_written(score):
            assert bits(fields["score_ewma_z"]) == bits(score)
