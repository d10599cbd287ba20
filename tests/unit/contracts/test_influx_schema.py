"""The InfluxDB schema holds together."""

from __future__ import annotations

from contracts.alarm import ConditionInput
from contracts.fleet import Domain
from contracts.influx_schema import (
    AGGREGATES,
    BUCKETS,
    COMPLETENESS,
    COMPLETENESS_BUCKET,
    COMPLETENESS_FIELDS,
    COMPLETENESS_TAGS,
    FIELDS,
    MEASUREMENTS,
    READINGS,
    TAGS,
    FieldType,
    aggregate_field,
    score_maximum_field,
    series_tags,
)
from contracts.score import SCORES


def test_each_domain_is_a_measurement():
    assert set(MEASUREMENTS) == set(Domain)


def test_tags_stand_in_the_order_that_influxdb_sorts_them_to():
    assert list(TAGS) == sorted(TAGS)
    assert series_tags("harbour", "gw-1", "gas-1", "methane_lel") == (
        ("district", "harbour"),
        ("gateway", "gw-1"),
        ("node", "gas-1"),
        ("quantity", "methane_lel"),
    )


def test_no_name_is_both_a_tag_and_a_field():
    assert not set(TAGS) & set(FIELDS)
    downsampled = [*map(aggregate_field, AGGREGATES), *map(score_maximum_field, SCORES)]
    assert not set(downsampled) & {*FIELDS, *TAGS}
    assert len(set(downsampled)) == len(AGGREGATES) + len(SCORES)


def test_every_score_is_a_field_of_its_own_name():
    assert [field for field in FIELDS if field.startswith("score_")] == [score.value for score in SCORES]
    assert {*SCORES, ConditionInput.VALUE} == set(ConditionInput)
    assert all(FIELDS[score].field_type is FieldType.FLOAT for score in SCORES)


def test_what_is_downsampled_is_kept_longer_than_what_it_is_made_from():
    kept_s = [bucket.retention_s or float("inf") for bucket in BUCKETS]
    assert kept_s == sorted(kept_s)
    for bucket in BUCKETS:
        assert bucket.is_downsampled == (bucket is not READINGS)
        assert bucket.retention_s == 0 or bucket.shard_group_s <= bucket.retention_s


def test_late_readings_are_aggregated_anew_while_their_raw_points_exist():
    for bucket in BUCKETS[1:]:
        assert bucket.run_every_s <= bucket.lateness_s <= READINGS.retention_s
        assert bucket.lateness_s % bucket.window_s == 0


def test_completeness_is_no_domain_and_is_kept_for_ever():
    assert COMPLETENESS not in MEASUREMENTS
    assert COMPLETENESS_BUCKET.retention_s == 0
    assert list(COMPLETENESS_TAGS) == sorted(COMPLETENESS_TAGS)
    assert not set(COMPLETENESS_TAGS) & set(COMPLETENESS_FIELDS)
