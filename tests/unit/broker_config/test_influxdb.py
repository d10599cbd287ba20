"""What `set-up-influxdb` would call, from what a server says that it has."""

from __future__ import annotations

from broker_config.influxdb import plan_changes, render_task, task_name
from contracts.influx_schema import AGGREGATES, BUCKETS, READINGS, READINGS_1H, READINGS_1M, aggregate_field

BUCKETS_AS_TOLD = {
    bucket.name: {
        "id": f"id-{bucket.name}",
        "retentionRules": [{"type": "expire", "everySeconds": bucket.retention_s}] if bucket.retention_s else [],
    }
    for bucket in BUCKETS
}
TASKS_AS_TOLD = {
    task_name(bucket): {"id": f"id-{bucket.name}", "flux": render_task(bucket), "status": "active"}
    for bucket in (READINGS_1M, READINGS_1H)
}


def test_an_empty_server_gets_all_buckets_before_all_tasks():
    changes = plan_changes("org-1", {}, {})
    assert [(change.method, change.path) for change in changes] == [("POST", "/api/v2/buckets")] * 3 + [
        ("POST", "/api/v2/tasks")
    ] * 2
    assert all(change.document["orgID"] == "org-1" for change in changes)
    assert changes[0].document["retentionRules"] == [
        {"type": "expire", "everySeconds": 30 * 86_400, "shardGroupDurationSeconds": 86_400}
    ]


def test_a_server_as_the_schema_says_needs_nothing():
    assert plan_changes("org-1", BUCKETS_AS_TOLD, TASKS_AS_TOLD) == []


def test_another_retention_is_mended_in_place():
    told = BUCKETS_AS_TOLD | {READINGS.name: {"id": "b", "retentionRules": []}}
    (change,) = plan_changes("org-1", told, TASKS_AS_TOLD)
    assert (change.method, change.path) == ("PATCH", "/api/v2/buckets/b")
    assert change.what == "bucket readings: kept for 0 s instead of 2592000 s"


def test_another_or_sleeping_task_is_mended_in_place():
    name = task_name(READINGS_1H)
    for told in ({"flux": "option task = {}"}, {"status": "inactive"}):
        (change,) = plan_changes("org-1", BUCKETS_AS_TOLD, TASKS_AS_TOLD | {name: TASKS_AS_TOLD[name] | told})
        assert (change.method, change.path) == ("PATCH", "/api/v2/tasks/id-readings_1h")
        assert change.document == {"flux": render_task(READINGS_1H), "status": "active"}


def test_a_task_reads_the_raw_readings_and_writes_each_aggregate():
    for bucket in (READINGS_1M, READINGS_1H):
        flux = render_task(bucket)
        assert flux.count(f'from(bucket: "{READINGS.name}")') == 1
        assert flux.count(f'to(bucket: "{bucket.name}")') == len(AGGREGATES)
        assert all(f'"{aggregate_field(aggregate)}"' in flux for aggregate in AGGREGATES)
