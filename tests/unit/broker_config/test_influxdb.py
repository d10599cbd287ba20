"""What `set-up-influxdb` would call, from what a server says that it has."""

from __future__ import annotations

import re
from itertools import pairwise, product

from broker_config.influxdb import former_task_name, plan_changes, render_task, task_name
from contracts.fleet import Domain
from contracts.influx_schema import (
    AGGREGATES,
    BUCKETS,
    READINGS,
    READINGS_1H,
    READINGS_1M,
    aggregate_field,
    score_maximum_field,
)
from contracts.score import SCORES

BUCKETS_AS_TOLD = {
    bucket.name: {
        "id": f"id-{bucket.name}",
        "retentionRules": [{"type": "expire", "everySeconds": bucket.retention_s}] if bucket.retention_s else [],
    }
    for bucket in BUCKETS
}
TASKS_AS_TOLD = {
    task_name(bucket, domain): {
        "id": f"id-{bucket.name}-{domain}",
        "flux": render_task(bucket, domain),
        "status": "active",
    }
    for bucket in (READINGS_1M, READINGS_1H)
    for domain in Domain
}


def test_an_empty_server_gets_all_buckets_before_all_tasks():
    changes = plan_changes("org-1", {}, {})
    assert [(change.method, change.path) for change in changes] == [("POST", "/api/v2/buckets")] * 3 + [
        ("POST", "/api/v2/tasks")
    ] * 2 * len(Domain)
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
    name = task_name(READINGS_1H, Domain.GAS)
    for told in ({"flux": "option task = {}"}, {"status": "inactive"}):
        (change,) = plan_changes("org-1", BUCKETS_AS_TOLD, TASKS_AS_TOLD | {name: TASKS_AS_TOLD[name] | told})
        assert (change.method, change.path) == ("PATCH", "/api/v2/tasks/id-readings_1h-gas")
        assert change.document == {"flux": render_task(READINGS_1H, Domain.GAS), "status": "active"}


def test_a_task_reads_the_raw_readings_of_a_domain_and_writes_each_aggregate_and_the_maximum_of_each_score():
    for bucket, domain in product((READINGS_1M, READINGS_1H), Domain):
        flux = render_task(bucket, domain)
        assert flux.count(f'from(bucket: "{READINGS.name}")') == 1
        assert flux.count(f'r._measurement == "{domain}" and r._field == field') == 1
        streams = [block.split("\n") for block in flux.strip().split("\n\n")[3:]]
        assert [(stream[0], re.search(r"fn: (\w+)", stream[1])[1], stream[2].split('"')[3]) for stream in streams] == [
            *(('readings(field: "value")', each, aggregate_field(each)) for each in AGGREGATES),
            *((f'readings(field: "{score}")', "max", score_maximum_field(score)) for score in SCORES),
        ]
        assert all(stream[-1] == f'    |> to(bucket: "{bucket.name}")' for stream in streams)


def test_the_domains_take_turns_within_one_interval():
    for bucket in (READINGS_1M, READINGS_1H):
        offsets = [int(render_task(bucket, domain).partition("offset: ")[2].partition("s}")[0]) for domain in Domain]
        steps = {later - earlier for earlier, later in pairwise(sorted(offsets))}
        assert steps == {bucket.run_every_s // len(Domain)}
        assert max(offsets) < bucket.run_every_s


def test_the_task_for_all_domains_of_an_earlier_release_goes():
    former = {former_task_name(READINGS_1M): {"id": "t", "name": "citysense readings_1m", "status": "active"}}
    (change,) = plan_changes("org-1", BUCKETS_AS_TOLD, TASKS_AS_TOLD | former)
    assert (change.method, change.path) == ("DELETE", "/api/v2/tasks/t")
    assert change.what == "task citysense readings_1m: has become one for each domain"
