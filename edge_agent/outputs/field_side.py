"""Puts together all that acts on the field (shell, as its parts are): actuators, local outputs, audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_agent.channel_table import ChannelTable
from edge_agent.lines.listen_bus import ListenSink
from edge_agent.lines.report_filter import Sink
from edge_agent.outputs.actuator import Actuator
from edge_agent.outputs.audit_log import AuditLog
from edge_agent.outputs.field_control import BusWriter, FieldControl
from edge_agent.outputs.local_alarm import LocalAlarms
from edge_agent.outputs.plan_outputs import plan_actuators, plan_conditions
from edge_agent.outputs.switch_outputs import ListenOutputSink, OutputSink, OutputSwitcher
from edge_agent.settings.configuration import AgentSettings


class FieldSide:
    """What this gateway may switch."""

    def __init__(self, settings: AgentSettings, channels: ChannelTable, folder: Path) -> None:
        """Plans it; nothing is switched yet. Raises ConfigurationError.

        Args:
            settings: the configuration.
            channels: all channels, with their aliases.
            folder: what relative paths are relative to.
        """
        actuators = plan_actuators(settings)
        self.audit = AuditLog(folder / settings.audit.path, settings.audit.max_bytes)
        self._writers: dict[str, BusWriter] = {}
        self.control = FieldControl(actuators, self._writers, self.audit)
        self.actuator_names = _names_by_bus(actuators)
        self.switchers = {
            output.output_id: OutputSwitcher(output, self.control, self.audit, folder) for output in settings.output
        }
        self._channels = channels
        self._alarms = LocalAlarms(plan_conditions(settings.output, channels))

    def sink_before(self, sink: Sink) -> Sink:
        """A sink that steps the local alarms first; the given one if there are none."""
        if not self.switchers:
            return sink
        return OutputSink(self._alarms, self.switchers, self._channels, sink)

    def listen_sink_before(self, sink: ListenSink) -> ListenSink:
        """The same for a bus that listens."""
        if not self.switchers:
            return sink
        return ListenOutputSink(self._alarms, self.switchers, self._channels, sink)

    def connect(self, writers: Mapping[str, BusWriter]) -> None:
        """The lines that can be written to, by bus id."""
        self._writers.update(writers)


def _names_by_bus(actuators: Sequence[Actuator]) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for actuator in actuators:
        names[actuator.bus_id] = (*names.get(actuator.bus_id, ()), actuator.metric_name)
    return names
