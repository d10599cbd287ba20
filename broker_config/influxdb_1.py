"""InfluxDB 1.8's databases and the continuous queries that fill the downsampled ones, as statements of InfluxQL. Pure.

What is a bucket in 2.x is here a database of the same name with one retention policy, which is its default: so the same
name is right for `/api/v2/write?bucket=` and for `/query?db=`. One continuous query for each downsampled bucket and
domain computes the windows of the last `lateness_s` anew at each run, as the tasks of 2.x do.
Source: https://docs.influxdata.com/influxdb/v1/query_language/manage-database/ and …/continuous_queries/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

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

POLICY: Final = "citysense"
_SECONDS: Final[Mapping[str, int]] = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


class Policy(NamedTuple):
    """A retention policy as the server tells it."""

    retention_s: int
    """0: for ever."""
    shard_group_s: int
    is_default: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that brings the server nearer to the schema."""

    what: str
    """For people: `database readings: absent`."""
    text: str


def plan_statements(databases: Mapping[str, Mapping[str, Policy]], queries: Mapping[str, str]) -> list[Statement]:
    """What must be said so that the server is as the schema says; databases before the queries that write to them.

    Args:
        databases: the retention policies of each database, by name.
        queries: the continuous queries of database `READINGS`, by name.
    """
    statements = [_plan_database(bucket, databases.get(bucket.name)) for bucket in BUCKETS]
    downsampled = [bucket for bucket in BUCKETS if bucket.is_downsampled]
    for bucket, domain in product(downsampled, MEASUREMENTS):
        statements.append(_plan_query(bucket, domain, queries.get(query_name(bucket, domain))))
    return [statement for statement in statements if statement is not None]


def query_name(bucket: Bucket, domain: Domain) -> str:
    """The name of the continuous query that fills a downsampled bucket with one domain's readings."""
    return f"{bucket.name}_{domain}"


def render_selection(bucket: Bucket, domain: Domain, condition: str = "") -> str:
    """The statement that such a query runs; by hand with a condition on time, such as `WHERE time > now() - 1h`."""
    fields = [f"{each}({VALUE}) AS {aggregate_field(each)}" for each in AGGREGATES]
    fields += [f"max({each.value}) AS {score_maximum_field(each)}" for each in SCORES]
    where = f" {condition}" if condition else ""
    source, target = f"{READINGS.name}.{POLICY}.{domain}", f"{bucket.name}.{POLICY}.{domain}"
    window = f"time({_short(bucket.window_s)})"
    return f"SELECT {', '.join(fields)} INTO {target} FROM {source}{where} GROUP BY {window}, *"  # noqa: S608  # constants


def render_query(bucket: Bucket, domain: Domain) -> str:
    """The statement that makes the continuous query, in the words in which the server tells it again."""
    resample = f"RESAMPLE EVERY {_short(bucket.run_every_s)} FOR {_short(bucket.lateness_s)}"
    name = query_name(bucket, domain)
    return f"CREATE CONTINUOUS QUERY {name} ON {READINGS.name} {resample} BEGIN {render_selection(bucket, domain)} END"


def parse_duration(text: str) -> int:
    """Seconds of a duration as the server tells it: `720h0m0s`, `0s`. Raises ValueError."""
    parts = re.findall(r"(\d+)([wdhms])", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise ValueError(f"not a duration of whole seconds: {text!r}")
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def _plan_database(bucket: Bucket, found: Mapping[str, Policy] | None) -> Statement | None:
    wanted = f"DURATION {_duration(bucket.retention_s)}"
    shard = f"SHARD DURATION {_short(bucket.shard_group_s)}"
    if found is None:
        text = f"CREATE DATABASE {bucket.name} WITH {wanted} {shard} NAME {POLICY}"
        return Statement(f"database {bucket.name}: absent", text)
    policy = found.get(POLICY)
    if policy is None:
        text = f"CREATE RETENTION POLICY {POLICY} ON {bucket.name} {wanted} REPLICATION 1 {shard} DEFAULT"
        return Statement(f"database {bucket.name}: has no retention policy {POLICY}", text)
    if policy == Policy(bucket.retention_s, bucket.shard_group_s, is_default=True):
        return None
    text = f"ALTER RETENTION POLICY {POLICY} ON {bucket.name} {wanted} {shard} DEFAULT"
    what = f"kept for {policy.retention_s} s in shards of {policy.shard_group_s} s" + (
        "" if policy.is_default else ", not the default"
    )
    return Statement(
        f"database {bucket.name}: {what} instead of {bucket.retention_s} s in {bucket.shard_group_s} s", text
    )


def _plan_query(bucket: Bucket, domain: Domain, found: str | None) -> Statement | None:
    name, text = query_name(bucket, domain), render_query(bucket, domain)
    if found == text:
        return None
    if found is None:
        return Statement(f"continuous query {name}: absent", text)
    again = f"DROP CONTINUOUS QUERY {name} ON {READINGS.name}; {text}"
    return Statement(f"continuous query {name}: another one", again)


def _duration(seconds: int) -> str:
    return _short(seconds) if seconds else "INF"


def _short(seconds: int) -> str:
    """As InfluxQL writes it: in the largest unit of which it is a multiple."""
    unit = next(unit for unit, length in _SECONDS.items() if seconds % length == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
