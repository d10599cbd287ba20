"""Brings an InfluxDB 1.8 server to the schema of `contracts` over `/query` (a shell; it decides nothing)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx

from broker_config.influxdb_1 import Policy, Statement, parse_duration, plan_statements
from broker_config.set_up_influxdb import InfluxdbError
from contracts.influx_schema import BUCKETS, READINGS

REQUEST_TIMEOUT_S: Final = 20.0
VERSION_HEADER: Final = "X-Influxdb-Version"


def ask_version(url: str, token: str) -> str:
    """What the server says that it is: `1.8.10`, `v2.7.12`, `3.6.0`. Raises InfluxdbError if it cannot be reached.

    InfluxDB 3 tells it only to those who have a token; where it is wrong, the next call says so.
    """
    headers = {"Authorization": f"Token {token}"}
    try:
        answer = httpx.get(f"{url}/ping", headers=headers, timeout=REQUEST_TIMEOUT_S)
        return str(answer.headers.get(VERSION_HEADER, ""))
    except httpx.HTTPError as error:
        raise InfluxdbError(f"GET {url}/ping: {error}") from error


class Influxdb1Administrator:
    """One server; `token` is `user:password`, as for `/api/v2/write` of 1.8."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Token {token}"}, timeout=REQUEST_TIMEOUT_S
        )

    def find_changes(self) -> list[Statement]:
        """What differs from the schema."""
        names = {name for (name,) in self._rows("SHOW DATABASES")}
        ours = [bucket.name for bucket in BUCKETS if bucket.name in names]
        databases = {name: self._policies(name) for name in ours}
        queries = self._series("SHOW CONTINUOUS QUERIES").get(READINGS.name, [])
        return plan_statements(databases, {name: text for name, text in queries})  # noqa: C416  # rows are lists

    def apply(self, change: Statement) -> None:
        """Makes one change."""
        self._series(change.text)

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def _policies(self, database: str) -> Mapping[str, Policy]:
        rows = self._rows(f'SHOW RETENTION POLICIES ON "{database}"')
        return {
            name: Policy(parse_duration(duration), parse_duration(shard), is_default)
            for name, duration, shard, _, is_default in rows
        }

    def _rows(self, statement: str) -> list[list[Any]]:
        return [row for rows in self._series(statement).values() for row in rows]

    def _series(self, statement: str) -> dict[str, list[list[Any]]]:
        """The rows that the server answers, by the name of their series. Raises InfluxdbError."""
        try:
            answer = self._client.post("/query", data={"q": statement})
        except httpx.TransportError as error:
            raise InfluxdbError(f"POST {self._client.base_url}/query: {error}") from error
        if answer.is_error:
            raise InfluxdbError(f"POST {answer.url}: {answer.status_code} {answer.text.strip()[:300]}")
        series: dict[str, list[list[Any]]] = {}
        for result in answer.json()["results"]:
            if "error" in result:
                raise InfluxdbError(f"POST {answer.url}: {statement}: {result['error']}")
            for each in result.get("series", []):
                series[each.get("name", "")] = each.get("values", [])
        return series
