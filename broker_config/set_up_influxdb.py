"""Brings an InfluxDB 2.x server to the schema of `contracts` over its HTTP API (a shell; it decides nothing)."""

from __future__ import annotations

from typing import Any, Final

import httpx

from broker_config.influxdb import Change, plan_changes

REQUEST_TIMEOUT_S: Final = 20.0
PAGE: Final = 100


class InfluxdbError(Exception):
    """The server cannot be reached or refuses; its message says which call and what it answered."""


class InfluxdbAdministrator:
    """One organisation of one server."""

    def __init__(self, url: str, org: str, token: str) -> None:
        self._org = org
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Token {token}"}, timeout=REQUEST_TIMEOUT_S
        )

    def find_changes(self) -> list[Change]:
        """What differs from the schema."""
        orgs = self._call("GET", "/api/v2/orgs", params={"org": self._org})["orgs"]
        if not orgs:
            raise InfluxdbError(f"{self._client.base_url}: there is no organisation {self._org!r} for this token")
        query = {"org": self._org, "limit": PAGE}
        buckets = self._call("GET", "/api/v2/buckets", params=query)["buckets"]
        tasks = self._call("GET", "/api/v2/tasks", params=query)["tasks"]
        return plan_changes(
            orgs[0]["id"], {bucket["name"]: bucket for bucket in buckets}, {task["name"]: task for task in tasks}
        )

    def apply(self, change: Change) -> None:
        """Makes one change."""
        self._call(change.method, change.path, json=change.document)

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def _call(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401  # passed through; JSON
        answer = call(self._client, method, path, **options)
        return answer.json() if answer.content else None  # what is deleted says nothing


def call(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401  # passed through
    """One request. Raises InfluxdbError if there is no answer, or it is an error."""
    try:
        answer = client.request(method, path, **options)
    except httpx.TransportError as error:
        raise InfluxdbError(f"{method} {client.base_url}{path}: {error}") from error
    if answer.is_error:
        raise InfluxdbError(f"{method} {answer.url}: {answer.status_code} {answer.text[:300]}")
    return answer
