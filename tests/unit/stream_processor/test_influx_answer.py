"""Answers of `/api/v2/write`, as InfluxDB 2.7.12 gave them, and what they mean."""

from __future__ import annotations

import json

import pytest

from stream_processor.influx_answer import Refused, Stored, Wait, judge

TYPE_CONFLICT = json.dumps(
    {
        "code": "unprocessable entity",
        "message": "failure writing points to database: partial write: field type conflict: input field "
        '"value" on measurement "gas" is type integer, already exists as type float dropped=2',
    }
)


def test_stored():
    assert judge(204, "", 3) == Stored()


@pytest.mark.parametrize("status", [0, 301, 401, 403, 404, 408, 429, 500, 502, 503, 504])
def test_waiting_may_help(status):
    assert isinstance(judge(status, "later", 3), Wait)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_a_part_leaves_the_rest_to_be_found(status):
    assert judge(status, TYPE_CONFLICT, 3) == Refused(
        f"{status} {json.loads(TYPE_CONFLICT)['message']}", is_every_line=False
    )


@pytest.mark.parametrize(("line_count", "is_every_line"), [(1, True), (2, True), (3, False)])
def test_as_many_dropped_as_there_are_lines_is_every_line(line_count, is_every_line):
    assert judge(422, TYPE_CONFLICT, line_count).is_every_line is is_every_line


def test_a_single_refused_line_is_found_whatever_the_words():
    assert judge(400, "<html>", 1) == Refused("400 <html>", is_every_line=True)


@pytest.mark.parametrize("answer", ["", "[]", "null", '{"code": 1}', "\x00", '{"message": 7}'])
def test_any_words_are_survived(answer):
    assert judge(400, answer, 2) == Refused(f"400 {7 if '7' in answer else answer}", is_every_line=False)


def test_the_sentence_of_1_8_is_found():
    assert judge(503, '{"error": "timeout"}', 1) == Wait("503 timeout")
