"""InfluxDB's buckets and the tasks that fill the downsampled ones, as documents of its HTTP API (2.x). Pure.

A task computes all windows of the last `lateness_s` anew at each run and writes them over the old ones, so that
readings that come late are counted. A window is labelled with its beginning and is written only when it has ended. What
comes later still is in `READINGS` and in Parquet, not in these buckets. Of scores it is the maximum: an average would
hide what they are for.

There is one task for each bucket and domain, and they take turns: a run holds some 10 KiB of the server's memory for
each series, so that one task for 300,000 series needs 6 GB and more than a minute (`make bench ARGS=index`).
Source: https://docs.influxdata.com/influxdb/v2/api/ (PostBucketRequest, TaskCreateRequest).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from contracts.fleet import Domain
from contracts.influx_schema import (
    AGGREGATES,
    BUCKETS,
    MEASUREMENTS,
    READINGS,
    VALUE,
    Bucket,
    aggregate_field,
    score_maximum_field,
)
from contracts.score import SCORES

TASK_OFFSET_S: Final = 10
"""A window is computed this long after its end at the earliest: by then its readings are written."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One call of the API that brings the server nearer to the schema."""

    what: str
    """For people: `bucket readings: absent`."""
    method: str
    path: str
    document: Document


def plan_changes(org_id: str, buckets: Mapping[str, Document], tasks: Mapping[str, Document]) -> list[Change]:
    """What must be called so that the server is as the schema says; buckets before the tasks that write to them.

    Args:
        org_id: the organisation's id.
        buckets: what `GET /api/v2/buckets` has, by name.
        tasks: what `GET /api/v2/tasks` has, by name.
    """
    changes = [_plan_bucket(bucket, buckets.get(bucket.name), org_id) for bucket in BUCKETS]
    downsampled = [bucket for bucket in BUCKETS if bucket.is_downsampled]
    changes += [_plan_removal(tasks.get(former_task_name(bucket))) for bucket in downsampled]
    for bucket, domain in product(downsampled, MEASUREMENTS):
        changes.append(_plan_task(bucket, domain, tasks.get(task_name(bucket, domain)), org_id))
    return [change for change in changes if change is not None]


def task_name(bucket: Bucket, domain: Domain) -> str:
    """The name of the task that fills a downsampled bucket with one domain's readings."""
    return f"citysense {bucket.name} {domain}"


def former_task_name(bucket: Bucket) -> str:
    """What one task for all domains was called."""
    return f"citysense {bucket.name}"


def render_task(bucket: Bucket, domain: Domain) -> str:
    """The Flux script of the task that fills a downsampled bucket with one domain's readings."""
    window = f"{bucket.window_s}s"
    offset_s = TASK_OFFSET_S + MEASUREMENTS.index(domain) * bucket.run_every_s // len(MEASUREMENTS)
    lines = [
        'import "date"',
        "",
        f'option task = {{name: "{task_name(bucket, domain)}", every: {bucket.run_every_s}s, offset: {offset_s}s}}',
        "",
        f"stop = date.truncate(t: now(), unit: {window})",
        f"start = date.sub(d: {bucket.lateness_s}s, from: stop)",
        "readings = (field) =>",
        f'    from(bucket: "{READINGS.name}")',
        "        |> range(start: start, stop: stop)",
        f'        |> filter(fn: (r) => r._measurement == "{domain}" and r._field == field)',
    ]
    fields = [(VALUE, aggregate, aggregate_field(aggregate)) for aggregate in AGGREGATES]
    fields += [(score.value, "max", score_maximum_field(score)) for score in SCORES]
    for source, aggregate, target in fields:
        lines += [
            "",
            f'readings(field: "{source}")',
            f'    |> aggregateWindow(every: {window}, fn: {aggregate}, createEmpty: false, timeSrc: "_start")',
            f'    |> set(key: "_field", value: "{target}")',
            f'    |> to(bucket: "{bucket.name}")',
        ]
    return "\n".join(lines) + "\n"


def _plan_bucket(bucket: Bucket, found: Document | None, org_id: str) -> Change | None:
    rules = _retention_rules(bucket)
    if found is None:
        document = {"orgID": org_id, "name": bucket.name, "retentionRules": rules}
        return Change(f"bucket {bucket.name}: absent", "POST", "/api/v2/buckets", document)
    if _retention_s(found) == bucket.retention_s:
        return None
    what = f"bucket {bucket.name}: kept for {_retention_s(found)} s instead of {bucket.retention_s} s"
    return Change(what, "PATCH", f"/api/v2/buckets/{found['id']}", {"retentionRules": rules})


def _plan_removal(found: Document | None) -> Change | None:
    if found is None:
        return None
    return Change(f"task {found['name']}: has become one for each domain", "DELETE", f"/api/v2/tasks/{found['id']}", {})


def _plan_task(bucket: Bucket, domain: Domain, found: Document | None, org_id: str) -> Change | None:
    name, flux = task_name(bucket, domain), render_task(bucket, domain)
    if found is None:
        return Change(f"task {name}: absent", "POST", "/api/v2/tasks", {"orgID": org_id, "flux": flux})
    if found["flux"].strip() == flux.strip() and found["status"] == "active":
        return None
    wanted = {"flux": flux, "status": "active"}
    return Change(f"task {name}: another script, or not active", "PATCH", f"/api/v2/tasks/{found['id']}", wanted)


def _retention_rules(bucket: Bucket) -> list[Document]:
    return [{"type": "expire", "everySeconds": bucket.retention_s, "shardGroupDurationSeconds": bucket.shard_group_s}]


def _retention_s(found: Document) -> int:
    rules = found["retentionRules"]
    return int(rules[0]["everySeconds"]) if rules else 0
