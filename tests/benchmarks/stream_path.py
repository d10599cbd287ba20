"""The whole path on one machine: broker → bridge → Kafka → score → Kafka → store → InfluxDB, acknowledged end to end.

`city-simulator load` sends at a rate, open loop, with everything else on the same cores: its own CPU and that of the
servers is part of what the machine has to give. A rate is carried if what is not yet acknowledged does not grow: the
acknowledgement's p99 in the second half of the run is no more than in the first half and a second.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.platform_stack import cpu_seconds
from tests.ledger_run import CHECKOUT, Size, load_command
from tests.running_engine import RunningEngine, running_engine

RATES = (10_000, 25_000, 50_000, 75_000, 100_000)
SECONDS = 40.0
GATEWAYS = 100


def measure() -> Iterator[str]:
    """Yields the lines of the report, one rate after another until one is not carried."""
    for rate in RATES:
        with tempfile.TemporaryDirectory() as name, running_engine(Path(name) / "engine") as engine:
            is_carried = yield from _measure_rate(engine, Size(GATEWAYS, rate, SECONDS))
        if not is_carried:
            return


def _measure_rate(engine: RunningEngine, size: Size) -> Iterator[str]:
    load = load_command(size, engine)
    fleet, report = engine.folder / "fleet.toml", engine.folder / "report.json"
    subprocess.run([*load, "--fleet-out", fleet, "--write-only"], cwd=CHECKOUT, check=True, capture_output=True)
    engine.import_fleet(fleet)
    engine.start_platform()
    before = _cpu_of(engine)
    words = ["--duration", str(size.seconds), "--drain", "60", "--report", str(report)]
    done = subprocess.run([*load, *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=size.seconds + 200)
    spent = {name: seconds - before[name] for name, seconds in _cpu_of(engine).items()}
    figures = json.loads(report.read_text())
    yield f"  {size.rate:,} readings/s for {size.seconds:.0f} s: {json.dumps(figures)}"
    count = size.rate * size.seconds
    shares = ", ".join(f"{name} {1e6 * seconds / count:.2f}" for name, seconds in spent.items() if seconds > 0.2)
    yield f"    CPU microseconds a reading: {shares}; together {1e6 * sum(spent.values()) / count:.2f}"
    return done.returncode == 0


def _cpu_of(engine: RunningEngine) -> dict[str, float]:
    pids = {name: process.pid for name, process in engine.processes.items() if process.poll() is None}
    pids |= {"kafka": engine.kafka.pid, "influxdb": engine.influxdb.pid}
    return {name: cpu_seconds(pid) for name, pid in pids.items()}
