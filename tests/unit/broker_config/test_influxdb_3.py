"""InfluxDB 3's databases: what must be done so that they are those of the schema. tests/influxdb_3_check.py runs it."""

from __future__ import annotations

from broker_config.influxdb_3 import plan_databases
from contracts.influx_schema import BUCKETS, READINGS

AS_IT_SHOULD_BE = {bucket.name: bucket.retention_s for bucket in BUCKETS}


def test_a_server_as_the_schema_says_needs_nothing():
    assert plan_databases(AS_IT_SHOULD_BE | {"_internal": 0, "of_others": 3_600}) == []


def test_an_empty_server_gets_every_database_with_its_retention():
    changes = plan_databases({})
    assert [(each.what, each.method, each.document.get("retention_period")) for each in changes] == [
        (f"database {bucket.name}: absent", "POST", f"{bucket.retention_s}s" if bucket.retention_s else None)
        for bucket in BUCKETS
    ]


def test_another_retention_is_named_and_set():
    (change,) = plan_databases(AS_IT_SHOULD_BE | {READINGS.name: 86_400})
    assert change.what == "database readings: kept for 86400 s instead of 2592000 s"
    assert (change.method, dict(change.document)) == ("PUT", {"db": "readings", "retention_period": "2592000s"})


def test_a_database_without_end_gets_one():
    (change,) = plan_databases(AS_IT_SHOULD_BE | {READINGS.name: 0})
    assert change.what == "database readings: kept for 0 s instead of 2592000 s"
