"""What the benchmarks of the edge agent share: the simulated devices, the agent's configuration, CPU time and memory.

`DEVICES` Modbus units of `REGISTERS` registers each, on `ENDPOINTS` connections; each register is a channel of its
own node, named and scaled by 0.1. All of it runs on loopback, with a real Mosquitto and a subscriber that counts.
"""

from __future__ import annotations

import contextlib
import mmap
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.modbus_responder import TALLY
from tests.benchmarks.platform_stack import CHECKOUT, accepts, cpu_seconds, free_port, resident_mb, wait_until
from tests.process_tree import children_of

DEVICES: Final = 100
REGISTERS: Final = 100
ENDPOINTS: Final = 10
SCALE: Final = 0.1

PROFILE: Final = """
protocol = "modbus"
title = "A register of tenths of a kilopascal"
source = "made up for the benchmark"
[[channel]]
quantity = "pressure"
address = 0
raw_divisor = 10.0
[[repeat]]
prefix = "r"
base = 0
first = 0
last = 999
"""


@dataclass(frozen=True)
class Devices:
    """The simulated devices, running."""

    port: int
    _tally: mmap.mmap

    def asked(self) -> tuple[int, int]:
        """Questions so far, and registers given."""
        questions, registers = TALLY.unpack_from(self._tally)
        return questions, registers


@contextlib.contextmanager
def devices(folder: Path, *options: str) -> Iterator[Devices]:
    """Answers on a free port."""
    port, tally = free_port(), folder / f"tally-{len(list(folder.iterdir()))}"
    responder = CHECKOUT / "tests" / "benchmarks" / "modbus_responder.py"
    process = subprocess.Popen([sys.executable, str(responder), str(port), str(tally), *options])
    try:
        wait_until("the devices listen", lambda: accepts(port))
        with tally.open("rb") as file:
            yield Devices(port, mmap.mmap(file.fileno(), TALLY.size, prot=mmap.PROT_READ))
    finally:
        process.terminate()
        process.wait(10)


def write_agent_files(
    folder: Path, modbus_port: int, mqtt_port: int, interval_s: float, deadband: float | None = None
) -> Path:
    """The agent's configuration and profile; gives the path of the former."""
    profiles = folder / "profiles"
    profiles.mkdir(exist_ok=True)
    (profiles / "bench.toml").write_text(PROFILE)
    head = '[gateway]\ngateway_id = "gw-0"\ndistrict_id = "bench"\nprofile_folder = "profiles"\n'
    parts = [head, f'[mqtt]\nport = {mqtt_port}\n[spool]\npath = "spool.sqlite"\n']
    report = "" if deadband is None else f"report = {{ pressure = {{ deadband = {deadband} }} }}\n"
    for endpoint in range(ENDPOINTS):
        parts.append(f'[[bus]]\nbus_id = "tcp-{endpoint}"\nkind = "modbus_tcp"\nhost = "127.0.0.1"\n')
        parts.append(f"port = {modbus_port}\n")
        parts += [
            f'[[bus.node]]\nnode_id = "d{device}-r{register}"\nprofile = "bench"\ndevice_id = {device}\n'
            f'channel_index = "r{register}"\npoll_interval_s = {interval_s}\n{report}'
            for device in range(endpoint + 1, DEVICES + 1, ENDPOINTS)
            for register in range(REGISTERS)
        ]
    path = folder / "agent.toml"
    path.write_text("".join(parts))
    return path


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        found += children_of(one)
    return found


def family_cpu_s(pid: int) -> float:
    """User and system time of a process and all below it so far."""
    return sum(map(cpu_seconds, family(pid)))


def family_resident_mb(pid: int) -> float:
    """Resident memory of a process and all below it; what they share counts once each."""
    return sum(map(resident_mb, family(pid)))
