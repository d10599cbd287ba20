"""Brings an InfluxDB 3 server to the schema of `contracts` over its HTTP API (a shell; it decides nothing)."""

from __future__ import annotations

from typing import Final

import httpx

from broker_config.influxdb_3 import DatabaseChange, plan_databases
from broker_config.set_up_influxdb import call

REQUEST_TIMEOUT_S: Final = 20.0
_CONFIGURE: Final = "/api/v3/configure/database"
_DATABASES: Final = "SELECT database_name, retention_period_ns FROM system.databases WHERE NOT deleted"
_NS_PER_S: Final = 1_000_000_000


class Influxdb3Administrator:
    """One server; `token` is an admin token."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=REQUEST_TIMEOUT_S
        )

    def find_changes(self) -> list[DatabaseChange]:
        """What differs from the schema."""
        query = {"db": "_internal", "q": _DATABASES, "format": "json"}
        rows = call(self._client, "GET", "/api/v3/query_sql", params=query).json()
        return plan_databases(
            {row["database_name"]: (row.get("retention_period_ns") or 0) // _NS_PER_S for row in rows}
        )

    def apply(self, change: DatabaseChange) -> None:
        """Makes one change."""
        call(self._client, change.method, _CONFIGURE, json=dict(change.document))

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()
