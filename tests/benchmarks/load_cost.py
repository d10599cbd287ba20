"""The load generator alone: what a reading costs it at the highest rate that it is made for, and how late it is.

`city-simulator load` as a person starts it, with its ledger, against a real Mosquitto on which nobody listens: births
and wills, one connection a gateway, no acknowledgements (`--drain 0`). Everything shares the machine's cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.platform_stack import CHECKOUT, free_port, mosquitto

DURATION_S = 10
FLEETS = ((20, 10_000), (20, 100_000), (1_000, 100_000))
"""Gateways, readings a second."""


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    yield "  gateways   wanted/s     made/s   CPU us/reading   cores   late >= 0.05 s   late >= 1 s"
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        with mosquitto(Path(folder), port):
            for gateways, rate in FLEETS:
                yield _line(Path(folder), port, gateways, rate)


def _line(folder: Path, port: int, gateways: int, rate: int) -> str:
    name = f"{gateways}-{rate}"
    arguments = ["load", "--gateways", gateways, "--rate", rate, "--duration", DURATION_S, "--drain", 0]
    arguments += ["--broker", f"127.0.0.1:{port}", "--ledger", folder / name, "--report", folder / f"{name}.json"]
    command = [sys.executable, "-m", "simulators.cli", *map(str, arguments)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, timeout=120)
    report = json.loads((folder / f"{name}.json").read_text())
    late = report["late_batches"]
    total = sum(late.values())
    late_50_ms = total - late["<0.01"] - late["<0.05"]
    late_1_s = late["<5"] + late[">=5"]
    made = report["made_readings"]
    return (
        f"  {gateways:8,}   {rate:8,}   {made / report['made_s']:8,.0f}   {1e6 * report['cpu_s'] / made:14.2f}   "
        f"{report['cpu_s'] / report['made_s']:5.2f}   {100 * late_50_ms / total:13.2f}%   "
        f"{100 * late_1_s / total:10.2f}%"
    )


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
