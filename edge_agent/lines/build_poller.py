"""Puts the poller of one line together (shell, as the drivers are): devices, their memories, the line's driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from edge_agent.agent_plan import DevicePlan, FrameDevicePlan, PolledLinePlan
from edge_agent.channel_table import ChannelTable
from edge_agent.drivers import DRIVERS
from edge_agent.lines.bus_schedule import DeviceRhythm
from edge_agent.lines.device_poll import Device
from edge_agent.lines.device_watch import DeviceWatch
from edge_agent.lines.poll_bus import BusPoller, PolledDevice, Watch
from edge_agent.lines.report_filter import ReportRule, Sink
from edge_agent.modbus.modbus_device import ModbusDevice
from edge_agent.modbus.modbus_device_plan import ModbusDevicePlan
from edge_agent.modbus.register_limits import LimitMemory
from edge_agent.waveform.waveform_block import KeepBlocks, WaveformBlock
from edge_agent.waveform.waveform_plan import WaveformDevicePlan

SILENCE_TIMEOUTS = 1.1
"""A question that nobody answers takes its time-out and a little for the question itself."""


@dataclass(frozen=True, slots=True)
class BuiltLine:
    """A line's devices with their aliases."""

    plan: PolledLinePlan
    devices: tuple[Device, ...]
    """One for each of the plan."""

    def report_rules(self) -> dict[int, ReportRule]:
        """By alias; channels that are always reported stand not in it."""
        return {
            alias: rule
            for device, plan in zip(self.devices, self.plan.devices, strict=True)
            for alias, rule in zip(device.aliases, plan.reports(), strict=True)
            if rule is not None
        }


def build_line(plan: PolledLinePlan, channels: ChannelTable, memory: LimitMemory | None = None) -> BuiltLine:
    """Gives every channel of a line its alias, and builds its devices.

    Args:
        plan: of the line.
        channels: gets the channels; those that it has already keep their aliases.
        memory: what Modbus devices are known to refuse.
    """
    kept = LimitMemory() if memory is None else memory
    devices: list[Device] = []
    for device in plan.devices:
        aliases = [channels.add(plan.bus_id, *name) for name in device.channel_names()]
        if isinstance(device, WaveformDevicePlan):
            blocks = [channels.add(plan.bus_id, *name) for name in device.waveform_names()]
            devices.append(build_logger(device, aliases, blocks))
        else:
            devices.append(build_device(device, aliases, kept))
    return BuiltLine(plan, tuple(devices))


def build_logger(plan: WaveformDevicePlan, aliases: Sequence[int], block_aliases: Sequence[int]) -> Device:
    """A logger with waveforms; it is loaded only where there is one."""
    from edge_agent.waveform.waveform_device import WaveformDevice  # noqa: PLC0415

    return WaveformDevice(plan, aliases, block_aliases)


def build_device(plan: ModbusDevicePlan | FrameDevicePlan, aliases: Sequence[int], memory: LimitMemory) -> Device:
    """The device of a plan; `aliases` in the order of its channels."""
    if isinstance(plan, ModbusDevicePlan):
        return ModbusDevice(plan, aliases, memory)
    from edge_agent.frames.frame_device import FrameDevice  # noqa: PLC0415  # only where there is such a sensor

    return FrameDevice(plan.profile, plan.calibration, aliases)


def build_watch(plan: DevicePlan, device: Device, keep_blocks: KeepBlocks) -> Watch:
    """What the polls of a device become."""
    failures = DeviceWatch(dict(zip(device.aliases, plan.bad_repeats_s(), strict=True)))
    if not isinstance(plan, WaveformDevicePlan):
        return failures
    from edge_agent.waveform.waveform_device import WaveformDevice  # noqa: PLC0415  # likewise
    from edge_agent.waveform.waveform_watch import build_waveform_watch  # noqa: PLC0415

    assert isinstance(device, WaveformDevice)  # built of the same plan
    return build_waveform_watch(plan, device, failures, keep_blocks)


def build_poller(
    line: BuiltLine,
    sink: Sink,
    after_poll: Callable[[], None],
    keep_waveforms: Callable[[str, list[WaveformBlock]], None] = lambda _bus_id, _blocks: None,
) -> BusPoller:
    """The poller of a line.

    Args:
        line: its devices.
        sink: takes every reading.
        after_poll: called after each poll; to keep what was learnt.
        keep_waveforms: takes every block of a waveform.
    """
    settings = line.plan.settings
    devices = [
        PolledDevice(
            plan.name,
            device,
            build_watch(plan, device, partial(keep_waveforms, settings.bus_id)),
            DeviceRhythm(plan.interval_s, settings.probe_max_s),
        )
        for device, plan in zip(line.devices, line.plan.devices, strict=True)
    ]
    driver = DRIVERS[settings.kind](settings)
    return BusPoller(settings.bus_id, driver, devices, sink, SILENCE_TIMEOUTS * settings.timeout_s, after_poll)
