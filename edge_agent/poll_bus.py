"""Polls the devices of one bus for ever (shell): opens the line, carries requests and answers, keeps the times."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.quality import Reason
from edge_agent.back_off import back_off_s
from edge_agent.channel_table import Reading
from edge_agent.device_poll import Device, Outcome
from edge_agent.device_watch import DeviceWatch, is_silent
from edge_agent.drivers import Driver
from edge_agent.errors import LineLostError

LINE_RETRY_FIRST_S = 1.0
LINE_RETRY_LONGEST_S = 10.0

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where a bus puts what it reads."""

    def put(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes readings, oldest first."""

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        """The line was lost, or answers for the first time since."""


@dataclass(slots=True)
class PolledDevice:
    """A device with its schedule."""

    name: str
    """For the log."""
    device: Device
    watch: DeviceWatch
    interval_s: float


class BusPoller:
    """One task per bus."""

    def __init__(self, bus_id: str, driver: Driver, devices: Sequence[PolledDevice], sink: Sink) -> None:
        self._bus_id = bus_id
        self._driver = driver
        self._devices = devices
        self._sink = sink
        self._is_up: bool | None = None
        """None before the first answer or loss."""

    async def run(self) -> None:
        """Until cancelled."""
        attempt = 0
        try:
            while True:
                has_answered = False
                try:
                    await self._driver.open()
                    async for _ in self._poll_for_ever():
                        has_answered, attempt = True, 0
                        self._note_line_up()
                except LineLostError as error:
                    self._driver.close()
                    if has_answered:  # a connection that worked may have been closed for its own reasons
                        continue
                    self._note_line_lost(error)
                attempt += 1
                await asyncio.sleep(
                    back_off_s(attempt, LINE_RETRY_FIRST_S, LINE_RETRY_LONGEST_S, random.random())  # noqa: S311
                )
        finally:
            self._driver.close()

    async def _poll_for_ever(self) -> AsyncIterator[None]:
        """Polls each device when it is due; yields after each poll."""
        now_s = time.monotonic()
        count = len(self._devices)
        queue = [
            (now_s + polled.interval_s * order / count, order, polled) for order, polled in enumerate(self._devices)
        ]
        while True:
            due_s, order, polled = queue[0]
            wait_s = due_s - time.monotonic()
            await asyncio.sleep(max(wait_s, 0.0))
            outcomes = await poll_device(self._driver, polled.device)
            now_s = time.monotonic()
            self._keep(polled, outcomes, now_s)
            next_s = polled.watch.next_due_s(due_s, now_s, outcomes, random.random())  # noqa: S311
            heapq.heapreplace(queue, (next_s, order, polled))
            yield

    def _keep(self, polled: PolledDevice, outcomes: list[Outcome], now_s: float) -> None:
        was_silent = polled.watch.silent_polls > 0
        readings = polled.watch.readings(outcomes, time.time_ns(), now_s)
        if readings:
            self._sink.put(self._bus_id, readings)
        if is_silent(outcomes) != was_silent:
            _log.warning(
                "%s bus_id=%s device=%s", "device_back" if was_silent else "device_silent", self._bus_id, polled.name
            )

    def _note_line_up(self) -> None:
        if self._is_up is not True:
            self._is_up = True
            _log.info("line_up bus_id=%s", self._bus_id)
            self._sink.line_changed(self._bus_id, True)

    def _note_line_lost(self, error: LineLostError) -> None:
        if self._is_up is False:
            return
        self._is_up = False
        _log.warning("line_lost bus_id=%s error=%r", self._bus_id, str(error))
        for polled in self._devices:
            outcomes: list[Outcome] = [(alias, None, Reason.LINE_LOST) for alias in polled.device.aliases]
            readings = polled.watch.readings(outcomes, time.time_ns(), time.monotonic())
            if readings:
                self._sink.put(self._bus_id, readings)
        self._sink.line_changed(self._bus_id, False)


async def poll_device(driver: Driver, device: Device) -> list[Outcome]:
    """Carries a device's requests to the driver and the answers back. Raises LineLostError."""
    poll = device.poll(time.monotonic())
    try:
        request = next(poll)
        while True:
            request = poll.send(await driver.exchange(request))
    except StopIteration as stop:
        outcomes: list[Outcome] = stop.value
        return outcomes
