"""Puts the poller of one bus together (shell, as the drivers are): devices, their memories, the line's driver."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.drivers import DRIVERS
from edge_agent.lines.bus_schedule import DeviceRhythm
from edge_agent.lines.device_watch import DeviceWatch
from edge_agent.lines.poll_bus import BusPoller, PolledDevice
from edge_agent.lines.report_filter import Sink
from edge_agent.plan_agent import BusPlan

SILENCE_TIMEOUTS = 1.1
"""A question that nobody answers takes its time-out and a little for the question itself."""


def build_poller(plan: BusPlan, sink: Sink, after_poll: Callable[[], None]) -> BusPoller:
    """The poller of a bus.

    Args:
        plan: its devices.
        sink: takes every reading.
        after_poll: called after each poll; to keep what was learnt.
    """
    bus = plan.settings
    devices = [
        PolledDevice(
            device.name,
            device.device,
            DeviceWatch(device.bad_repeat_s),
            DeviceRhythm(device.interval_s, bus.probe_max_s),
        )
        for device in plan.devices
    ]
    return BusPoller(bus.bus_id, DRIVERS[bus.kind](bus), devices, sink, SILENCE_TIMEOUTS * bus.timeout_s, after_poll)
