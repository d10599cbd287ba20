"""The read API (shell: HTTP). Every route needs a bearer token with the permission `read`; `/healthz` alone is open."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response

from contracts.access import Permission, Principal
from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.query import CompletenessRow, LatestPage, PipelineHealth, QuarantinePage, Trend, WaveformPage
from contracts.service import BearerGuard
from contracts.waveform_message import Waveform
from stream_processor.change_signal import ChangeSignal
from stream_processor.errors import StoreBusyError
from stream_processor.latest_table import LatestTable
from stream_processor.waveform_page import build_waveform_page, encode_waveform_stream

LONG_POLL_MAX_S = 30.0
TREND_DEFAULT_NS = 600 * NANOSECONDS_PER_SECOND
INT64_MAX = 2**63 - 1
WAVEFORM_DEFAULT_NS = 10 * NANOSECONDS_PER_SECOND
WAVEFORM_BLOCKS_MAX = 600
"""Of one answer: ten minutes of blocks of a second."""
ARROW_STREAM = "application/vnd.apache.arrow.stream"

WaitS = Annotated[float, Query(ge=0.0, le=LONG_POLL_MAX_S)]
TimeNsQuery = Annotated[int | None, Query(ge=0, le=INT64_MAX)]


def _always_ready() -> None:
    return None


@dataclass(frozen=True, slots=True)
class ReadModel:
    """What the API shows, of either engine. A question that cannot be answered now raises StoreBusyError."""

    latest: LatestTable
    latest_changed: ChangeSignal
    trend: Callable[[int, int, int, int], Awaitable[Trend]]
    """(channel_id, from_ns, to_ns, bucket_ns)."""
    completeness: Callable[[], list[CompletenessRow]]
    quarantine: Callable[[], Awaitable[QuarantinePage]]
    health: Callable[[], Awaitable[PipelineHealth]]
    is_stopping: Callable[[], bool]
    waveforms: Callable[[int, int, int, int], Awaitable[list[Waveform]]] | None = None
    """(channel_id, from_ns, to_ns, most blocks). None: this processor keeps none where it could look them up."""
    not_ready_because: Callable[[], str | None] = _always_ready
    """Why what is kept in memory is not complete yet: then nothing of it is shown."""


def build_api(model: ReadModel, principals: tuple[Principal, ...]) -> FastAPI:
    """Builds the application."""
    api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    api.add_middleware(BearerGuard, principals=principals)
    reader = [Depends(_check_reader)]
    complete = [*reader, Depends(partial(_check_ready, model))]

    @api.exception_handler(StoreBusyError)
    async def busy(_request: Request, error: StoreBusyError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503)

    @api.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/v1/latest", dependencies=complete)
    async def latest(changed_after: Annotated[int, Query(ge=0)] = 0, wait_s: WaitS = 0.0) -> LatestPage:
        # A client of an earlier process knows a revision that is not ours: it gets everything.
        known = changed_after if changed_after <= model.latest.revision else 0
        await model.latest_changed.wait_until(lambda: model.latest.revision > known or model.is_stopping(), wait_s)
        return model.latest.page(known)

    @api.get("/v1/channels/{channel_id}/trend", dependencies=reader)
    async def trend(
        channel_id: int,
        from_ns: TimeNsQuery = None,
        to_ns: TimeNsQuery = None,
        buckets: Annotated[int, Query(ge=1, le=5_000)] = 600,
    ) -> Trend:
        until_ns = time.time_ns() if to_ns is None else to_ns
        since_ns = until_ns - TREND_DEFAULT_NS if from_ns is None else from_ns
        if since_ns >= until_ns:
            raise HTTPException(422, f"from_ns {since_ns} is not before to_ns {until_ns}")
        bucket_ns = max(1, -(-(until_ns - since_ns) // buckets))
        return await model.trend(channel_id, since_ns, until_ns, bucket_ns)

    @api.get("/v1/completeness", dependencies=complete)
    async def completeness() -> list[CompletenessRow]:
        return model.completeness()

    @api.get("/v1/quarantine", dependencies=complete)
    async def quarantine() -> QuarantinePage:
        return await model.quarantine()

    @api.get("/v1/health", dependencies=complete)
    async def health() -> PipelineHealth:
        return await model.health()

    _add_waveform_route(api, model, reader)
    return api


def _add_waveform_route(api: FastAPI, model: ReadModel, reader: list[Any]) -> None:
    @api.get("/v1/channels/{channel_id}/waveform", dependencies=reader, response_model=WaveformPage)
    async def waveform(
        channel_id: int,
        request: Request,
        from_ns: TimeNsQuery = None,
        to_ns: TimeNsQuery = None,
    ) -> Response | WaveformPage:
        if model.waveforms is None:
            raise HTTPException(501, "waveforms are in the archive's dataset waveforms/, not in this read API")
        until_ns = time.time_ns() if to_ns is None else to_ns
        since_ns = until_ns - WAVEFORM_DEFAULT_NS if from_ns is None else from_ns
        if since_ns >= until_ns:
            raise HTTPException(422, f"from_ns {since_ns} is not before to_ns {until_ns}")
        found = await model.waveforms(channel_id, since_ns, until_ns, WAVEFORM_BLOCKS_MAX + 1)
        if ARROW_STREAM in request.headers.get("accept", ""):
            return Response(encode_waveform_stream(found[:WAVEFORM_BLOCKS_MAX]), media_type=ARROW_STREAM)
        return build_waveform_page(channel_id, since_ns, until_ns, found, WAVEFORM_BLOCKS_MAX)


def _check_ready(model: ReadModel) -> None:
    reason = model.not_ready_because()
    if reason is not None:
        raise HTTPException(503, reason)


def _check_reader(request: Request) -> None:
    principal: Principal = request.state.principal
    if not principal.may(Permission.READ):
        raise HTTPException(403, f"role {principal.role.value} lacks permission {Permission.READ.value}")
