"""Edge agent: CPU seconds per million readings and resident memory, at 100 devices x 100 registers.

The real agent polls 100 Modbus units of 100 registers each (one channel a register), spools durably, publishes, and
deletes on the real platform's acknowledgement. A reading counts when the platform has stored it, so nothing that is
lost is counted.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.platform_stack import (
    CHECKOUT,
    Stack,
    accepts,
    cpu_seconds,
    free_port,
    platform,
    program,
    resident_mb,
    wait_until,
)

DEVICES = 100
REGISTERS = 100
POLL_INTERVALS_S = (1.0, 0.25)
SETTLE_S = 8.0
MEASURE_S = 20.0


def fleet_toml() -> str:
    head = (
        '[[district]]\ndistrict_id = "bench"\nname = "Bench"\n[[gateway]]\ngateway_id = "gw-0"\ndistrict_id = "bench"\n'
        'name = "G"\n[[site]]\nsite_id = "s"\ndistrict_id = "bench"\ndomain = "fire"\nname = "S"\nlatitude = 0.0\n'
        "longitude = 0.0\n"
    )
    nodes = (
        f'[[node]]\nnode_id = "{node}"\ngateway_id = "gw-0"\nbus_id = "tcp"\nsite_id = "s"\nmodel = "bench"\n'
        f'[[node.channel]]\nquantity = "fire_alarm"\n'
        for _, _, node in _places()
    )
    return head + "".join(nodes)


def agent_toml(modbus_port: int, mqtt_port: int, poll_interval_s: float) -> str:
    head = (
        '[gateway]\ngateway_id = "gw-0"\ndistrict_id = "bench"\n'
        f'[mqtt]\nport = {mqtt_port}\nprimary_host = "citysense"\n[spool]\npath = "spool.sqlite"\n'
        f'[[bus]]\nbus_id = "tcp"\nkind = "modbus_tcp"\nhost = "127.0.0.1"\nport = {modbus_port}\n'
    )
    nodes = (
        f'[[bus.node]]\nnode_id = "{node}"\nprofile = "notifier_modbus_gw"\ndevice_id = {device}\n'
        f'channel_index = "L1D{register}"\npoll_interval_s = {poll_interval_s}\n'
        for device, register, node in _places()
    )
    return head + "".join(nodes)


def _places() -> Iterator[tuple[int, int, str]]:
    for device in range(1, DEVICES + 1):
        for register in range(1, REGISTERS + 1):
            yield device, register, f"d-{device}-{register}"


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    yield "  wanted/s   stored/s   agent CPU s per 1 M readings   agent resident MB"
    for poll_interval_s in POLL_INTERVALS_S:
        with tempfile.TemporaryDirectory() as name, platform(Path(name), fleet_toml()) as stack:
            yield _measure_at(Path(name), stack, poll_interval_s)


def _measure_at(folder: Path, stack: Stack, poll_interval_s: float) -> str:
    port = free_port()
    responder = CHECKOUT / "tests" / "benchmarks" / "modbus_responder.py"
    devices = subprocess.Popen([sys.executable, str(responder), str(port)])
    try:
        wait_until("the devices listen", lambda: accepts(port))
        config = folder / "agent.toml"
        config.write_text(agent_toml(port, stack.mqtt_port, poll_interval_s))
        with program(folder, "edge_agent.cli", "run", "--config", str(config)) as agent:
            wait_until("first readings are stored", lambda: stack.stored_total() > 0)
            time.sleep(SETTLE_S)
            stored, cpu, start_s = stack.stored_total(), cpu_seconds(agent.pid), time.monotonic()
            time.sleep(MEASURE_S)
            took_s, readings = time.monotonic() - start_s, stack.stored_total() - stored
            cost = 1e6 * (cpu_seconds(agent.pid) - cpu) / readings if readings else float("nan")
            wanted = DEVICES * REGISTERS / poll_interval_s
            return f"  {wanted:8,.0f}   {readings / took_s:8,.0f}   {cost:28.1f}   {resident_mb(agent.pid):17.0f}"
    finally:
        devices.terminate()
        devices.wait(10)


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
