"""Runs the agent (shell): one event loop for buses and uplink, one thread for the spool, one for MQTT."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Final

from contracts.errors import ConfigurationError
from edge_agent.drivers import LISTENERS
from edge_agent.errors import AgentError
from edge_agent.feed_watchdog import feed_watchdog, show_life
from edge_agent.lines.build_poller import build_poller
from edge_agent.lines.listen_bus import BusListener
from edge_agent.lines.plan_listeners import plan_listeners
from edge_agent.lines.poll_bus import BusPoller
from edge_agent.lines.report_filter import ReportedSink
from edge_agent.liveness import SPOOL, SPOOL_LIMIT_S, Liveness, line_limit_s
from edge_agent.modbus.store_limits import LimitFile
from edge_agent.outputs.field_side import FieldSide
from edge_agent.plan_agent import BusPlan, plan_agent
from edge_agent.settings.flow_log import FlowLog
from edge_agent.settings.keep_configuration import ConfigurationKeeper
from edge_agent.settings.reread_configuration import Loaded, Reread
from edge_agent.spool.commit_readings import CommitLoop
from edge_agent.spool.reading_buffer import ReadingBuffer
from edge_agent.spool.set_points import plan_set_points
from edge_agent.spool.spool_thread import SpoolThread
from edge_agent.uplink.broker_link import BrokerLink
from edge_agent.uplink.obey_host import HostOrders
from edge_agent.uplink.publish_batches import Uplink
from edge_agent.uplink.resend_schedule import ResendSchedule
from edge_agent.uplink.sparkplug_session import EdgeNode

GC_THRESHOLDS: Final = (50_000, 20, 20)
"""Allocations before the garbage collector looks for cycles (Python's own: 700, 10, 10)."""
CANCEL_AGAIN_S: Final = 0.2

_log = logging.getLogger(__name__)


async def run_until_stopped(keeper: ConfigurationKeeper, folder: Path) -> None:
    """Runs until SIGTERM or SIGINT, with the configuration that counts.

    Args:
        keeper: says which that is, also when the host or SIGHUP asks, and when a new one does not work.
        folder: what its relative paths are relative to.

    Raises:
        ConfigurationError: the configuration has faults.
        SpoolUnusableError: the spool's path is a database of somebody else.
    """
    answer: str | None = None
    running = _begin(keeper, keeper.first(), folder, answer)
    while True:
        try:
            fresh, answer = await running
        except (AgentError, ConfigurationError) as error:
            fresh, answer = keeper.fail(str(error)), f"configuration: taken back, {error}"
            if fresh is None:
                raise
        if fresh is None:
            return
        running = _begin(keeper, fresh, folder, answer)
        del fresh  # the agent lets go of the models of ten thousand nodes, and so must we


def _begin(
    keeper: ConfigurationKeeper, loaded: Loaded, folder: Path, answer: str | None
) -> Coroutine[None, None, tuple[Loaded | None, str]]:
    keeper.begin(loaded)
    return run_agent(loaded, folder, keeper, answer)


async def run_agent(
    loaded: Loaded, folder: Path, keeper: ConfigurationKeeper, answer: str | None = None
) -> tuple[Loaded | None, str]:
    """Runs until SIGTERM or SIGINT (None), or until another configuration is to be applied (that one, and its answer).

    Args:
        loaded: the configuration, and all known profiles.
        folder: what relative paths of the configuration are relative to.
        keeper: reads and checks the configuration again, and judges this one.
        answer: to the last command of the host, told in the birth.

    Raises:
        ConfigurationError: a local output is on a channel that does not exist.
        SpoolUnusableError: the spool's path is a database of somebody else.
    """
    settings, profiles = loaded.settings, loaded.profiles
    spool_path = folder / settings.spool.path
    limits = LimitFile(spool_path.with_name(f"{spool_path.stem}.register-limits.json"))
    channels, bus_plans = plan_agent(settings, profiles, folder, limits.memory)
    listener_plans = plan_listeners(settings.bus, folder, channels)
    gateway, mqtt, spool_settings = settings.gateway, settings.mqtt, settings.spool
    field = FieldSide(settings, channels, folder)
    set_points = plan_set_points(settings.output, channels.names)
    reread = Reread(keeper.reread, loaded, folder, field.audit)
    liveness = Liveness()
    del settings, loaded  # the models of ten thousand nodes are not needed any more
    spool_thread = SpoolThread(spool_path, spool_settings.disk_max_bytes, channels, set_points)
    epoch = spool_thread.epoch
    _log.info("agent_started gateway_id=%s epoch=%d channels=%d", gateway.gateway_id, epoch, len(channels))
    alias_of = channels.aliases()
    buffer = ReadingBuffer(
        epoch, spool_settings.memory_readings_max, {alias_of[name]: points for name, points in set_points.items()}
    )
    link = BrokerLink(mqtt, folder)
    uplink = Uplink(
        EdgeNode(
            gateway.district_id,
            gateway.gateway_id,
            epoch,
            mqtt.primary_host,
            channels,
            broker_count=link.broker_count,
            actuators=field.actuator_names,
        ),
        mqtt,
        link,
        spool_thread,
        buffer,
        ResendSchedule(
            spool_settings.resend_after_s,
            spool_settings.backlog_batches_per_s,
            spool_settings.backlog_share * spool_settings.uplink_bytes_per_s,
        ),
        orders := HostOrders(field.control, reread),
        answer,
    )
    commits = CommitLoop(
        buffer,
        channels,
        spool_thread,
        uplink,
        spool_settings.flush_interval_s,
        spool_settings.flush_readings,
        partial(show_life, liveness, SPOOL),
    )
    liveness.expect(SPOOL, SPOOL_LIMIT_S + spool_settings.flush_interval_s, time.monotonic())
    report = {alias: rule for plan in bus_plans for device in plan.devices for alias, rule in device.report.items()}
    reported = field.sink_before(ReportedSink(commits, report))
    pollers = [build_poller(plan, reported, _after_poll(plan, limits, liveness)) for plan in bus_plans]
    listeners = [
        BusListener(plan.bus_id, LISTENERS[plan.port.kind](plan.port), plan.endpoint, field.listen_sink_before(commits))
        for plan in listener_plans
    ]
    field.connect({plan.settings.bus_id: poller for plan, poller in zip(bus_plans, pollers, strict=True)})
    works = [
        orders.run(uplink.tell),
        feed_watchdog(liveness),
        _judge_configuration(keeper, uplink.flows, reread),
        *(switcher.run() for switcher in field.switchers.values()),
    ]
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, orders.reread)
    _settle_memory()
    try:
        await _run_until_signal([*pollers, *listeners], commits, uplink, spool_thread, works, reread.accepted)
    finally:
        await spool_thread.close()
    _log.info("agent_stopped gateway_id=%s", gateway.gateway_id)
    return reread.fresh, reread.answer


def _after_poll(plan: BusPlan, limits: LimitFile, liveness: Liveness) -> Callable[[], None]:
    """What a line does after each poll: it keeps what was learnt, and shows that it lives."""
    part = f"bus/{plan.settings.bus_id}"
    longest_s = max((device.interval_s for device in plan.devices), default=0.0)
    liveness.expect(part, line_limit_s(longest_s), time.monotonic())

    def after_poll() -> None:
        limits.save()
        show_life(liveness, part)

    return after_poll


async def _judge_configuration(keeper: ConfigurationKeeper, flows: FlowLog, reread: Reread) -> None:
    """Goes back to the last known good configuration when this one has failed its trial."""
    why = await keeper.watch(flows)
    good = keeper.fail(why)
    if good is not None:
        await reread.take_back(good, why)
    await asyncio.Event().wait()  # there is nothing to go back to, or the end is on its way


async def _run_until_signal(
    buses: list[BusPoller | BusListener],
    commits: CommitLoop,
    uplink: Uplink,
    spool: SpoolThread,
    works: list[Coroutine[None, None, None]],
    stop: asyncio.Event,
) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    uplink_task = asyncio.create_task(uplink.run(), name="uplink")
    tasks = [asyncio.create_task(bus.run()) for bus in buses]
    tasks.append(asyncio.create_task(commits.run(), name="commits"))
    tasks.append(asyncio.create_task(spool.care(), name="spool-care"))
    tasks += [asyncio.create_task(work) for work in works]
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
