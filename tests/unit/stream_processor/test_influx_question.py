"""A trend as InfluxQL, and its answer."""

from __future__ import annotations

import pytest

from contracts.alarm import ConditionInput
from contracts.quality import REASONS, Level, SparkplugQuality
from stream_processor.fleet_index import FleetIndex
from stream_processor.influx_question import (
    FIRST_BAD,
    FIRST_STALE,
    InfluxAnswerError,
    empty_trend,
    parse_trend,
    render_trend,
)
from tests.scored_feed import fleet_of

CONTEXT = FleetIndex(fleet_of(1, 1)).contexts[2]


def test_reason_codes_are_ordered_so_that_two_bounds_tell_them_apart():
    for reason, row in REASONS.items():
        assert (reason >= FIRST_BAD) == (row.level is Level.BAD)
        assert (reason >= FIRST_STALE) == (row.sparkplug is SparkplugQuality.STALE)


def test_the_question_names_the_channel_and_lets_buckets_begin_where_asked():
    questions = render_trend(CONTEXT, 1_007, 5_007, 100)
    scope = """FROM "gas" WHERE "node" = 'node-0' AND "quantity" = 'temperature' AND time >= 1007 AND time < 5007"""
    for question in questions:
        assert question.count(scope) == 1
        assert question.endswith(" GROUP BY time(100ns, 7ns) fill(none)")
        assert ";" not in question, "InfluxDB 3 takes one statement at a time"
    assert 'AND "quality" >= 64 AND "quality" < 128 GROUP BY' in questions[1]


def test_every_score_is_asked_for_whatever_the_channel_is_scored_by_now():
    question, _ = render_trend(CONTEXT, 0, 100, 10)
    for kind in ConditionInput:
        assert question.count(f'max("{kind.value}") AS') == (kind is not ConditionInput.VALUE), kind


def test_buckets_of_good_and_bad_are_put_together():
    columns = ["time", "min", "max", "mean", "count", "score_ewma_z", "score_flat_line", "score_novelty"]
    rows = [[100, 1.0, 3.0, 2.0, 2, 0.75, None, None], [300, 7.0, 7.0, 7.0, 1, None, None, 0.8]]
    good, bad = (
        {"results": [{"series": [{"columns": names, "values": values}]}]}
        for names, values in ((columns, rows), (["time", "count"], [[100, 1], [200, 4]]))
    )
    trend = parse_trend((good, bad), 2, 100, 400, 100)
    assert trend.start_ns == [100, 200, 300]
    assert trend.minimum == [1.0, None, 7.0]
    assert trend.maximum == [3.0, None, 7.0]
    assert trend.mean == [2.0, None, 7.0]
    assert trend.score_ewma_z_maximum == [0.75, None, None]
    assert trend.scores_maximum == {ConditionInput.SCORE_NOVELTY: [None, None, 0.8]}, "flat line has none"
    assert trend.observation_count == [3, 4, 1]
    assert trend.bad_count == [1, 4, 0]


def test_a_channel_without_observations_has_no_buckets():
    assert empty_trend(2, 0, 10, 5).start_ns == []


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, {"results": []}, {"results": 7},
        {"results": [{"error": "database not found: readings"}]},
        {"results": [{"series": [{"columns": ["time"], "values": [[1, 2]]}]}]},
        {"results": [{"series": [{"columns": ["when"], "values": [[1]]}]}]},
    ],
)  # fmt: skip
def test_what_is_no_answer_is_never_an_empty_chart(document):
    for answers in ((document, {"results": [{}]}), ({"results": [{}]}, document)):
        with pytest.raises(InfluxAnswerError):
            parse_trend(answers, 2, 0, 10, 5)
