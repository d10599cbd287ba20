"""A serial line's capacity: the poller takes at least 90 % of what the wire allows, and never hurries the devices.

What the wire allows is reckoned from the standard, without any time for the device's thinking or ours: both frames at
11 bits a character, and a silence of 3.5 characters (1.75 ms above 19,200 baud) after each. See tests/timed_line.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from contracts.configuration import check_settings
from edge_agent.channel_table import ChannelTable, Reading
from edge_agent.lines.build_poller import build_line, build_poller
from edge_agent.plan_agent import plan_polled_line
from edge_agent.settings.configuration import ModbusRtuBusSettings
from edge_agent.settings.profile import ModbusProfile
from tests import timed_line
from tests.timed_line import WireTime

TAKEN_OF_WIRE = 0.9
WARM_UP_POLLS = 3
TRIES = 3
"""On a machine with other work a poll may wait for a processor, which is neither the wire's time nor the agent's: the
quickest quarter of the polls counts, of the best of these tries. What the agent adds, it adds to every poll."""
COUNTER = ModbusProfile.model_validate(
    {
        "protocol": "modbus",
        "title": "a register that holds its address",
        "source": "made up for this test",
        "channel": [{"quantity": "pressure", "address": 0, "type": "u16"}],
        "repeat": [{"base": 0, "first": 0, "last": 999}],
    }
)


class Polls:
    """A sink that notes when polls ended."""

    def __init__(self) -> None:
        self.at_s: list[float] = []
        self.values: set[float | None] = set()

    def put(self, bus_id: str, readings: list[Reading]) -> None:
        self.at_s.append(time.monotonic())
        self.values |= {value for _, _, value, _ in readings}

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        pass


@contextlib.contextmanager
def timed_device(baud_rate: int) -> Iterator[tuple[str, list[dict]]]:
    """The port, and a list that takes the device's report at the end."""
    command = [sys.executable, timed_line.__file__, str(baud_rate)]
    reports: list[dict] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), reports
        finally:
            process.stdin.close()
            reports.append(json.loads(process.stdout.read()))


async def poll(port: str, baud_rate: int, registers: int, polls: int) -> Polls:
    """Polls more often than the line can carry."""
    nodes = [
        {"node_id": f"n{device}-{place}", "profile": "counter", "device_id": device, "channel_index": place}
        | {"poll_interval_s": 0.01}
        for device in (1, 2, 3)
        for place in range(registers)
    ]
    bus = {"bus_id": "b", "kind": "modbus_rtu", "port": port, "baud_rate": baud_rate, "timeout_s": 2.0, "node": nodes}
    settings = check_settings(ModbusRtuBusSettings, bus, "test")
    sink = Polls()
    line = build_line(plan_polled_line(settings, {"counter": COUNTER}, Path("/")), ChannelTable(), None)
    task = asyncio.create_task(build_poller(line, sink, lambda: None).run())
    deadline_s = time.monotonic() + 15.0
    while len(sink.at_s) < polls:
        assert time.monotonic() < deadline_s, f"only {len(sink.at_s)} of {polls} polls in 15 s"
        await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    return sink


@pytest.mark.parametrize("registers", [10, 50, 125])
@pytest.mark.parametrize("baud_rate", [9600, 115_200])
def test_a_poller_takes_nine_tenths_of_what_the_wire_allows(baud_rate, registers):
    allowed_s = WireTime(baud_rate).cycle_s(registers)
    polls = min(100, max(10, int(1.5 / allowed_s)))
    taken = []
    for _ in range(TRIES):
        with timed_device(baud_rate) as (port, reports):
            sink = asyncio.run(poll(port, baud_rate, registers, polls))
        assert sink.values == set(map(float, range(registers)))
        assert reports[0]["hurried"] == 0, f"the line must be silent between frames: {reports[0]}"
        ends_s = sink.at_s[WARM_UP_POLLS:]
        periods_s = [later - earlier for earlier, later in pairwise(ends_s)]
        taken.append(allowed_s / statistics.quantiles(periods_s, n=4)[0])
        if taken[-1] >= TAKEN_OF_WIRE:
            return
    pytest.fail(f"of the {allowed_s * 1e3:.2f} ms that a poll takes at least: {[f'{one:.0%}' for one in taken]}")
