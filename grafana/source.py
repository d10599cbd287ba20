"""The data sources as a provisioning file: one for each bucket, in InfluxQL. Pure.

A database of the name of a bucket is that bucket in 2.x (its virtual mapping) and the database of 1.8 and 3. All three
take `Authorization: Token …`; 1.8 with `user:password` in place of a token. Grafana puts in `$CITYSENSE_INFLUXDB` from
its environment and the token from the file (`pkg/setting/expanders.go`), which should be a token that can only read.
Source: https://grafana.com/docs/grafana/latest/datasources/influxdb/configure-influxdb-data-source/ (provisioning).
"""

from __future__ import annotations

from typing import Final

from contracts.influx_schema import BUCKETS, READINGS, Bucket

TAG: Final = "citysense"
URL_VARIABLE: Final = "CITYSENSE_INFLUXDB"
TOKEN_FILE: Final = "/run/secrets/influxdb_token"  # noqa: S105  # where it stands, not what it is
_FINEST_S: Final = 1
"""Raw readings are drawn by the second at best."""


def source_uid(bucket: Bucket) -> str:
    """The id by which panels name a bucket's data source."""
    return f"{TAG}-{bucket.name.replace('_', '-')}"


def render_sources() -> str:
    """`provisioning/datasources/influxdb.yaml`."""
    head = "# Built by grafana/build_dashboards.py; change source.py, not this file.\napiVersion: 1\ndatasources:\n"
    return head + "".join(_source(bucket) for bucket in BUCKETS)


def _source(bucket: Bucket) -> str:
    lines = [
        f"- name: {TAG} {bucket.name}",
        f"  uid: {source_uid(bucket)}",
        "  type: influxdb",
        "  access: proxy",
        f"  url: ${URL_VARIABLE}",
        f"  isDefault: {'true' if bucket is READINGS else 'false'}",
        "  editable: false",
        "  jsonData:",
        "    version: InfluxQL",
        f"    dbName: {bucket.name}",
        "    httpMode: POST",
        f"    timeInterval: {bucket.window_s or _FINEST_S}s",
        "    httpHeaderName1: Authorization",
        "  secureJsonData:",
        f"    httpHeaderValue1: Token $__file{{{TOKEN_FILE}}}",
    ]
    return "".join(f"{line}\n" for line in lines)
