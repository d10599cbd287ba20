"""Polls the devices of one bus for ever (shell): opens the line, carries requests and answers, keeps the times.

`bus_schedule.py` says whose turn it is. The bus is the line's only master: writes to actuators pass through it too,
between two requests, before any poll that waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.quality import Reason
from edge_agent.back_off import back_off_s
from edge_agent.channel_table import Reading
from edge_agent.drivers import Driver
from edge_agent.errors import LineLostError
from edge_agent.lines.bus_schedule import BusSchedule, DeviceRhythm
from edge_agent.lines.device_poll import Device, Outcome
from edge_agent.lines.device_watch import is_silent
from edge_agent.lines.line_state import LineState
from edge_agent.lines.report_filter import Sink
from edge_agent.modbus.modbus_write import ModbusWrite

__all__ = ["BusPoller", "PolledDevice", "Sink", "poll_device"]

LINE_RETRY_FIRST_S = 1.0
LINE_RETRY_LONGEST_S = 10.0
WRITE_TRIES = 3
"""Writes set a value and may be repeated; a lost answer is no reason to leave an actuator unset."""

_WORTH_REPEATING = frozenset({Reason.NO_ANSWER, Reason.CRC_ERROR, Reason.MALFORMED_FRAME})

_log = logging.getLogger(__name__)


class Watch(Protocol):
    """What the polls of a device become."""

    def readings(self, outcomes: Sequence[Outcome], wall_ns: int, now_s: float) -> list[Reading]:
        """The readings of a poll that ended now."""


@dataclass(slots=True)
class PolledDevice:
    """A device with what polling needs to know of it."""

    name: str
    """For the log."""
    device: Device
    watch: Watch
    rhythm: DeviceRhythm


class BusPoller:
    """One task per bus."""

    def __init__(
        self,
        bus_id: str,
        driver: Driver,
        devices: Sequence[PolledDevice],
        sink: Sink,
        silence_s: float = 1.0,
        after_poll: Callable[[], None] = lambda: None,
    ) -> None:
        """Polls nothing yet.

        Args:
            bus_id: the line, for readings and the log.
            driver: carries the bytes.
            devices: in the order of the configuration.
            sink: takes the readings.
            silence_s: how long an exchange takes that nobody answers.
            after_poll: called after each poll and each attempt to open; to keep what was learnt, and to show life.
        """
        self._bus_id = bus_id
        self._driver = driver
        self._devices = devices
        self._sink = sink
        self._after_poll = after_poll
        self._schedule = BusSchedule([one.rhythm for one in devices], time.monotonic(), silence_s)
        self._writes: deque[tuple[ModbusWrite, asyncio.Future[Reason]]] = deque()
        self._wake = asyncio.Event()
        self._is_open = False
        self._state = LineState(bus_id, sink, _log)

    async def run(self) -> None:
        """Until cancelled."""
        attempt = 0
        try:
            while True:
                has_answered = False
                try:
                    await self._driver.open()
                    self._is_open = True
                    async for _ in self._poll_for_ever():
                        has_answered, attempt = True, 0
                        self._state.note_up()
                except LineLostError as error:
                    self._close()
                    if has_answered:  # a connection that worked may have been closed for its own reasons
                        continue
                    self._state.note_lost(error, self._mark_lost)
                self._after_poll()
                attempt += 1
                await asyncio.sleep(
                    back_off_s(attempt, LINE_RETRY_FIRST_S, LINE_RETRY_LONGEST_S, random.random())  # noqa: S311
                )
        finally:
            self._close()

    def due_s(self) -> dict[int, float]:
        """By alias: when (monotonic clock) its device is polled or probed next."""
        return {
            alias: self._schedule.due_s(at)
            for at, polled in enumerate(self._devices)
            for alias in polled.device.aliases
        }

    async def write(self, write: ModbusWrite) -> Reason:
        """Writes to a device of this line, before any poll that waits.

        Returns:
            `ok` if the device confirmed it; else why it may not have been done (`line_lost`: the line is closed now).
        """
        if not self._is_open:
            return Reason.LINE_LOST
        done: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
        self._writes.append((write, done))
        self._wake.set()
        return await done

    async def _poll_for_ever(self) -> AsyncIterator[None]:
        """Polls each device when it is its turn; yields after each poll."""
        while True:
            await self._write_all()
            turn = self._schedule.next_turn(time.monotonic())
            if turn.device is None:
                await self._rest(turn.until_s)
                continue
            polled = self._devices[turn.device]
            begun_s = time.monotonic()
            outcomes = await poll_device(self._driver, polled.device, self._write_all)
            now_s = time.monotonic()
            self._keep(polled, outcomes, now_s, self._schedule.silent_polls(turn.device) > 0)
            fraction = random.random()  # noqa: S311
            self._schedule.note(turn.device, begun_s, now_s, not is_silent(outcomes), fraction)
            self._after_poll()
            yield

    async def _rest(self, until_s: float) -> None:
        """Leaves the line alone, unless something is to be written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(until_s - time.monotonic(), 0.0)):
                await self._wake.wait()

    async def _write_all(self) -> None:
        """Carries out the writes that wait. Raises LineLostError."""
        self._wake.clear()
        while self._writes:
            write, done = self._writes[0]
            if done.done():  # given up meanwhile: it must not be done late
                self._writes.popleft()
                continue
            came = Reason.NO_ANSWER
            for _ in range(WRITE_TRIES):
                answer = await self._driver.exchange(write)
                came = answer if isinstance(answer, Reason) else Reason.OK
                if came not in _WORTH_REPEATING:
                    break
            self._writes.popleft()
            if not done.done():
                done.set_result(came)

    def _keep(self, polled: PolledDevice, outcomes: list[Outcome], now_s: float, was_silent: bool) -> None:
        readings = polled.watch.readings(outcomes, time.time_ns(), now_s)
        if readings:
            self._sink.put(self._bus_id, readings)
        if is_silent(outcomes) != was_silent:
            _log.warning(
                "%s bus_id=%s device=%s", "device_back" if was_silent else "device_silent", self._bus_id, polled.name
            )

    def _close(self) -> None:
        """The line is closed; what waits to be written is not done."""
        self._is_open = False
        self._driver.close()
        while self._writes:
            _, done = self._writes.popleft()
            if not done.done():
                done.set_result(Reason.LINE_LOST)

    def _mark_lost(self) -> None:
        for polled in self._devices:
            outcomes: list[Outcome] = [(alias, None, Reason.LINE_LOST) for alias in polled.device.aliases]
            readings = polled.watch.readings(outcomes, time.time_ns(), time.monotonic())
            if readings:
                self._sink.put(self._bus_id, readings)


async def poll_device(
    driver: Driver, device: Device, between: Callable[[], Awaitable[None]] | None = None
) -> list[Outcome]:
    """Carries a device's requests to the driver and the answers back. Raises LineLostError.

    Args:
        driver: an open line.
        device: who is polled.
        between: called before each request but the first: what must not wait for the whole poll.
    """
    poll = device.poll(time.monotonic())
    try:
        request = next(poll)
        while True:
            answer = await driver.exchange(request)
            if between is not None:
                await between()
            request = poll.send(answer)
    except StopIteration as stop:
        outcomes: list[Outcome] = stop.value
        return outcomes
