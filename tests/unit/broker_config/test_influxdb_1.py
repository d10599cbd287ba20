"""What `set-up-influxdb` would say to a 1.8, from what the server tells."""

from __future__ import annotations

import re

import pytest

from broker_config.influxdb_1 import POLICY, Policy, parse_duration, plan_statements, query_name, render_query
from contracts.fleet import Domain
from contracts.influx_schema import BUCKETS, READINGS, READINGS_1H, READINGS_1M, score_maximum_field
from contracts.score import SCORES

DATABASES = {
    bucket.name: {POLICY: Policy(bucket.retention_s, bucket.shard_group_s, is_default=True)} for bucket in BUCKETS
}
QUERIES = {
    query_name(bucket, domain): render_query(bucket, domain)
    for bucket in (READINGS_1M, READINGS_1H)
    for domain in Domain
}


def test_an_empty_server_gets_all_databases_before_all_queries():
    statements = [each.text for each in plan_statements({}, {})]
    assert statements[0] == "CREATE DATABASE readings WITH DURATION 30d SHARD DURATION 1d NAME citysense"
    assert statements[2] == "CREATE DATABASE readings_1h WITH DURATION INF SHARD DURATION 4w NAME citysense"
    assert [text.split()[1] for text in statements] == ["DATABASE"] * 3 + ["CONTINUOUS"] * 2 * len(Domain)


def test_a_server_as_the_schema_says_needs_nothing():
    assert plan_statements(DATABASES, QUERIES) == []


def test_a_database_that_was_made_by_a_write_gets_our_policy_as_its_default():
    found = DATABASES | {READINGS.name: {"autogen": Policy(0, 604_800, is_default=True)}}
    (statement,) = plan_statements(found, QUERIES)
    assert statement.text == (
        "CREATE RETENTION POLICY citysense ON readings DURATION 30d REPLICATION 1 SHARD DURATION 1d DEFAULT"
    )


def test_another_policy_and_another_query_are_mended_in_place():
    policy = Policy(86_400, 3_600, is_default=False)
    other = QUERIES | {"readings_1m_gas": QUERIES["readings_1m_gas"].replace("FOR 15m", "FOR 10m")}
    altered, made_anew = plan_statements(DATABASES | {READINGS.name: {POLICY: policy}}, other)
    assert altered.what == (
        "database readings: kept for 86400 s in shards of 3600 s, not the default instead of 2592000 s in 86400 s"
    )
    assert altered.text == "ALTER RETENTION POLICY citysense ON readings DURATION 30d SHARD DURATION 1d DEFAULT"
    assert made_anew.text.startswith("DROP CONTINUOUS QUERY readings_1m_gas ON readings; CREATE CONTINUOUS QUERY")


def test_the_query_of_an_earlier_release_that_has_no_scores_is_made_anew():
    former = re.sub(r", max\(score_\w+\) AS \w+", "", QUERIES["readings_1h_fire"])
    assert "score" not in former
    (made_anew,) = plan_statements(DATABASES, QUERIES | {"readings_1h_fire": former})
    assert all(f"max({score}) AS {score_maximum_field(score)}" in made_anew.text for score in SCORES)


@pytest.mark.parametrize(("text", "seconds"), [("720h0m0s", 2_592_000), ("0s", 0), ("1h30m0s", 5_400)])
def test_durations_as_the_server_tells_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "INF", "1.5h", "10ms"])
def test_what_is_no_duration_of_whole_seconds_is_refused(text):
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)
