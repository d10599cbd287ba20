"""Configuration + profiles → the plan of what is to run. Pure.

Nodes of one bus that share a Modbus device id and a poll interval are polled together, in as few requests as
their registers allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

from edge_agent.agent_plan import AgentPlan, DevicePlan, FrameDevicePlan, LinePlan, ListeningLinePlan, PolledLinePlan
from edge_agent.lines.listen_configuration import ListeningBusSettings, SerialEndpointSettings
from edge_agent.modbus.modbus_device_plan import ModbusDevicePlan
from edge_agent.modbus.register_plan import SERIAL_REQUEST_COST, TCP_REQUEST_COST
from edge_agent.modbus.register_profile import ModbusProfile
from edge_agent.outputs.actuator import Actuator
from edge_agent.outputs.plan_outputs import check_conditions
from edge_agent.settings.configuration import (
    AgentSettings,
    AnyBusSettings,
    BusSettings,
    FrameNodeSettings,
    ModbusNodeSettings,
    ModbusRtuBusSettings,
    ModbusTcpBusSettings,
    ProfileLibrary,
)
from edge_agent.settings.line_settings import (
    LineSettings,
    ModbusRtuLineSettings,
    ModbusTcpLineSettings,
    SerialFrameLineSettings,
)
from edge_agent.settings.plan_modbus import ModbusPlanner
from edge_agent.settings.plan_report import plan_report
from edge_agent.settings.profile import SerialFrameProfile, WaveformProfile
from edge_agent.waveform.plan_waveform import plan_waveform_device
from edge_agent.waveform.waveform_plan import WaveformDevicePlan

LineT = TypeVar("LineT", ModbusTcpLineSettings, ModbusRtuLineSettings, SerialFrameLineSettings)


def plan_agent(settings: AgentSettings, profiles: ProfileLibrary, folder: Path) -> AgentPlan:
    """The plan of a whole configuration.

    Args:
        settings: the configuration.
        profiles: all known profiles.
        folder: what a serial port's path is relative to.

    Raises:
        ConfigurationError: a local output is on a channel that this gateway does not have.
    """
    planner = ModbusPlanner()
    lines = tuple(_plan_line(bus, profiles, folder, planner) for bus in settings.bus)
    check_conditions(settings.output, {name for line in lines for name in line.channel_names()})
    return AgentPlan(
        gateway=settings.gateway,
        mqtt=settings.mqtt,
        spool=settings.spool,
        audit=settings.audit,
        fall_back_after_s=settings.configuration.fall_back_after_s,
        lines=lines,
        actuators=tuple(plan_actuators(settings)),
        outputs=settings.output,
        line_digests={line.bus_id: hashlib.sha256(repr(line).encode()).digest() for line in lines},
    )


def plan_polled_line(
    bus: BusSettings, profiles: ProfileLibrary, folder: Path, planner: ModbusPlanner | None = None
) -> PolledLinePlan:
    """One line whose devices we ask, with them in the order of the configuration."""
    devices: list[DevicePlan]
    if isinstance(bus, ModbusTcpBusSettings | ModbusRtuBusSettings):
        devices = [*_plan_modbus_devices(bus, profiles, planner or ModbusPlanner()), *_plan_loggers(bus, profiles)]
    else:
        devices = [_plan_frame_device(node, profiles) for node in bus.node]
    return PolledLinePlan(plan_line_settings(bus, folder), tuple(devices))


def plan_line_settings(bus: BusSettings, folder: Path) -> LineSettings:
    """What a bus's driver must know: the bus without its nodes, with the whole path of its serial port."""
    if isinstance(bus, ModbusTcpBusSettings):
        return _without_nodes(ModbusTcpLineSettings, bus)
    port = str(folder / bus.port)
    if isinstance(bus, ModbusRtuBusSettings):
        return replace(_without_nodes(ModbusRtuLineSettings, bus), port=port)
    return replace(_without_nodes(SerialFrameLineSettings, bus), port=port)


def plan_listening_line(bus: ListeningBusSettings, folder: Path) -> ListeningLinePlan:
    """One line whose stations call us."""
    if isinstance(bus.endpoint, SerialEndpointSettings):
        bus = replace(bus, endpoint=replace(bus.endpoint, port=str(folder / bus.endpoint.port)))
    return ListeningLinePlan(bus)


def plan_actuators(settings: AgentSettings) -> list[Actuator]:
    """All declared actuators, in the order of the configuration."""
    return [
        Actuator(bus.bus_id, node.node_id, node.device_id, actuator)
        for bus in settings.bus
        for node in bus.node
        if isinstance(node, ModbusNodeSettings)
        for actuator in node.actuator
    ]


def _plan_line(bus: AnyBusSettings, profiles: ProfileLibrary, folder: Path, planner: ModbusPlanner) -> LinePlan:
    if isinstance(bus, ListeningBusSettings):
        return plan_listening_line(bus, folder)
    return plan_polled_line(bus, profiles, folder, planner)


def _without_nodes(line: type[LineT], bus: LineT) -> LineT:
    return line(**{one.name: getattr(bus, one.name) for one in fields(line)})


def _plan_modbus_devices(
    bus: ModbusTcpBusSettings | ModbusRtuBusSettings, profiles: ProfileLibrary, planner: ModbusPlanner
) -> list[ModbusDevicePlan]:
    groups: dict[tuple[int, float], list[tuple[ModbusNodeSettings, ModbusProfile]]] = {}
    for node in bus.node:
        profile = profiles[node.profile]
        if isinstance(profile, WaveformProfile):
            continue
        assert isinstance(profile, ModbusProfile)  # checked with the configuration
        groups.setdefault((node.device_id, node.poll_interval_s), []).append((node, profile.fitted(node.measures)))
    request_cost = TCP_REQUEST_COST if isinstance(bus, ModbusTcpBusSettings) else SERIAL_REQUEST_COST
    return [planner.plan_device(device_id, nodes, request_cost) for (device_id, _), nodes in groups.items()]


def _plan_loggers(
    bus: ModbusTcpBusSettings | ModbusRtuBusSettings, profiles: ProfileLibrary
) -> Iterator[WaveformDevicePlan]:
    for node in bus.node:
        profile = profiles[node.profile]
        if isinstance(profile, WaveformProfile):
            ranges = {channel.quantity: channel.range for channel in profile.channel}
            report = {name: plan_report(rule, ranges[name]) for name, rule in node.report.items()}
            yield plan_waveform_device(node, profile, report)


def _plan_frame_device(node: FrameNodeSettings, profiles: ProfileLibrary) -> FrameDevicePlan:
    profile = profiles[node.profile]
    assert isinstance(profile, SerialFrameProfile)  # checked with the configuration
    profile = profile.limited_to(node.quantities)
    return FrameDevicePlan(
        name=node.node_id,
        interval_s=node.poll_interval_s,
        profile=profile,
        calibration=node.calibration,
        bad_repeat_s=node.bad_repeat_s,
        report={
            channel.quantity: plan_report(node.report[channel.quantity], channel.range)
            for channel in profile.channel
            if channel.quantity in node.report
        },
    )
