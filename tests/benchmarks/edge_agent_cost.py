"""Edge agent: CPU seconds per million readings and resident memory, at 100 devices x 100 registers, beside its peers.

The real `edge-agent run` polls 100 Modbus units of 100 registers each (one named, scaled channel a register), commits
each reading to its spool (SQLite, synchronous=FULL), publishes to a real Mosquitto, and deletes what a subscriber has
acknowledged after its own fsync. Its process tree is measured. Readings count at the subscriber.

The peers read the same devices and publish to the same broker in the same run. They do less: `agent_peers` says what.
The first table is of sound devices. In the second every device refuses five of its registers and one device is dead:
what comes of the rest is the question there.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.acknowledging_host import AcknowledgingHost
from tests.benchmarks.agent_bench import (
    DEVICES,
    REGISTERS,
    Devices,
    devices,
    family_cpu_s,
    family_resident_mb,
    write_agent_files,
)
from tests.benchmarks.agent_peers import PEER_RUNS, PeerUnavailableError, RunPeer
from tests.benchmarks.platform_stack import free_port, mosquitto, program, wait_until

INTERVALS_S: Final = (1.0, 0.1)
DEADBAND: Final = 2.0
"""In kPa: larger than what changes from poll to poll (0.7 kPa), so that only the maximum silence is sent."""
FIRST_WITHIN_S: Final = 60.0
SETTLE_S: Final = 12.0
MEASURE_S: Final = 20.0
ILLEGAL: Final = (13, 31, 52, 70, 98)
DEAD_DEVICE: Final = 7
NO_UPLINK: Final = "edge-agent, no broker: spooled only"
HEAD: Final = (
    "  program                            wanted/s  given/s  received/s  requests/cycle  CPU s/1 M  resident MB"
)


@dataclass(frozen=True)
class Row:
    """What one program did."""

    name: str
    wanted_per_s: float
    given_per_s: float
    """Registers that the devices gave."""
    received_per_s: float
    requests_per_cycle: float
    cpu_s_per_million: float
    """By readings received; by registers given where nothing is to be sent: deadband, no uplink."""
    resident_mb: float

    def __str__(self) -> str:
        cost = "none came" if math.isnan(self.cpu_s_per_million) else f"{self.cpu_s_per_million:.2f}"
        return (
            f"  {self.name:<34} {self.wanted_per_s:8,.0f} {self.given_per_s:8,.0f}  {self.received_per_s:10,.0f}"
            f"  {self.requests_per_cycle:14,.0f}  {cost:>9}  {self.resident_mb:11.0f}"
        )


def measure() -> Iterator[str]:
    """Yields the lines of the report: the agent alone."""
    yield HEAD
    for interval_s in INTERVALS_S:
        yield str(measure_program("edge-agent", run_agent, interval_s))
    for interval_s in INTERVALS_S:
        yield str(measure_program(f"edge-agent, deadband {DEADBAND} kPa", run_agent_with_deadband, interval_s))
    for interval_s in INTERVALS_S:
        yield str(measure_program(NO_UPLINK, run_agent_without_uplink, interval_s))


def measure_with_peers() -> Iterator[str]:
    """Yields the lines of the report: the agent and its peers, in turn."""
    runs: dict[str, RunPeer] = {"edge-agent": run_agent, **PEER_RUNS}
    yield HEAD
    for interval_s in INTERVALS_S:
        agent = measure_program("edge-agent", run_agent, interval_s)
        yield str(agent)
        for name, run in PEER_RUNS.items():
            yield from _measure_peer(name, run, interval_s, agent)
    legal = (DEVICES - 1) * (REGISTERS - len(ILLEGAL))
    yield f"  Each device refuses {len(ILLEGAL)} of its registers, one device is dead; {legal:,} legal readings/s:"
    yield HEAD
    options = ("--illegal", ",".join(map(str, ILLEGAL)), "--dead", str(DEAD_DEVICE))
    for name, run in runs.items():
        with contextlib.suppress(PeerUnavailableError):
            yield str(measure_program(name, run, 1.0, *options))


def _measure_peer(name: str, run: RunPeer, interval_s: float, agent: Row) -> Iterator[str]:
    try:
        row = measure_program(name, run, interval_s)
    except PeerUnavailableError as error:
        yield f"  {name:<34} left out: {error}"
        return
    ratio = row.cpu_s_per_million / agent.cpu_s_per_million
    yield f"{row}   {ratio:.1f} x the agent's CPU" if row.received_per_s else str(row)


def measure_program(name: str, run: RunPeer, interval_s: float, *device_options: str) -> Row:
    """One program at one rate."""
    with tempfile.TemporaryDirectory() as folder_name, contextlib.ExitStack() as stack:
        folder, mqtt_port = Path(folder_name), free_port()
        stack.enter_context(mosquitto(folder, mqtt_port))
        asked = stack.enter_context(devices(folder, *device_options))
        host = AcknowledgingHost(mqtt_port, folder / "journal")
        stack.callback(host.close)
        process = stack.enter_context(run(folder, asked.port, mqtt_port, interval_s))
        with contextlib.suppress(TimeoutError):
            wait_until("first readings", lambda: host.readings_total > 0 or name == NO_UPLINK, FIRST_WITHIN_S)
        time.sleep(SETTLE_S)
        return _measure_running(name, process.pid, asked, host, interval_s)


def _measure_running(name: str, pid: int, asked: Devices, host: AcknowledgingHost, interval_s: float) -> Row:
    begun_s, cpu_s, received, (questions, registers) = _look(pid, asked, host)
    time.sleep(MEASURE_S)
    ended_s, cpu_end_s, received_end, (questions_end, registers_end) = _look(pid, asked, host)
    took_s = ended_s - begun_s
    cycles = took_s / interval_s
    given, got = registers_end - registers, received_end - received
    counted = given if "deadband" in name or name == NO_UPLINK else got
    return Row(
        name=name,
        wanted_per_s=DEVICES * REGISTERS / interval_s,
        given_per_s=given / took_s,
        received_per_s=got / took_s,
        requests_per_cycle=(questions_end - questions) / cycles,
        cpu_s_per_million=1e6 * (cpu_end_s - cpu_s) / counted if counted else float("nan"),
        resident_mb=family_resident_mb(pid),
    )


def _look(pid: int, asked: Devices, host: AcknowledgingHost) -> tuple[float, float, int, tuple[int, int]]:
    return time.monotonic(), family_cpu_s(pid), host.readings_total, asked.asked()


@contextlib.contextmanager
def run_agent(
    folder: Path, modbus_port: int, mqtt_port: int, interval_s: float, deadband: float | None = None
) -> Iterator:
    """The agent as it is installed, with the defaults of its spool."""
    config = write_agent_files(folder, modbus_port, mqtt_port, interval_s, deadband)
    with program(folder, "edge_agent.cli", "run", "--config", str(config)) as process:
        yield process


@contextlib.contextmanager
def run_agent_without_uplink(folder: Path, modbus_port: int, _mqtt_port: int, interval_s: float) -> Iterator:
    """Nobody listens where its broker should be: it names, scales, marks and spools."""
    with run_agent(folder, modbus_port, free_port(), interval_s) as process:
        yield process


@contextlib.contextmanager
def run_agent_with_deadband(folder: Path, modbus_port: int, mqtt_port: int, interval_s: float) -> Iterator:
    """The same with report by exception."""
    with run_agent(folder, modbus_port, mqtt_port, interval_s, DEADBAND) as process:
        yield process


if __name__ == "__main__":
    for line in measure_with_peers():
        print(line, flush=True)
