"""The whole path on one machine: broker → bridge → Kafka → score → Kafka → store → InfluxDB, acknowledged end to end.

`city-simulator load` sends at a rate, open loop, with everything else on the same cores: its own CPU and that of the
servers is part of what the machine has to give. First it sends for WARM_UP_S at this rate, which is not counted:
imports, joining of groups, the virtual machine's compiler, the first point of each series. Then it is looked at each
time that the load tells how far it is.

A rate is carried if the lag (readings made and not yet acknowledged as stored) is at the end no more than at the
beginning, give or take what comes in LAG_SLACK_S, all is stored in the end, and the load kept its schedule. CPU is user
and system time by readings that were acknowledged meanwhile. The archive closes its files after ten seconds, so that
this is counted too.

    python -m tests.benchmarks.stream_path 75000                  one rate, channels with the detectors of their domain
    python -m tests.benchmarks.stream_path --ewma-only 75000      with EWMA z alone
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.platform_stack import cpu_seconds
from tests.ledger_run import CHECKOUT, Size, load_command
from tests.running_engine import RunningEngine, running_engine

RATES: Final = (25_000, 50_000, 75_000, 100_000)
WARM_UP_S: Final = 40.0
SECONDS: Final = 40.0
LAG_SLACK_S: Final = 1.0
GATEWAYS: Final = 100
DRAIN_S: Final = 60.0
_EWMA_ONLY: Final = "--ewma-only"
_PROGRESS: Final = re.compile(
    r"load_progress after_s=(?P<after_s>\d+) readings=(?P<made>\d+) acknowledged=(?P<acknowledged>\d+) "
    r"waiting=(?P<waiting>\d+)"
)


@dataclass(frozen=True)
class Look:
    """What was seen at one moment."""

    at_s: float
    acknowledged: int
    waiting: int
    """Readings made and not yet acknowledged."""
    cpu_s: dict[str, float]


def measure(rates: tuple[int, ...] = RATES, *, is_ewma_only: bool = False) -> Iterator[str]:
    """Yields the lines of the report, one rate after another until one is not carried."""
    yield f"  detectors: {'EWMA z alone' if is_ewma_only else 'the default set of each domain'}"
    for rate in rates:
        with (
            tempfile.TemporaryDirectory(prefix="citysense-bench-path-") as name,
            running_engine(Path(name) / "engine", has_gate=False) as engine,
        ):
            is_carried = yield from _measure_rate(engine, rate, is_ewma_only=is_ewma_only)
        if not is_carried:
            return


def _measure_rate(engine: RunningEngine, rate: int, *, is_ewma_only: bool) -> Generator[str, None, bool]:
    load = load_command(Size(GATEWAYS, rate, SECONDS), engine)
    load += [_EWMA_ONLY] if is_ewma_only else []
    fleet, report = engine.folder / "fleet.toml", engine.folder / "report.json"
    subprocess.run([*load, "--fleet-out", fleet, "--write-only"], cwd=CHECKOUT, check=True, capture_output=True)
    engine.import_fleet(fleet)
    engine.start_platform()
    words = ["--duration", str(WARM_UP_S + SECONDS + 1), "--drain", str(DRAIN_S), "--report", str(report)]
    with subprocess.Popen([*load, *words], cwd=CHECKOUT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as sender:
        looks = list(_looks(engine, sender))
    counted = [look for look in looks if WARM_UP_S - 1 < look.at_s <= WARM_UP_S + SECONDS + 1]
    yield from _report(rate, counted)
    figures = json.loads(report.read_text())
    names = ("acknowledged_p50_s", "acknowledged_p99_s", "acknowledged_max_s", "late_batches")
    yield f"    over all, warm-up included: {json.dumps({name: figures[name] for name in names})}"
    is_carried = sender.returncode == 0 and _lag_growth(counted) <= LAG_SLACK_S * rate
    yield f"    carried: {'yes' if is_carried else 'no'}"
    return is_carried


def _looks(engine: RunningEngine, sender: subprocess.Popen[bytes]) -> Iterator[Look]:
    """One each time that the load tells its progress."""
    assert sender.stderr is not None
    for line in sender.stderr:
        said = _PROGRESS.search(line.decode(errors="replace"))
        if said:
            cpu_s = {**_cpu_of(engine), "load": cpu_seconds(sender.pid)}
            yield Look(float(said["after_s"]), int(said["acknowledged"]), int(said["waiting"]), cpu_s)


def _cpu_of(engine: RunningEngine) -> dict[str, float]:
    pids = {name: process.pid for name, process in engine.processes.items() if process.poll() is None}
    pids |= {"kafka": engine.kafka.pid, "influxdb": engine.influxdb.pid}
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def _lag_growth(looks: list[Look]) -> int:
    return looks[-1].waiting - looks[0].waiting


def _report(rate: int, looks: list[Look]) -> Iterator[str]:
    first, last = looks[0], looks[-1]
    seconds, count = last.at_s - first.at_s, max(1, last.acknowledged - first.acknowledged)
    spent = {name: last.cpu_s[name] - before for name, before in first.cpu_s.items() if name in last.cpu_s}
    lag = ", ".join(f"{look.waiting:,}" for look in looks)
    yield f"  {rate:,} readings/s: {count / seconds:,.0f}/s acknowledged in {seconds:.0f} s; readings that wait: {lag}"
    shares = ", ".join(f"{name} {1e6 * used / count:.2f}" for name, used in spent.items() if used > 0.1)
    together = sum(spent.values())
    yield f"    CPU µs a reading: {shares}; together {1e6 * together / count:.2f} ({together / seconds:.2f} cores)"


def main() -> None:
    """The rates of the command line."""
    begun_s = time.monotonic()
    words = sys.argv[1:]
    rates = tuple(int(word) for word in words if word != _EWMA_ONLY)
    for line in measure(rates or RATES, is_ewma_only=_EWMA_ONLY in words):
        print(line, flush=True)
    print(f"  ({time.monotonic() - begun_s:.0f} s)")


if __name__ == "__main__":
    main()
