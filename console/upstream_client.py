"""Shell: asks the REST APIs of registry, alarm service and stream processor (httpx), one method per route.

A connection that fails, a time-out or a 5xx is an UpstreamDownError (transient); a 4xx or an answer outside of the
contract is an UpstreamRefusalError. Decides nothing and retries nothing.
"""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from console.errors import UpstreamDownError, UpstreamRefusalError
from contracts.alarm import Acknowledgement, Alarm, AlarmPage
from contracts.fleet import FleetSnapshot
from contracts.query import LatestPage, PipelineHealth, QuarantinePage, Trend

ANSWER_TIMEOUT_S: Final = 2.0
"""How long a service may take, beyond the time that a long poll asked it to wait."""

FLEET_TIMEOUT_S: Final = 30.0
"""A fleet of 300,000 channels takes its time to be written and read."""

_AnswerT = TypeVar("_AnswerT", bound=BaseModel)
_Parameters = dict[str, int | float]


class UpstreamClient:
    """One service."""

    def __init__(self, service: str, url: str, token: str) -> None:
        self.service = service
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def poll_alarms(self, changed_after: int, wait_s: float) -> AlarmPage:
        """`GET /v1/alarms`: alarms changed after a revision; all that are not normal for 0."""
        parameters: _Parameters = {"changed_after": changed_after, "wait_s": wait_s}
        return self._parse(AlarmPage, await self._get("/v1/alarms", parameters, wait_s))

    async def acknowledge(self, alarm_id: int, acknowledgement: Acknowledgement) -> Alarm:
        """`POST /v1/alarms/{alarm_id}/acknowledge`."""
        path = f"/v1/alarms/{alarm_id}/acknowledge"
        headers = {"Content-Type": "application/json"}
        body = acknowledgement.model_dump_json()
        return self._parse(Alarm, await self._send("POST", path, content=body, headers=headers))

    async def poll_fleet(self, known_revision: int | None, wait_s: float) -> FleetSnapshot | None:
        """`GET /v1/fleet`: the fleet, or None while it is still at the known revision."""
        parameters: _Parameters = {"wait_s": wait_s}
        if known_revision is not None:
            parameters["known_revision"] = known_revision
        answer = await self._get("/v1/fleet", parameters, wait_s, FLEET_TIMEOUT_S)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return None
        return await asyncio.to_thread(self._parse, FleetSnapshot, answer)

    async def poll_latest(self, changed_after: int, wait_s: float) -> LatestPage:
        """`GET /v1/latest`: last observations of the channels that changed after a revision."""
        parameters: _Parameters = {"changed_after": changed_after, "wait_s": wait_s}
        return self._parse(LatestPage, await self._get("/v1/latest", parameters, wait_s))

    async def read_health(self) -> PipelineHealth:
        """`GET /v1/health`."""
        return self._parse(PipelineHealth, await self._get("/v1/health", {}))

    async def read_quarantine(self) -> QuarantinePage:
        """`GET /v1/quarantine`."""
        return self._parse(QuarantinePage, await self._get("/v1/quarantine", {}))

    async def read_trend(self, channel_id: int, from_ns: int, to_ns: int, buckets: int) -> Trend:
        """`GET /v1/channels/{channel_id}/trend`."""
        parameters: _Parameters = {"from_ns": from_ns, "to_ns": to_ns, "buckets": buckets}
        path = f"/v1/channels/{channel_id}/trend"
        return self._parse(Trend, await self._get(path, parameters, answer_timeout_s=10.0))

    async def _get(
        self,
        path: str,
        parameters: _Parameters,
        wait_s: float = 0.0,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> httpx.Response:
        return await self._send("GET", path, params=parameters, read_timeout_s=wait_s + answer_timeout_s)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: _Parameters | None = None,
        content: str | None = None,
        headers: dict[str, str] | None = None,
        read_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> httpx.Response:
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, read=read_timeout_s)
        try:
            answer = await self._http.request(
                method, path, params=params, content=content, headers=headers, timeout=timeout
            )
        except httpx.HTTPError as error:
            raise UpstreamDownError(self.service, _name_fault(error)) from error
        if answer.is_server_error:
            raise UpstreamDownError(self.service, f"HTTP {answer.status_code}")
        if answer.is_client_error or (answer.is_redirect and answer.status_code != httpx.codes.NOT_MODIFIED):
            raise UpstreamRefusalError(self.service, f"HTTP {answer.status_code}", answer.status_code)
        return answer

    def _parse(self, model: type[_AnswerT], answer: httpx.Response) -> _AnswerT:
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            fault = f"answer is not a {model.__name__}: {place}: {first['msg']}"
            raise UpstreamRefusalError(self.service, fault) from error


def _name_fault(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "time-out"
    if isinstance(error, httpx.ConnectError):
        return "connection refused"
    return type(error).__name__
