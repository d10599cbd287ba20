"""What the agent is to do, as plain objects. Pure.

A plan is made of the configuration and the profiles by a process that ends, and handed to the one that runs
(`plan_process`). It holds nothing that must be checked any more, and no alias: channels get theirs from the process
that runs, and keep them when another plan is applied. A line whose plan is the same keeps polling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edge_agent.lines.report_filter import ReportRule
from edge_agent.modbus.modbus_device_plan import ModbusDevicePlan
from edge_agent.outputs.actuator import Actuator
from edge_agent.outputs.output_settings import OutputSettings
from edge_agent.settings.line_settings import LineSettings
from edge_agent.settings.uplink_settings import AuditSettings, GatewaySettings, MqttSettings, SpoolSettings
from edge_agent.waveform.waveform_plan import WaveformDevicePlan

if TYPE_CHECKING:  # what follows is loaded with a plan that holds it, and weighs nothing else
    from edge_agent.frames.frame_profile import SerialFrameProfile
    from edge_agent.lines.calibration import Calibration
    from edge_agent.lines.listen_configuration import ListeningBusSettings

ChannelName = tuple[str, str]
"""(node_id, quantity)."""


@dataclass(frozen=True, slots=True)
class FrameDevicePlan:
    """A sensor that sends frames."""

    name: str
    """Its node_id."""
    interval_s: float
    profile: SerialFrameProfile
    """Limited to the quantities that this sensor has."""
    calibration: Mapping[str, Calibration]
    """By quantity; goes before the profile's."""
    bad_repeat_s: float
    report: Mapping[str, ReportRule]
    """By quantity; those that are always reported stand not in it."""

    def channel_names(self) -> Iterator[ChannelName]:
        """In the order of the outcomes of a poll."""
        return ((self.name, channel.quantity) for channel in self.profile.channel)

    def bad_repeats_s(self) -> Iterator[float]:
        """For each channel: a value that stays missing is told again after this time."""
        return (self.bad_repeat_s for _ in self.profile.channel)

    def reports(self) -> Iterator[ReportRule | None]:
        """For each channel: when its value is worth sending; None: always."""
        return (self.report.get(channel.quantity) for channel in self.profile.channel)


DevicePlan = ModbusDevicePlan | FrameDevicePlan | WaveformDevicePlan


@dataclass(frozen=True, slots=True)
class PolledLinePlan:
    """A line whose devices we ask."""

    settings: LineSettings
    """A serial port with its whole path."""
    devices: tuple[DevicePlan, ...]

    @property
    def bus_id(self) -> str:
        """Sparkplug device id."""
        return self.settings.bus_id

    def channel_names(self) -> Iterator[ChannelName]:
        """All channels of the line."""
        return (name for device in self.devices for name in device.channel_names())


@dataclass(frozen=True, slots=True)
class ListeningLinePlan:
    """A line whose stations call us."""

    bus: ListeningBusSettings
    """A serial port with its whole path."""

    @property
    def bus_id(self) -> str:
        """Sparkplug device id."""
        return self.bus.bus_id

    def channel_names(self) -> Iterator[ChannelName]:
        """All channels of the line."""
        return ((node.node_id, quantity) for node in self.bus.node for quantity in node.quantities())


LinePlan = PolledLinePlan | ListeningLinePlan


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """The whole configuration, ready to be carried out."""

    gateway: GatewaySettings
    mqtt: MqttSettings
    spool: SpoolSettings
    audit: AuditSettings
    fall_back_after_s: float
    """Data that flowed before and have stopped for so long: back to the last configuration that was good."""
    lines: tuple[LinePlan, ...]
    actuators: tuple[Actuator, ...] = ()
    outputs: tuple[OutputSettings, ...] = ()
    line_digests: Mapping[str, bytes] = field(default_factory=dict)
    """By bus: the same for lines that are the same. What runs keeps these in place of `lines`."""

    def channel_names(self) -> Iterator[ChannelName]:
        """All channels of the gateway."""
        return (name for line in self.lines for name in line.channel_names())

    def without_lines(self) -> AgentPlan:
        """What is kept of a plan that runs."""
        return replace(self, lines=())
