"""Configuration + profiles → what runs: channels with aliases, and the devices to poll on each bus. Pure.

Nodes of one bus that share a Modbus device id and a poll interval are polled together, in as few requests as
their registers allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.channel_table import ChannelTable
from edge_agent.configuration import (
    AgentSettings,
    BusSettings,
    ModbusNodeSettings,
    ModbusTcpBusSettings,
    ProfileLibrary,
    SerialFrameBusSettings,
)
from edge_agent.device_poll import Device, FrameDevice, ModbusDevice
from edge_agent.profile import ModbusProfile, SerialFrameProfile


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """A device to poll, and what its watch must know."""

    name: str
    device: Device
    interval_s: float
    bad_repeat_s: Mapping[int, float]
    """By alias."""


@dataclass(frozen=True, slots=True)
class BusPlan:
    """A bus with its devices."""

    settings: BusSettings
    """Without its nodes: `devices` is made of them."""
    devices: tuple[DevicePlan, ...]


def plan_agent(
    settings: AgentSettings, profiles: ProfileLibrary, folder: Path
) -> tuple[ChannelTable, tuple[BusPlan, ...]]:
    """Gives every channel its alias and every bus its devices.

    Args:
        settings: the configuration.
        profiles: all known profiles.
        folder: what a serial port's path is relative to.
    """
    channels = ChannelTable()
    return channels, tuple(plan_bus(locate_port(bus, folder), profiles, channels) for bus in settings.bus)


def locate_port(bus: BusSettings, folder: Path) -> BusSettings:
    """The bus with the whole path of its serial port, if it has one."""
    if isinstance(bus, ModbusTcpBusSettings):
        return bus
    return bus.model_copy(update={"port": str(folder / bus.port)})


def plan_bus(bus: BusSettings, profiles: ProfileLibrary, channels: ChannelTable) -> BusPlan:
    """The devices of one bus, in the order of the configuration."""
    if isinstance(bus, SerialFrameBusSettings):
        return BusPlan(bus.model_copy(update={"node": ()}), _plan_frame_devices(bus, profiles, channels))
    groups: dict[tuple[int, float], list[ModbusNodeSettings]] = {}
    for node in bus.node:
        groups.setdefault((node.device_id, node.poll_interval_s), []).append(node)
    devices = []
    for (device_id, interval_s), nodes in groups.items():
        parts = []
        bad_repeat_s: dict[int, float] = {}
        for node in nodes:
            profile = profiles[node.profile]
            assert isinstance(profile, ModbusProfile)  # checked with the configuration
            aliases = _aliases(bus.bus_id, node.node_id, profile, channels)
            bad_repeat_s |= dict.fromkeys(aliases.values(), node.bad_repeat_s)
            parts.append((node, profile, aliases))
        name = nodes[0].node_id if len(nodes) == 1 else f"device_id-{device_id}"
        devices.append(DevicePlan(name, ModbusDevice(device_id, parts), interval_s, bad_repeat_s))
    return BusPlan(bus.model_copy(update={"node": ()}), tuple(devices))


def _plan_frame_devices(
    bus: SerialFrameBusSettings, profiles: ProfileLibrary, channels: ChannelTable
) -> tuple[DevicePlan, ...]:
    devices = []
    for node in bus.node:
        profile = profiles[node.profile]
        assert isinstance(profile, SerialFrameProfile)  # checked with the configuration
        aliases = _aliases(bus.bus_id, node.node_id, profile, channels)
        repeat_s = dict.fromkeys(aliases.values(), node.bad_repeat_s)
        device = FrameDevice(node, profile, aliases)
        devices.append(DevicePlan(node.node_id, device, node.poll_interval_s, repeat_s))
    return tuple(devices)


def _aliases(
    bus_id: str, node_id: str, profile: ModbusProfile | SerialFrameProfile, channels: ChannelTable
) -> dict[str, int]:
    return {channel.quantity: channels.add(bus_id, node_id, channel.quantity) for channel in profile.channel}
