"""Answers of `/api/v2/write`, as InfluxDB 2.7.12 gave them and as 1.8 and 3 are documented, and what they mean."""

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


PARTIAL_1_8 = json.dumps(
    {
        "error": 'partial write: field type conflict: input field "value" on measurement "gas" is type integer, '
        "already exists as type float dropped=1"
    }
)
UNPARSABLE_1_8 = json.dumps({"error": "unable to parse 'gas value=1x': invalid number dropped=0"})
PARTIAL_3 = json.dumps(
    {
        "error": "partial write of line protocol occurred",
        "data": [
            {
                "original_line": "gas,node=a value=1i 1735549200",
                "line_number": 2,
                "error_message": "invalid column type for column 'value', expected iox::column_type::field::float, "
                "got iox::column_type::field::integer",
            }
        ],
    }
)


@pytest.mark.parametrize("answer", [PARTIAL_1_8, UNPARSABLE_1_8, PARTIAL_3])
def test_a_partial_write_of_1_8_and_3_leaves_the_rest_to_be_found(answer):
    verdict = judge(400, answer, 5_000)
    assert isinstance(verdict, Refused)
    assert not verdict.is_every_line
    assert judge(400, answer, 1).is_every_line


def test_3_says_what_is_wrong_with_a_line():
    assert judge(400, PARTIAL_3, 2).reason.startswith(
        "400 partial write of line protocol occurred: invalid column type for column 'value'"
    )


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, 'database not found: "readings"'),  # 1.8
        (500, "retention policy not found: autogen"),  # 1.8
        (400, 'bucket name "/x" is in db/rp form but has an empty database'),  # 1.8
        (400, "invalid character in database name: must be ASCII, containing only letters, numbers, underscores, or "),
        (400, "db name did not start with a number or letter"),  # 3
        (400, "namespace name 'read ings' contains invalid character, character number 4 is not whitelisted"),  # 3
        (400, "missing bucket value"),  # 3
        (401, "authorization failed"),  # 1.8
    ],
)
def test_a_wrong_bucket_or_token_throws_no_reading_away(status, error):
    assert judge(status, json.dumps({"error": error, "data": None}), 1) == Wait(f"{status} {error}")


@pytest.mark.parametrize("data", [7, "x", [1], [{}], [{"error_message": None}], {"error_message": "x"}])
def test_a_list_of_another_shape_is_survived(data):
    assert judge(400, json.dumps({"error": "e", "data": data}), 2) == Refused("400 e", is_every_line=False)
