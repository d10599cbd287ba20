"""InfluxDB 3's databases: what must be done so that they are as the schema says. Pure.

What is a bucket in 2.x is here a database of the same name with one time of retention, without shards. InfluxDB 3 Core
has neither tasks nor continuous queries: `stream-processor rebuild` fills the downsampled ones, from Parquet.
Source: https://docs.influxdata.com/influxdb3/core/api/v3/ (`/api/v3/configure/database`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from contracts.influx_schema import BUCKETS, Bucket

_FOR_EVER: Final = 0


@dataclass(frozen=True, slots=True)
class DatabaseChange:
    """A request to `/api/v3/configure/database` that brings the server nearer to the schema."""

    what: str
    """For people: `database readings: absent`."""
    method: str
    document: Mapping[str, str]


def plan_databases(retention_s: Mapping[str, int]) -> list[DatabaseChange]:
    """What differs.

    Args:
        retention_s: of each database that there is, by name; 0: for ever.
    """
    changes = [_plan(bucket, retention_s.get(bucket.name)) for bucket in BUCKETS]
    return [change for change in changes if change is not None]


def _plan(bucket: Bucket, found_s: int | None) -> DatabaseChange | None:
    document = {"db": bucket.name}
    if bucket.retention_s != _FOR_EVER:
        document["retention_period"] = f"{bucket.retention_s}s"
    if found_s is None:
        return DatabaseChange(f"database {bucket.name}: absent", "POST", document)
    if found_s != bucket.retention_s:
        what = f"database {bucket.name}: kept for {found_s} s instead of {bucket.retention_s} s"
        return DatabaseChange(what, "PUT", document)
    return None
