"""`read-once` of a logger with waveforms (shell: waits): the features of the first whole second, or what went wrong."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from contracts.quality import Reason
from edge_agent.drivers import Driver
from edge_agent.lines.build_poller import build_watch
from edge_agent.lines.device_poll import Device, Outcome
from edge_agent.lines.poll_bus import poll_device
from edge_agent.waveform.waveform_plan import WaveformDevicePlan

PATIENCE_S: Final = 10.0
"""The clock settles in two seconds, and a block may take one."""
_WAITED_FOR: Final = frozenset({Reason.INCOMPLETE, Reason.CLOCK_SUSPECT})
"""Of the seconds before the first whole one."""


async def read_logger(driver: Driver, plan: WaveformDevicePlan, device: Device) -> list[Outcome]:
    """An outcome for each channel. Raises LineLostError."""
    watch = build_watch(plan, device, lambda _blocks: None)
    found: dict[int, Outcome] = {alias: (alias, None, Reason.STALE) for alias in device.aliases}
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        outcomes = await poll_device(driver, device)
        readings = watch.readings(outcomes, time.time_ns(), time.monotonic())
        found |= {alias: (alias, value, Reason(code)) for alias, _, value, code in readings}
        if readings and Reason(readings[-1][3]) not in _WAITED_FOR:
            break
        await asyncio.sleep(plan.interval_s)
    return list(found.values())
