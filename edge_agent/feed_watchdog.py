"""Feeds systemd's watchdog while the agent does its work (shell: clock, systemd's socket)."""

from __future__ import annotations

import asyncio
import logging
import time

from edge_agent.liveness import Liveness
from edge_agent.systemd_notify import ALIVE, READY, notify, watchdog_interval_s

_log = logging.getLogger(__name__)


def show_life(liveness: Liveness, part: str) -> None:
    """This part has got on, now."""
    liveness.got_on(part, time.monotonic())


async def feed_watchdog(liveness: Liveness) -> None:
    """Until cancelled. What stands still is told once; systemd ends the process when it was not fed for its limit."""
    notify(READY)
    interval_s = watchdog_interval_s()
    told: list[str] = []
    while interval_s is not None:
        still = liveness.standing_still(time.monotonic())
        if still and still != told:
            _log.error("standing_still parts=%s", ",".join(still))
        told = still
        if not still:
            notify(ALIVE)
        await asyncio.sleep(interval_s)
    await asyncio.Event().wait()
