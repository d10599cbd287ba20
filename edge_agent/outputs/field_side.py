"""Puts together all that acts on the field (shell, as its parts are): actuators, local outputs, audit log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_agent.agent_plan import AgentPlan
from edge_agent.channel_table import ChannelTable, Reading
from edge_agent.lines.listen_bus import ListenSink
from edge_agent.lines.report_filter import Sink
from edge_agent.outputs.actuator import Actuator
from edge_agent.outputs.audit_log import AuditLog
from edge_agent.outputs.device_return import DeviceReturns
from edge_agent.outputs.field_control import BusWriter, FieldControl
from edge_agent.outputs.keep_alarms import AlarmFile
from edge_agent.outputs.local_alarm import LocalAlarms
from edge_agent.outputs.output_settings import OutputSettings
from edge_agent.outputs.plan_outputs import plan_conditions, plan_returns
from edge_agent.outputs.switch_outputs import ListenOutputSink, OutputSink, OutputSwitcher
from edge_agent.task_set import TaskSet

AFTER_START: Final = "was on before the agent started anew"
AFTER_RETURN: Final = "a device that it writes to is back"

AFTER_CHANGE: Final = "was on before its declaration changed"

_log = logging.getLogger(__name__)


class FieldSide:
    """What this gateway may switch."""

    def __init__(self, plan: AgentPlan, channels: ChannelTable, folder: Path) -> None:
        """Plans it; nothing is switched yet. Raises ConfigurationError.

        Args:
            plan: with its outputs and actuators.
            channels: all channels, with their aliases.
            folder: what relative paths are relative to.
        """
        self.audit = AuditLog(folder / plan.audit.path, plan.audit.max_bytes)
        self.writers: dict[str, BusWriter] = {}
        """The lines that can be written to, by bus id."""
        self.control = FieldControl(plan.actuators, self.writers, self.audit)
        self.actuator_names: dict[str, tuple[str, ...]] = names_by_bus(plan.actuators)
        """By bus: the metric names that take commands."""
        self._channels = channels
        self._folder = folder
        self._tasks = TaskSet()
        self._outputs: dict[str, OutputSettings] = {}
        self._switchers: dict[str, OutputSwitcher] = {}
        self._alarms = LocalAlarms(plan_conditions(plan.outputs, channels))
        self._returns = DeviceReturns(plan_returns(plan.outputs, channels))
        self._is_running = False
        self._build_switchers(plan.outputs)
        spool_path = folder / plan.spool.path
        self._file = AlarmFile(spool_path.with_name(f"{spool_path.stem}.local-alarms.json"))
        for output_id in self._alarms.restore(self._file.read()):
            _log.warning("output_restored output_id=%s is_on=True", output_id)
            self._switchers[output_id].switch(True, AFTER_START)

    def replace(self, plan: AgentPlan) -> None:
        """Other outputs and actuators from now on; what is the same goes on as it is. Raises ConfigurationError.

        An output that is no more is left as it stands.
        """
        conditions = plan_conditions(plan.outputs, self._channels)
        self.control.replace(plan.actuators)
        self.actuator_names.clear()
        self.actuator_names.update(names_by_bus(plan.actuators))
        self._alarms.replace(conditions)
        self._returns = DeviceReturns(plan_returns(plan.outputs, self._channels))
        self._build_switchers(plan.outputs)
        self._file.note_change()

    async def run(self) -> None:
        """Switches outputs and keeps the state of alarms, until cancelled."""
        self._is_running = True
        self._tasks.start("local-alarms", self._file.run(self._alarms))
        for output_id, switcher in self._switchers.items():
            self._tasks.start(_task_name(output_id), switcher.run())
        try:
            await self._tasks.watch()
        finally:
            await self._tasks.stop_all()

    def sink_before(self, sink: Sink) -> Sink:
        """A sink that steps the local alarms first."""
        return OutputSink(self._take, sink)

    def listen_sink_before(self, sink: ListenSink) -> ListenSink:
        """The same for a bus that listens."""
        return ListenOutputSink(self._take, sink)

    def _take(self, readings: list[Reading]) -> None:
        before = self._alarms.revision
        for switch in self._alarms.take(readings):
            name = self._channels[switch.alias].metric_name
            why = f"{name} was {switch.value:g} at {switch.phenomenon_ns} ns"
            self._switchers[switch.output_id].switch(switch.is_on, why)
        for output_id in self._returns.take(readings):
            self._switchers[output_id].assert_again(AFTER_RETURN)
        if self._alarms.revision != before:
            self._file.note_change()

    def _build_switchers(self, outputs: Sequence[OutputSettings]) -> None:
        """Builds those that are new or different; while the agent runs, they begin at once where they stood."""
        wanted = {output.output_id: output for output in outputs}
        for output_id in [one for one, settings in self._outputs.items() if wanted.get(one) != settings]:
            del self._switchers[output_id]
            self._tasks.cancel(_task_name(output_id))
        for output_id, output in wanted.items():
            if output_id in self._switchers:
                continue
            switcher = self._switchers[output_id] = OutputSwitcher(output, self.control, self.audit, self._folder)
            if self._is_running:
                self._tasks.start(_task_name(output_id), switcher.run())
                if self._alarms.is_on(output_id):
                    switcher.switch(True, AFTER_CHANGE)
        self._outputs = wanted


def _task_name(output_id: str) -> str:
    return f"output/{output_id}"


def names_by_bus(actuators: Sequence[Actuator]) -> dict[str, tuple[str, ...]]:
    """By bus: the metric names of its actuators."""
    names: dict[str, tuple[str, ...]] = {}
    for actuator in actuators:
        names[actuator.bus_id] = (*names.get(actuator.bus_id, ()), actuator.metric_name)
    return names
