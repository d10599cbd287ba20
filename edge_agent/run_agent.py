"""Runs the agent (shell): one event loop for buses and uplink, one thread for the spool, one for MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import signal
import time
from pathlib import Path
from typing import Final

from edge_agent.back_off import back_off_s
from edge_agent.channel_table import ChannelTable, Reading
from edge_agent.configuration import AgentSettings, ProfileLibrary
from edge_agent.device_watch import DeviceWatch
from edge_agent.drivers import DRIVERS
from edge_agent.errors import SpoolWriteError
from edge_agent.plan_agent import BusPlan, plan_agent
from edge_agent.poll_bus import BusPoller, PolledDevice
from edge_agent.publish_batches import BatchesSealed, Uplink
from edge_agent.reading_buffer import ReadingBuffer
from edge_agent.resend_schedule import ResendSchedule
from edge_agent.sparkplug_session import Counters, EdgeNode
from edge_agent.spool_thread import SpoolThread
from edge_agent.store_readings import Spool

COMMIT_RETRY_FIRST_S: Final = 0.5
COMMIT_RETRY_LONGEST_S: Final = 10.0
GC_THRESHOLDS: Final = (50_000, 20, 20)
"""Allocations before the garbage collector looks for cycles (Python's own: 700, 10, 10)."""
CANCEL_AGAIN_S: Final = 0.2

_log = logging.getLogger(__name__)


class CommitLoop:
    """Collects readings, commits them in groups, and only then hands them to the uplink.

    While the disk refuses, batches are handed on all the same (an alarm must not wait for a disk), stay in memory,
    and are committed as soon as the disk takes them, unless the far end has acknowledged them before.
    """

    def __init__(
        self,
        buffer: ReadingBuffer,
        channels: ChannelTable,
        spool: SpoolThread,
        uplink: Uplink,
        flush_interval_s: float,
        flush_readings: int,
    ) -> None:
        self._buffer = buffer
        self._channels = channels
        self._spool = spool
        self._uplink = uplink
        self._flush_interval_s = flush_interval_s
        self._flush_readings = flush_readings
        self._line_changes: dict[str, bool] = {}
        self._wake = asyncio.Event()
        self._handed_batch = 0
        self._failures_in_a_row = 0
        self._discards_logged = 0
        self._flushing: asyncio.Task[None] | None = None
        self.failed_commits_total = 0

    def put(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes what a bus has read."""
        self._channels.note(readings)
        self._buffer.put(bus_id, readings)
        if self._buffer.waiting_count >= self._flush_readings:
            self._wake.set()

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        """Takes a line's loss or return; it is told after the readings that came before it."""
        self._line_changes[bus_id] = is_up
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            wait_s = self._flush_interval_s
            if self._failures_in_a_row:
                wait_s = back_off_s(
                    self._failures_in_a_row,
                    COMMIT_RETRY_FIRST_S,
                    COMMIT_RETRY_LONGEST_S,
                    random.random(),  # noqa: S311
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()
            # A commit that has begun goes on in its thread even if we are cancelled: `finish` waits for it.
            self._flushing = asyncio.create_task(self.flush())
            await asyncio.shield(self._flushing)

    async def finish(self) -> None:
        """After `run` was cancelled: ends the commit that has begun, then commits what still waits."""
        if self._flushing is not None:
            await self._flushing
        await self.flush()

    async def flush(self) -> None:
        """One group commit."""
        changes, self._line_changes = self._line_changes, {}
        batches = self._buffer.seal()
        if batches:
            try:
                await self._spool.commit(batches)
            except SpoolWriteError as error:
                self._buffer.failed()
                self._failures_in_a_row += 1
                self.failed_commits_total += 1
                _log.error("commit_failed error=%r total=%d", str(error), self.failed_commits_total)
            else:
                self._buffer.committed(batches)
                self._failures_in_a_row = 0
        self._log_discards()
        fresh = [batch for batch in batches if batch.batch > self._handed_batch]
        if fresh:
            self._handed_batch = fresh[-1].batch
        if fresh or changes:
            self._uplink.put(BatchesSealed(fresh, changes, self._counters()))

    def _counters(self) -> Counters:
        return Counters(self._buffer.discarded_total, self.failed_commits_total)

    def _log_discards(self) -> None:
        if self._buffer.discarded_total > self._discards_logged:
            self._discards_logged = self._buffer.discarded_total
            _log.error("readings_discarded total=%d", self._discards_logged)


async def run_agent(settings: AgentSettings, profiles: ProfileLibrary, folder: Path) -> None:
    """Runs until SIGTERM or SIGINT.

    Args:
        settings: the configuration.
        profiles: all known profiles.
        folder: what relative paths of the configuration are relative to.

    Raises:
        SpoolUnusableError: the spool file is corrupt or no spool.
        SpoolWriteError: the spool cannot be opened.
    """
    channels, bus_plans = plan_agent(settings, profiles, folder)
    gateway, mqtt, spool_settings = settings.gateway, settings.mqtt, settings.spool
    del settings  # the models of ten thousand nodes are not needed any more
    spool_path = folder / spool_settings.path
    spool_path.parent.mkdir(parents=True, exist_ok=True)
    spool = Spool(spool_path, spool_settings.disk_max_bytes, first_epoch=int(time.time()))
    epoch = spool.begin_epoch()
    _log.info("agent_started gateway_id=%s epoch=%d channels=%d", gateway.gateway_id, epoch, len(channels))
    spool_thread = SpoolThread(spool, channels)
    buffer = ReadingBuffer(epoch, spool_settings.memory_readings_max)
    password_file = mqtt.password_file
    uplink = Uplink(
        EdgeNode(gateway.district_id, gateway.gateway_id, epoch, mqtt.primary_host, channels),
        mqtt,
        None if password_file is None else folder / password_file,
        spool_thread,
        buffer,
        ResendSchedule(spool_settings.resend_after_s, spool_settings.backlog_batches_per_s),
    )
    commits = CommitLoop(
        buffer, channels, spool_thread, uplink, spool_settings.flush_interval_s, spool_settings.flush_readings
    )
    pollers = [_build_poller(plan, commits) for plan in bus_plans]
    _settle_memory()
    try:
        await _run_until_signal(pollers, commits, uplink)
    finally:
        await spool_thread.close()
    _log.info("agent_stopped gateway_id=%s", gateway.gateway_id)


async def _run_until_signal(pollers: list[BusPoller], commits: CommitLoop, uplink: Uplink) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    uplink_task = asyncio.create_task(uplink.run(), name="uplink")
    tasks = [asyncio.create_task(poller.run()) for poller in pollers]
    tasks.append(asyncio.create_task(commits.run(), name="commits"))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopped, uplink_task, *tasks], return_when=asyncio.FIRST_COMPLETED)
        _raise_first_error([uplink_task, *tasks])
    finally:
        await _cancel(tasks)
        await commits.finish()
        uplink.stop()
        stopped.cancel()
        await asyncio.gather(uplink_task, stopped, return_exceptions=True)


def _settle_memory() -> None:
    """Takes all that was built out of the garbage collector's sight: it stays until the end.

    What follows are readings, which reference counting frees: cycles are rare, so looking for them may be rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _build_poller(plan: BusPlan, commits: CommitLoop) -> BusPoller:
    bus = plan.settings
    devices = [
        PolledDevice(
            device.name,
            device.device,
            DeviceWatch(device.interval_s, bus.probe_max_s, device.bad_repeat_s),
            device.interval_s,
        )
        for device in plan.devices
    ]
    return BusPoller(bus.bus_id, DRIVERS[bus.kind](bus), devices, commits)


def _raise_first_error(tasks: list[asyncio.Task[None]]) -> None:
    """A task that ended by itself has failed: the agent ends with its error, and is started again from outside."""
    for task in tasks:
        if task.done() and not task.cancelled() and task.exception() is not None:
            task.result()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels until all have ended: `asyncio.wait_for` (Python 3.11, inside of pymodbus) can swallow a cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
