"""What a running agent keeps: lines that did not change, its size, and alarms over a restart; with real servers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.benchmarks.agent_bench import devices, write_agent_files
from tests.conformance.conftest import _running_mosquitto, wait_until
from tests.modbus_field import ModbusField
from tests.mqtt_probe import free_port

ROOT = Path(__file__).parents[2]
RESIDENT_MAX_MB = 50.0
"""Issue 6, with 100 devices x 100 registers; measured: 45 to 48 (docs/benchmarks.md)."""
HEAD = """
[gateway]
gateway_id = "gw-1"
district_id = "harbour"
[mqtt]
port = 1
[spool]
path = "spool.sqlite"
flush_interval_s = 0.1
"""
LINE = """
[[bus]]
bus_id = "{name}"
kind = "modbus_tcp"
host = "127.0.0.1"
port = {port}
[[bus.node]]
node_id = "{name}-strain"
profile = "winners_vtn416"
device_id = 1
channel_index = 1
poll_interval_s = {interval_s}
calibration.strain = {{ kind = "vibrating_wire", gauge_factor = 4.062, zero_frequency_hz = 900.0 }}
"""
HORN = """
[[bus.node.actuator]]
name = "horn"
function_code = 5
address = 7
data_type = "coil"
minimum = 0
maximum = 1
"""
SIREN = """
[[output]]
output_id = "siren"
on = { kind = "write", node_id = "south-strain", actuator = "horn", value = 1 }
off = { kind = "write", node_id = "south-strain", actuator = "horn", value = 0 }
[[output.condition]]
node_id = "south-strain"
quantity = "strain"
set_point = 500.0
"""
CALM, HIGH = 9_000, 10_000
"""Tenths of a hertz: a strain of 0 and of 772 µε by the gauge's formula."""


class CountingField(ModbusField):
    """Counts the questions to it, and the connections."""

    asked = 0
    connections = 0

    def _serve(self, client) -> None:
        self.connections += 1
        super()._serve(client)

    def _answer(self, device: int, pdu: bytes) -> bytes:
        self.asked += pdu[0] in (3, 4)
        return super()._answer(device, pdu)


@dataclass
class Agent:
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def configure(self, text: str) -> None:
        (self.folder / "agent.toml").write_text(text)

    def start(self) -> None:
        command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(self.folder / "agent.toml")]
        with (self.folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(20)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)


@contextlib.contextmanager
def field() -> Iterator[CountingField]:
    made = CountingField(free_port())
    made.registers.update(dict.fromkeys(range(100, 116), CALM))
    made.coils.update(dict.fromkeys(range(16), 0))
    made.start()
    try:
        yield made
    finally:
        made.stop()


def test_an_untouched_line_misses_no_poll_while_another_one_changes(agent):
    with field() as north, field() as south:
        lines = HEAD + LINE.format(name="north", port=north.port, interval_s=0.1)
        agent.configure(lines + LINE.format(name="south", port=south.port, interval_s=0.1))
        agent.start()
        wait_until("both are polled", lambda: north.asked > 5 and south.asked > 5)
        for interval_s in (0.2, 0.3, 0.1):
            before, connections, answers = north.asked, south.connections, agent.log().count("configuration_reread")
            agent.configure(lines + LINE.format(name="south", port=south.port, interval_s=interval_s))
            os.kill(agent.process.pid, signal.SIGHUP)
            wait_until("it is applied", lambda n=answers: agent.log().count("configuration_reread") > n)
            wait_until("the changed line began anew", lambda n=connections: south.connections > n)
            assert north.asked > before, "it is polled while the other is planned and changed"
        assert "answer='applied: 1 lines keep polling, 1 changed'" in agent.log()
        assert north.connections == 1, "its connection was never closed"
        assert agent.log().count("agent_started") == 1
        agent.configure(lines)
        os.kill(agent.process.pid, signal.SIGHUP)
        wait_until("a line is withdrawn", lambda: "1 lines keep polling, 1 withdrawn" in agent.log())
        asked = south.asked
        wait_until("the other goes on", lambda n=north.asked: north.asked > n + 10)
        assert south.asked <= asked + 1
        assert north.connections == 1


def test_an_alarm_that_was_active_switches_its_output_again_after_a_restart_and_after_the_device_was_away(agent):
    with field() as south:
        text = HEAD + LINE.format(name="south", port=south.port, interval_s=0.1) + HORN + SIREN
        agent.configure(text)
        agent.start()
        wait_until("the output is told to be off", lambda: south.coils[7] == 0 and south.written)
        south.registers.update(dict.fromkeys(range(100, 116), HIGH))
        wait_until("the siren is on", lambda: south.coils[7] == 1)
        wait_until("it is kept", lambda: '"is_on": true' in (agent.folder / "spool.local-alarms.json").read_text())
        agent.end(signal.SIGKILL)

        south.coils[7] = 0  # the device was without power, too
        south.registers.clear()  # and does not measure yet: only what was kept can tell
        agent.start()
        wait_until("the siren is on again", lambda: south.coils[7] == 1)
        assert "output_restored output_id=siren" in agent.log()

        south.registers.update(dict.fromkeys(range(100, 116), HIGH))
        south.devices = ()
        wait_until("the device is away", lambda: "device_silent" in agent.log())
        south.coils[7] = 0
        south.devices = (1,)
        wait_until("the siren is on again", lambda: south.coils[7] == 1)
        audit = agent.folder / "audit.jsonl"
        wait_until("it is audited", lambda: "a device that it writes to is back" in audit.read_text())


@pytest.mark.needs_mosquitto
def test_100_devices_of_100_registers_stay_within_50_mb(agent, tmp_path):
    with _running_mosquitto(tmp_path) as mqtt_port, devices(tmp_path) as answering:
        write_agent_files(tmp_path, answering.port, mqtt_port, interval_s=2.0)
        agent.start()
        wait_until("all are polled twice", lambda: answering.asked()[1] >= 20_000)
        wait_until("births and data go out", lambda: "mqtt_connected" in agent.log())
        wait_until("and are polled twice more", lambda: answering.asked()[1] >= 40_000)
        assert agent.process.poll() is None
        resident_mb, peak_mb = memory_mb(agent.process.pid)
        assert resident_mb <= RESIDENT_MAX_MB
        assert peak_mb <= RESIDENT_MAX_MB + 5.0, "a peak is for a moment"
        children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children").read_text()
        assert children == "", "the planner has ended"


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident now, and at most so far (proc(5), VmRSS and VmHWM)."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(rows[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
