"""The outbox (shell): condition events go to the alarm service until it says that it has them.

Events stand in the store since the commit of the readings that caused them. Transient failures are retried with
back-off and jitter. An event that the service refuses for what it is cannot be helped by waiting: it is told one by
one, then quarantined.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

from contracts.alarm import ConditionEvent
from contracts.notice import Quarantined
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.errors import UpstreamRefusedError, UpstreamUnavailableError
from stream_processor.upstream_client import UpstreamClient

_log = logging.getLogger("stream_processor.outbox")

POST_LIMIT = 500
RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0


class Outbox:
    """Posts what waits. `wake` after each commit with events."""

    def __init__(self, store: DuckdbStore, client: UpstreamClient) -> None:
        self._store = store
        self._client = client
        self._filled = asyncio.Event()
        self._filled.set()

    def wake(self) -> None:
        """Events were committed."""
        self._filled.set()

    async def run(self) -> None:
        """Posts until cancelled."""
        delay_s = RETRY_FIRST_S
        while True:
            await self._filled.wait()
            self._filled.clear()
            try:
                while await self._post_some():
                    delay_s = RETRY_FIRST_S
            except UpstreamUnavailableError as error:
                _log.warning("alarm_service_unavailable retry_s=%.1f error=%s", delay_s, error)
                self._filled.set()
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
                delay_s = min(2 * delay_s, RETRY_MAX_S)

    async def _post_some(self) -> bool:
        events = await asyncio.to_thread(self._store.pending_events, POST_LIMIT)
        if not events:
            return False
        try:
            await self._client.post_conditions(events)
        except UpstreamRefusedError as error:
            if error.is_about_us:  # the events are not at fault: they must wait, not be set aside
                raise UpstreamUnavailableError(str(error)) from error
            if len(events) == 1:
                await self._quarantine(events[0], error)
            else:
                await self._post_one_by_one(events)
        else:
            await asyncio.to_thread(self._store.confirm_events, [event.event_id for event in events])
            now_ns = time.time_ns()
            for event in events:
                delay_ms = (now_ns - event.phenomenon_ns) / 1e6
                _log.info(
                    "condition_told condition=%s state=%s historical=%s measured_to_told_ms=%.0f",
                    event.condition_id,
                    event.state,
                    event.is_historical,
                    delay_ms,
                )
        return True

    async def _post_one_by_one(self, events: list[ConditionEvent]) -> None:
        for event in events:
            try:
                await self._client.post_conditions([event])
            except UpstreamRefusedError as error:
                await self._quarantine(event, error)
            else:
                await asyncio.to_thread(self._store.confirm_events, [event.event_id])

    async def _quarantine(self, event: ConditionEvent, error: UpstreamRefusedError) -> None:
        _log.error("condition_refused condition=%s error=%s", event.condition_id, error)
        bad = Quarantined(time.time_ns(), "", "condition_refused", str(error), event.model_dump_json().encode())
        await asyncio.to_thread(self._store.quarantine_event, event.event_id, bad)
