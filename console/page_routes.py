"""Shell: the page, its panels, the trend and the acknowledgement."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from console.desk import Desk, session_of
from console.errors import UpstreamDownError, UpstreamError, UpstreamRefusalError
from console.fleet_query import parse_query
from console.presentation import Reader
from console.rendering import PageFrame
from console.score_view import list_drawn
from console.sign_in_routes import switch_language
from console.trend_chart import BUCKET_COUNT, SPANS_S, build_chart
from console.view_model import AlarmChanged
from contracts.alarm import Acknowledgement, Alarm
from contracts.observation import NANOSECONDS_PER_SECOND

_log = logging.getLogger(__name__)


def build_page_routes(desk: Desk) -> APIRouter:
    """The page, gateways, quarantine, acknowledgement, liveness."""
    router = APIRouter()
    renderer = desk.renderer

    @router.get("/healthz")
    async def tell_liveness() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/")
    async def show_page(request: Request) -> Response:
        redirect = switch_language(request)
        if redirect is not None:
            return redirect
        session = session_of(request)
        frame = PageFrame(desk.city.name, desk.city.time_zone, session.user_name, session.csrf_token)
        query = parse_query(request.query_params)
        return HTMLResponse(renderer.console(frame, desk.hub.state, query, desk.reader(request)))

    @router.get("/fragments/quarantine")
    async def show_quarantine(request: Request) -> HTMLResponse:
        reader = desk.reader(request)
        try:
            page = await desk.stream_processor.read_quarantine()
        except UpstreamError as error:
            text = reader.wording("quarantine.failed", fault=_word_fault(error, reader))
            return HTMLResponse(renderer.notice(text, reader, is_fault=True), status_code=502)
        return HTMLResponse(renderer.quarantine(page, reader))

    @router.get("/fragments/gateways")
    async def show_gateways(request: Request) -> HTMLResponse:
        return HTMLResponse(renderer.gateways(desk.hub.state, desk.reader(request)))

    @router.post("/alarms/{alarm_id}/acknowledge")
    async def acknowledge(request: Request, alarm_id: int) -> HTMLResponse:
        reader = desk.reader(request)
        user_name = session_of(request).user_name
        try:
            alarm = await desk.alarm_service.acknowledge(alarm_id, Acknowledgement(by=user_name))
        except UpstreamError as error:
            _log.warning("event=not_acknowledged alarm=%d user=%r fault=%r", alarm_id, user_name, str(error))
            text, status = _explain_refusal(error, reader)
            return HTMLResponse(renderer.notice(text, reader, is_fault=True), status_code=status)
        _log.info("event=acknowledged alarm=%d user=%r", alarm_id, user_name)
        return HTMLResponse(_take_acknowledged(desk, alarm, reader))

    return router


def build_channel_routes(desk: Desk) -> APIRouter:
    """The panel of one channel and its trend."""
    router = APIRouter()
    renderer = desk.renderer

    @router.get("/fragments/channel/{channel_id}")
    async def show_channel(request: Request, channel_id: int, span: str = "10m") -> HTMLResponse:
        if channel_id not in desk.hub.state.places or span not in SPANS_S:
            return HTMLResponse("", status_code=404)
        return HTMLResponse(renderer.channel(desk.hub.state, channel_id, span, desk.reader(request)))

    @router.get("/fragments/channel/{channel_id}/scores")
    async def show_scores(request: Request, channel_id: int) -> HTMLResponse:
        if channel_id not in desk.hub.state.places:
            return HTMLResponse("", status_code=404)
        return HTMLResponse(renderer.scores(desk.hub.state, channel_id, desk.reader(request)))

    @router.get("/channels/{channel_id}/trend")
    async def tell_trend(request: Request, channel_id: int, span: str = "10m") -> Response:
        place = desk.hub.state.places.get(channel_id)
        if place is None or span not in SPANS_S:
            return JSONResponse({"fault": "404"}, status_code=404)
        reader = desk.reader(request)
        from_ns = reader.now_ns - SPANS_S[span] * NANOSECONDS_PER_SECOND
        try:
            trend = await desk.stream_processor.read_trend(channel_id, from_ns, reader.now_ns, BUCKET_COUNT)
        except UpstreamError as error:
            fault = reader.wording("trend.failed", fault=_word_fault(error, reader))
            return JSONResponse({"fault": fault}, status_code=502)
        chart = build_chart(trend, place.conditions, list_drawn(desk.hub.state, place), reader.wording)
        return Response(chart.model_dump_json(), media_type="application/json")

    return router


def _take_acknowledged(desk: Desk, alarm: Alarm, reader: Reader) -> str:
    desk.hub.apply(AlarmChanged(alarm))
    text = reader.wording("notice.acknowledged", title=alarm.title)
    return desk.renderer.notice(text, reader, is_fault=False)


def _explain_refusal(error: UpstreamError, reader: Reader) -> tuple[str, int]:
    if isinstance(error, UpstreamRefusalError) and error.status == 409:
        return reader.wording("notice.already_normal"), 409
    return reader.wording("notice.not_acknowledged", fault=_word_fault(error, reader)), 502


def _word_fault(error: UpstreamError, reader: Reader) -> str:
    key = "fault.down" if isinstance(error, UpstreamDownError) else "fault.refused"
    return f"{reader.wording(key)} ({error.fault})"
