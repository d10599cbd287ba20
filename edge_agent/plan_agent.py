"""Configuration + profiles → what runs: channels with aliases, and the devices to poll on each bus. Pure.

Nodes of one bus that share a Modbus device id and a poll interval are polled together, in as few requests as
their registers allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.channel_table import ChannelTable
from edge_agent.lines.device_poll import Device, FrameDevice, ModbusDevice
from edge_agent.lines.listen_configuration import ListeningBusSettings
from edge_agent.lines.report_filter import ReportRule
from edge_agent.modbus.register_limits import LimitMemory
from edge_agent.modbus.register_plan import SERIAL_REQUEST_COST, TCP_REQUEST_COST
from edge_agent.settings.configuration import (
    AgentSettings,
    BusSettings,
    FrameNodeSettings,
    ModbusNodeSettings,
    ModbusTcpBusSettings,
    NodeSettings,
    ProfileLibrary,
    SerialFrameBusSettings,
)
from edge_agent.settings.profile import ModbusProfile, SerialFrameProfile


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """A device to poll, and what its watch must know."""

    name: str
    device: Device
    interval_s: float
    bad_repeat_s: Mapping[int, float]
    """By alias."""
    report: Mapping[int, ReportRule]
    """By alias; channels that are always reported stand not in it."""


@dataclass(frozen=True, slots=True)
class BusPlan:
    """A bus with its devices."""

    settings: BusSettings
    """Without its nodes: `devices` is made of them."""
    devices: tuple[DevicePlan, ...]


def plan_agent(
    settings: AgentSettings, profiles: ProfileLibrary, folder: Path, memory: LimitMemory | None = None
) -> tuple[ChannelTable, tuple[BusPlan, ...]]:
    """Gives every channel of the polled buses its alias and every bus its devices; `plan_listeners` does the others.

    Args:
        settings: the configuration.
        profiles: all known profiles.
        folder: what a serial port's path is relative to.
        memory: what Modbus devices are known to refuse.
    """
    channels = ChannelTable()
    kept = LimitMemory() if memory is None else memory
    polled = [bus for bus in settings.bus if not isinstance(bus, ListeningBusSettings)]
    return channels, tuple(plan_bus(locate_port(bus, folder), profiles, channels, kept) for bus in polled)


def locate_port(bus: BusSettings, folder: Path) -> BusSettings:
    """The bus with the whole path of its serial port, if it has one."""
    if isinstance(bus, ModbusTcpBusSettings):
        return bus
    return bus.model_copy(update={"port": str(folder / bus.port)})


def plan_bus(bus: BusSettings, profiles: ProfileLibrary, channels: ChannelTable, memory: LimitMemory) -> BusPlan:
    """The devices of one bus, in the order of the configuration."""
    if isinstance(bus, SerialFrameBusSettings):
        devices = [_plan_frame_device(bus.bus_id, node, profiles, channels) for node in bus.node]
        return BusPlan(bus.model_copy(update={"node": ()}), tuple(devices))
    request_cost = TCP_REQUEST_COST if isinstance(bus, ModbusTcpBusSettings) else SERIAL_REQUEST_COST
    groups: dict[tuple[int, float], list[ModbusNodeSettings]] = {}
    for node in bus.node:
        groups.setdefault((node.device_id, node.poll_interval_s), []).append(node)
    devices = []
    for (device_id, interval_s), nodes in groups.items():
        parts = []
        bad_repeat_s: dict[int, float] = {}
        report: dict[int, ReportRule] = {}
        for node in nodes:
            profile = profiles[node.profile]
            assert isinstance(profile, ModbusProfile)  # checked with the configuration
            fitted = profile.fitted(node.measures)
            aliases = _aliases(bus.bus_id, node.node_id, fitted, channels)
            bad_repeat_s |= dict.fromkeys(aliases.values(), node.bad_repeat_s)
            report |= _report_rules(node, fitted, aliases)
            parts.append((node, fitted, aliases))
        name = nodes[0].node_id if len(nodes) == 1 else f"device_id-{device_id}"
        device = ModbusDevice(device_id, parts, memory, request_cost)
        devices.append(DevicePlan(name, device, interval_s, bad_repeat_s, report))
    return BusPlan(bus.model_copy(update={"node": ()}), tuple(devices))


def _plan_frame_device(
    bus_id: str, node: FrameNodeSettings, profiles: ProfileLibrary, channels: ChannelTable
) -> DevicePlan:
    profile = profiles[node.profile]
    assert isinstance(profile, SerialFrameProfile)  # checked with the configuration
    profile = profile.limited_to(node.quantities)
    aliases = _aliases(bus_id, node.node_id, profile, channels)
    repeat_s = dict.fromkeys(aliases.values(), node.bad_repeat_s)
    report = _report_rules(node, profile, aliases)
    return DevicePlan(node.node_id, FrameDevice(node, profile, aliases), node.poll_interval_s, repeat_s, report)


def _aliases(
    bus_id: str, node_id: str, profile: ModbusProfile | SerialFrameProfile, channels: ChannelTable
) -> dict[str, int]:
    return {channel.quantity: channels.add(bus_id, node_id, channel.quantity) for channel in profile.channel}


def _report_rules(
    node: NodeSettings, profile: ModbusProfile | SerialFrameProfile, aliases: Mapping[str, int]
) -> dict[int, ReportRule]:
    """The node's rules by alias, with percentages turned into the quantity's unit."""
    rules = {}
    for channel in profile.channel:
        settings = node.report.get(channel.quantity)
        if settings is None:
            continue
        low, high = channel.range or (0.0, 0.0)  # a percentage without a range is a fault of the configuration
        percent_width = (high - low) / 100.0
        deadband = (
            (settings.deadband_percent or 0.0) * percent_width if settings.deadband is None else settings.deadband
        )
        rules[aliases[channel.quantity]] = ReportRule(deadband, settings.max_silence_s)
    return rules
