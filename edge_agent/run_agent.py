"""Runs the agent (shell): one event loop for lines and uplink, one thread for the spool, one for MQTT."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine
from functools import partial
from pathlib import Path

from contracts.errors import ConfigurationError
from edge_agent.agent_plan import AgentPlan
from edge_agent.channel_table import ChannelTable
from edge_agent.errors import AgentError
from edge_agent.feed_watchdog import feed_watchdog, show_life
from edge_agent.lines.report_filter import ReportedSink
from edge_agent.lines.run_lines import RunningLines
from edge_agent.liveness import SPOOL, SPOOL_LIMIT_S, Liveness
from edge_agent.modbus.store_limits import LimitFile
from edge_agent.outputs.field_side import FieldSide
from edge_agent.settings.keep_configuration import ConfigurationKeeper
from edge_agent.settings.plan_difference import PlanDifference
from edge_agent.settings.reread_configuration import Loaded, Reread
from edge_agent.spare_memory import settle_memory
from edge_agent.spool.commit_readings import CommitLoop
from edge_agent.spool.reading_buffer import ReadingBuffer
from edge_agent.spool.set_points import ChannelSetPoints, SetPoints, plan_set_points
from edge_agent.spool.spool_thread import SpoolThread
from edge_agent.task_set import cancel_tasks, raise_first_error
from edge_agent.uplink.broker_link import BrokerLink
from edge_agent.uplink.obey_host import HostOrders
from edge_agent.uplink.publish_batches import Uplink
from edge_agent.uplink.resend_schedule import ResendSchedule
from edge_agent.uplink.sparkplug_session import ChannelsFound, CommandAnswered, EdgeNode, LineWithdrawn

_log = logging.getLogger(__name__)


async def run_until_stopped(keeper: ConfigurationKeeper, first: Loaded, folder: Path) -> None:
    """Runs until SIGTERM or SIGINT, with the configuration that counts.

    Args:
        keeper: says which that is, also when the host or SIGHUP asks, and when a new one does not work.
        first: the one to begin with.
        folder: what its relative paths are relative to.

    Raises:
        ConfigurationError: the configuration has faults.
        SpoolUnusableError: the spool's path is a database of somebody else.
    """
    answer: str | None = None
    waiting: list[Loaded] = [first]
    del first  # a plan is let go of as soon as it runs: ten thousand channels, and nobody needs them any more
    while waiting:
        fresh: Loaded | None
        try:
            keeper.begin(waiting[-1])
            fresh, answer = await Agent(waiting.pop(), folder, keeper, answer).run()
        except (AgentError, ConfigurationError) as error:
            fresh, answer = keeper.fail(str(error)), f"configuration: taken back, {error}"
            if fresh is None:
                raise
        waiting = [] if fresh is None else [fresh]
        del fresh


class Agent:
    """All parts of the agent, for one spool and one broker; lines and outputs may change while it runs."""

    def __init__(self, loaded: Loaded, folder: Path, keeper: ConfigurationKeeper, answer: str | None) -> None:
        """Opens the spool, and builds the rest.

        Args:
            loaded: the configuration to begin with.
            folder: what its relative paths are relative to.
            keeper: reads and checks the configuration again, and judges this one.
            answer: to the last command of the host, told in the birth.

        Raises:
            ConfigurationError: a local output is on a channel that does not exist.
            SpoolUnusableError: the spool's path is a database of somebody else.
        """
        plan = loaded.plan
        self._keeper = keeper
        self._gateway_id = plan.gateway.gateway_id
        self._spool_settings = plan.spool
        self._channels = ChannelTable()
        for line in plan.lines:
            for name in line.channel_names():
                self._channels.add(line.bus_id, *name)
        self._field = FieldSide(plan, self._channels, folder)
        spool_path = folder / plan.spool.path
        set_points = plan_set_points(plan.outputs, self._channels.aliases())
        self._spool = SpoolThread(spool_path, plan.spool.disk_max_bytes, self._channels, set_points)
        self._buffer = ReadingBuffer(self._spool.epoch, plan.spool.memory_readings_max)
        self._buffer.watch(self._by_alias(set_points))
        self._reread = Reread(keeper.reread, plan.without_lines(), self._apply, self._field.audit)
        self._orders = HostOrders(self._field.control, self._reread)
        self._uplink = self._build_uplink(plan, folder, answer)
        self._liveness = Liveness()
        self._commits = self._build_commits()
        reported = ReportedSink(self._commits, {})
        self._lines = RunningLines(
            self._channels,
            LimitFile(spool_path.with_name(f"{spool_path.stem}.register-limits.json")),
            self._liveness,
            reported,
            (self._field.sink_before(reported), self._field.listen_sink_before(self._commits)),
            self._field.writers,
            self._commits.put_waveforms,
        )
        for line in plan.lines:
            self._lines.add(line)

    async def run(self) -> tuple[Loaded | None, str]:
        """Until SIGTERM or SIGINT (None), or until its work is to begin anew with another configuration.

        Returns:
            That configuration, and what the host is to be told of it.
        """
        epoch = self._spool.epoch
        _log.info("agent_started gateway_id=%s epoch=%d channels=%d", self._gateway_id, epoch, len(self._channels))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._orders.reread)
        settle_memory()
        try:
            await self._run_until_signal()
        finally:
            await self._spool.close()
        _log.info("agent_stopped gateway_id=%s", self._gateway_id)
        return self._reread.fresh, self._reread.answer

    def _build_uplink(self, plan: AgentPlan, folder: Path, answer: str | None) -> Uplink:
        link = BrokerLink(plan.mqtt, folder)
        node = EdgeNode(
            plan.gateway.district_id,
            plan.gateway.gateway_id,
            self._spool.epoch,
            plan.mqtt.primary_host,
            self._channels,
            broker_count=link.broker_count,
            actuators=self._field.actuator_names,
        )
        schedule = ResendSchedule(
            plan.spool.resend_after_s,
            plan.spool.backlog_batches_per_s,
            plan.spool.backlog_share * plan.spool.uplink_bytes_per_s,
        )
        return Uplink(node, plan.mqtt, link, self._spool, self._buffer, schedule, self._orders, answer)

    def _build_commits(self) -> CommitLoop:
        settings = self._spool_settings
        self._liveness.expect(SPOOL, SPOOL_LIMIT_S + settings.flush_interval_s, time.monotonic())
        return CommitLoop(
            self._buffer,
            self._channels,
            self._spool,
            self._uplink,
            settings.flush_interval_s,
            settings.flush_readings,
            partial(show_life, self._liveness, SPOOL),
        )

    async def _apply(self, loaded: Loaded, difference: PlanDifference) -> None:
        """Another configuration, while the lines that are the same keep polling.

        What the lines that end have read is handed on before their death is told, and their new channels are born when
        they answer for the first time.
        """
        plan = loaded.plan
        for bus_id in difference.stopped:
            await self._lines.stop(bus_id)
        if difference.stopped:
            await self._commits.store()
        for bus_id in difference.stopped:
            self._uplink.tell(LineWithdrawn(bus_id))
        await self._uplink.catch_up()  # what was read before must not count for the trial of what comes
        for line in plan.lines:
            if line.bus_id in difference.started:
                self._lines.add(line)
        before = dict(self._field.actuator_names)
        self._field.replace(plan)
        for bus_id in difference.kept:
            if before.get(bus_id) != self._field.actuator_names.get(bus_id):
                self._uplink.tell(ChannelsFound(bus_id))
        set_points = plan_set_points(plan.outputs, self._channels.aliases())
        self._spool.watch(set_points)
        self._buffer.watch(self._by_alias(set_points))
        self._lines.start()
        self._keeper.begin(loaded)
        settle_memory()

    async def _judge_configuration(self) -> None:
        """Goes back to the last known good configuration when the one that runs has failed its trial."""
        while True:
            why = await self._keeper.watch(self._uplink.flows)
            good = await asyncio.to_thread(self._keeper.fail, why)
            if good is not None:
                self._uplink.tell(CommandAnswered(await self._reread.take_back(good, why)))
                del good

    async def _run_until_signal(self) -> None:
        loop = asyncio.get_running_loop()
        stop = self._reread.accepted
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        works: list[Coroutine[None, None, None]] = [
            self._lines.run(),
            self._field.run(),
            self._commits.run(),
            self._spool.care(),
            self._orders.run(self._uplink.tell),
            feed_watchdog(self._liveness),
            self._judge_configuration(),
        ]
        uplink_task = asyncio.create_task(self._uplink.run(), name="uplink")
        tasks = [asyncio.create_task(work) for work in works]
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopped, uplink_task, *tasks], return_when=asyncio.FIRST_COMPLETED)
            raise_first_error([uplink_task, *tasks])
        finally:
            await cancel_tasks(tasks)
            await self._commits.finish()
            self._uplink.stop()
            stopped.cancel()
            await asyncio.gather(uplink_task, stopped, return_exceptions=True)

    def _by_alias(self, set_points: ChannelSetPoints) -> dict[int, SetPoints]:
        alias_of = self._channels.aliases()
        return {alias_of[name]: points for name, points in set_points.items()}
