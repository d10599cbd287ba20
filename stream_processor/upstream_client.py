"""Calls to the registry and the alarm service (shell: HTTP)."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx
from pydantic import ValidationError

from contracts.alarm import ConditionBatch, ConditionEvent, ConditionReceipt
from contracts.fleet import FleetSnapshot
from stream_processor.configuration import UpstreamSettings
from stream_processor.errors import UpstreamAnswerError, UpstreamRefusedError, UpstreamUnavailableError

REQUEST_TIMEOUT_S = 5.0


class UpstreamClient:
    """One service, with its bearer token."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self._client = httpx.AsyncClient(
            base_url=settings.url,
            headers={"Authorization": f"Bearer {settings.token_file.read_text().strip()}"},
            timeout=REQUEST_TIMEOUT_S,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def fetch_fleet(self, known_revision: int | None, wait_s: float) -> FleetSnapshot | None:
        """The fleet, or None if it is still at `known_revision` after `wait_s`. Raises UpstreamError."""
        query: dict[str, float] = {"wait_s": wait_s}
        if known_revision is not None:
            query["known_revision"] = known_revision
        answer = await self._call("GET", "/v1/fleet", params=query, timeout=wait_s + REQUEST_TIMEOUT_S)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return None
        try:
            return FleetSnapshot.model_validate_json(answer.content)
        except ValidationError as error:
            raise UpstreamAnswerError(f"{answer.url}: {_name_faults(error)}") from error

    async def post_conditions(self, events: list[ConditionEvent]) -> ConditionReceipt:
        """Gives events to the alarm service; when this returns, they are durably there."""
        body = ConditionBatch(events=events).model_dump_json()
        answer = await self._call("POST", "/v1/conditions", content=body, headers={"Content-Type": "application/json"})
        return ConditionReceipt.model_validate_json(answer.content)

    async def _call(self, method: str, path: str, **options: object) -> httpx.Response:
        try:
            answer = await self._client.request(method, path, **options)  # type: ignore[arg-type]  # passed through
        except httpx.TransportError as error:
            raise UpstreamUnavailableError(f"{self._client.base_url}{path}: {error!r}") from error
        status = answer.status_code
        if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
            raise UpstreamUnavailableError(f"{answer.url}: {status} {answer.text[:200]}")
        if status >= httpx.codes.BAD_REQUEST:
            raise UpstreamRefusedError(status, f"{answer.url}: {status} {answer.text[:200]}")
        return answer


def _name_faults(error: ValidationError) -> str:
    """The first fault and how many there are: a fleet of a later version may have one a channel."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"is no {error.title} of this version: {place}: {first['msg']} ({error.error_count()} faults)"
