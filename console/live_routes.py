"""Shell: the stream of server-sent events to an open page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from console.desk import Desk, language_of, session_of
from console.event_stream import encode_event
from console.feed_plan import FeedPlan, Part
from console.fleet_query import FleetQuery, Selection, parse_query, select_channels
from console.presentation import Reader
from console.texts import Language, Wording
from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND


def build_live_routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.get("/events")
    async def stream_events(request: Request) -> StreamingResponse:
        page = LivePage(desk, parse_query(request.query_params), language_of(request), session_of(request).token_hash)
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(page.stream(), media_type="text/event-stream", headers=headers)

    return router


class LivePage:
    """One open page: what it shows, so that only changes of that are sent."""

    def __init__(self, desk: Desk, query: FleetQuery, language: Language, session_hash: str) -> None:
        self._desk = desk
        self._query = query
        self._wording = Wording(language)
        self._session_hash = session_hash
        self._plan = FeedPlan(query)
        self._selection: Selection | None = None
        self._shown_ids: frozenset[int] = frozenset()
        self._shown_places: object = None

    async def stream(self) -> AsyncIterator[bytes]:
        """Events until the console stops, the browser leaves, or the session ends."""
        hub = self._desk.hub
        with hub.subscribe() as subscription:
            while not hub.is_stopping:
                self._plan.add(subscription.take())
                for part in self._plan.take_due(time.monotonic_ns()):
                    if part is Part.TICK and not await self._is_signed_in():
                        yield encode_event("signed_out", "")
                        return
                    payload = self._render(part)
                    if payload is not None:
                        yield encode_event(part.value, payload)
                wait_ns = self._plan.next_due_ns() - time.monotonic_ns()
                await subscription.wait(max(0.0, wait_ns / NANOSECONDS_PER_SECOND))

    async def _is_signed_in(self) -> bool:
        desk = self._desk
        row = await asyncio.to_thread(desk.store.find_session, self._session_hash, desk.clock_ns())
        return row is not None

    def _render(self, part: Part) -> str | None:
        desk = self._desk
        state = desk.hub.state
        reader = Reader(self._wording, desk.city.zone, desk.clock_ns())
        match part:
            case Part.ALARMS:
                return desk.renderer.alarms(state, reader)
            case Part.STATUS:
                return desk.renderer.status(state, reader)
            case Part.FLEET:
                return self._render_fleet(reader)
            case Part.VALUES:
                changed = sorted(self._plan.take_channel_ids() & self._shown_ids & state.places.keys())
                return desk.renderer.values(state, changed, reader) if changed else None
            case Part.TICK:
                return str(reader.now_ns // NANOSECONDS_PER_MILLISECOND)

    def _render_fleet(self, reader: Reader) -> str | None:
        state = self._desk.hub.state
        selection = select_channels(state, self._query)
        if selection == self._selection and state.places is self._shown_places:
            return None
        self._selection = selection
        self._shown_ids = frozenset(selection.channel_ids)
        self._shown_places = state.places
        return self._desk.renderer.fleet(state, self._query, selection, reader)
