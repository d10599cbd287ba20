"""Shell: one task per source asks its service for ever and hands the answers to the hub.

After a failure a source asks for everything again: a service that was restarted may count its revisions anew. The
same if a revision went backwards. Any failure is shown on the page and asked again with back-off, a refusal too: the
operator may mend the token meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from console.backoff import plan_delay_s
from console.errors import UpstreamError
from console.live_hub import LiveHub
from console.upstream_client import UpstreamClient
from console.view_model import (
    AlarmsArrived,
    FleetArrived,
    HealthArrived,
    LatestArrived,
    Source,
    SourceAnswered,
    SourceFailed,
)

WAIT_S: Final = 5.0
"""How long a poll for alarms or values waits for a change. It bounds the time until a hung service is noticed."""

FLEET_WAIT_S: Final = 10.0
HEALTH_INTERVAL_S: Final = 1.0

IDLE_ALARMS_INTERVAL_S: Final = 0.05
"""Pause after an alarm poll that brought nothing, so that a service which does not wait is not hammered."""

LATEST_INTERVAL_S: Final = 0.25
"""At least this long between two polls for values: pages get them twice a second anyway."""

_log = logging.getLogger(__name__)


class UpstreamPolling:
    """The four tasks."""

    def __init__(
        self,
        hub: LiveHub,
        registry: UpstreamClient,
        alarm_service: UpstreamClient,
        stream_processor: UpstreamClient,
        clock_ns: Callable[[], int],
    ) -> None:
        self._hub = hub
        self._registry = registry
        self._alarm_service = alarm_service
        self._stream_processor = stream_processor
        self._clock_ns = clock_ns

    async def run(self) -> None:
        """Polls until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_asking(Source.ALARMS, self._ask_alarms))
            group.create_task(self._keep_asking(Source.FLEET, self._ask_fleet))
            group.create_task(self._keep_asking(Source.LATEST, self._ask_latest))
            group.create_task(self._keep_asking(Source.HEALTH, self._ask_health))

    async def _keep_asking(self, source: Source, ask: Callable[[bool], Awaitable[None]]) -> None:
        failures = 0
        is_first = True
        while True:
            try:
                await ask(is_first)
            except UpstreamError as error:
                failures += 1
                is_first = True
                if failures == 1:
                    _log.warning("event=source_failed source=%s fault=%r", source, str(error))
                self._hub.apply(SourceFailed(source, error.fault))
                await asyncio.sleep(plan_delay_s(failures, random.random()))  # noqa: S311 - jitter
                continue
            if failures or is_first:
                _log.info("event=source_answers source=%s failed_polls=%d", source, failures)
            failures = 0
            is_first = False

    async def _ask_alarms(self, is_first: bool) -> None:
        known = 0 if is_first else self._hub.state.alarm_revision
        page = await self._alarm_service.poll_alarms(known, 0.0 if is_first else WAIT_S)
        if page.revision < known:
            page, known = await self._alarm_service.poll_alarms(0, 0.0), 0
        self._hub.apply(AlarmsArrived(page, is_complete=known == 0, at_ns=self._clock_ns()))
        if not is_first and page.revision == known:
            await asyncio.sleep(IDLE_ALARMS_INTERVAL_S)

    async def _ask_fleet(self, is_first: bool) -> None:
        known = None if is_first else self._hub.state.fleet_revision
        snapshot = await self._registry.poll_fleet(known, 0.0 if is_first else FLEET_WAIT_S)
        now_ns = self._clock_ns()
        self._hub.apply(SourceAnswered(Source.FLEET, now_ns) if snapshot is None else FleetArrived(snapshot, now_ns))

    async def _ask_latest(self, is_first: bool) -> None:
        known = 0 if is_first else self._hub.state.latest_revision
        page = await self._stream_processor.poll_latest(known, 0.0 if is_first else WAIT_S)
        if page.revision < known:
            page, known = await self._stream_processor.poll_latest(0, 0.0), 0
        self._hub.apply(LatestArrived(page, is_complete=known == 0, at_ns=self._clock_ns()))
        await asyncio.sleep(LATEST_INTERVAL_S)

    async def _ask_health(self, _is_first: bool) -> None:
        health = await self._stream_processor.read_health()
        self._hub.apply(HealthArrived(health, self._clock_ns()))
        await asyncio.sleep(HEALTH_INTERVAL_S)
