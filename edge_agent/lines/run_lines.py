"""The lines that run (shell, as they are): each by a task of its own, started and stopped one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping

from edge_agent.agent_plan import LinePlan, ListeningLinePlan, PolledLinePlan
from edge_agent.channel_table import ChannelTable
from edge_agent.drivers import LISTENERS
from edge_agent.feed_watchdog import show_life
from edge_agent.lines.build_endpoint import build_endpoint
from edge_agent.lines.build_poller import build_line, build_poller
from edge_agent.lines.listen_bus import BusListener, ListenSink
from edge_agent.lines.report_filter import ReportedSink, Sink
from edge_agent.liveness import Liveness, line_limit_s
from edge_agent.modbus.store_limits import LimitFile
from edge_agent.outputs.field_control import BusWriter
from edge_agent.task_set import TaskSet
from edge_agent.waveform.waveform_block import WaveformBlock


class RunningLines:
    """The lines of a gateway."""

    def __init__(
        self,
        channels: ChannelTable,
        limits: LimitFile,
        liveness: Liveness,
        reported: ReportedSink,
        sinks: tuple[Sink, ListenSink],
        writers: MutableMapping[str, BusWriter],
        keep_waveforms: Callable[[str, list[WaveformBlock]], None],
    ) -> None:
        """Runs nothing yet.

        Args:
            channels: gets the channels of each line that is started.
            limits: what Modbus devices are known to refuse.
            liveness: is told what is expected of a line, and when it got on.
            reported: gets the rules by which channels are reported.
            sinks: where readings go, of polled lines (on their way to `reported`) and of those that listen.
            writers: gets the lines that can be written to, by bus id.
            keep_waveforms: where blocks of waveforms go.
        """
        self._channels = channels
        self._limits = limits
        self._liveness = liveness
        self._reported = reported
        self._sink, self._listen_sink = sinks
        self._writers = writers
        self._keep_waveforms = keep_waveforms
        self._ready: dict[str, Callable[[], None]] = {}
        self._tasks = TaskSet()

    def add(self, plan: LinePlan) -> None:
        """Gives a line's channels their aliases and builds it; it runs when `start` is called."""
        if isinstance(plan, ListeningLinePlan):
            self._add_listener(plan)
        else:
            self._add_poller(plan)

    def start(self) -> None:
        """Starts the lines that were added."""
        for start in self._ready.values():
            start()
        self._ready.clear()

    async def stop(self, bus_id: str) -> None:
        """Ends a line, whatever it is doing, and withdraws its channels."""
        await self._tasks.stop(bus_id)
        self._writers.pop(bus_id, None)
        self._liveness.forget(_part(bus_id))
        self._reported.drop_rules(channel.alias for channel in self._channels.of_bus(bus_id))
        self._channels.withdraw(bus_id)

    async def run(self) -> None:
        """Until cancelled, or until a line has failed for a reason that is not the line's; raises its error."""
        self.start()
        try:
            await self._tasks.watch()
        finally:
            await self._tasks.stop_all()

    def _add_poller(self, plan: PolledLinePlan) -> None:
        line = build_line(plan, self._channels, self._limits.memory)
        self._reported.add_rules(line.report_rules())
        poller = build_poller(line, self._sink, self._after_poll(plan), self._keep_waveforms)
        self._writers[plan.bus_id] = poller
        self._ready[plan.bus_id] = lambda: self._tasks.start(plan.bus_id, poller.run())

    def _add_listener(self, plan: ListeningLinePlan) -> None:
        port = plan.bus.endpoint
        endpoint = build_endpoint(plan, self._channels)
        listener = BusListener(plan.bus_id, LISTENERS[port.kind](port), endpoint, self._listen_sink)
        self._ready[plan.bus_id] = lambda: self._tasks.start(plan.bus_id, listener.run())

    def _after_poll(self, plan: PolledLinePlan) -> Callable[[], None]:
        """What a line does after each poll: it keeps what was learnt, and shows that it lives."""
        part = _part(plan.bus_id)
        longest_s = max((device.interval_s for device in plan.devices), default=0.0)
        self._liveness.expect(part, line_limit_s(longest_s), time.monotonic())

        def after_poll() -> None:
            self._limits.save()
            show_life(self._liveness, part)

        return after_poll


def _part(bus_id: str) -> str:
    return f"bus/{bus_id}"
