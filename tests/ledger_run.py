"""The ledger test: a load with its own ledger against the distributed engine on real servers, while things are killed.

    make ledger                                  10,000 readings/s for 10 minutes, all faults (docs/benchmarks.md)
    make ledger ARGS="--rate 2000 --seconds 120"

Exit code 1 if a committed reading is missing, stored twice, altered, or stored and never committed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.running_engine import RunningEngine, running_engine

CHECKOUT = Path(__file__).parents[1]
DOWN_S = 3.0
"""A killed server stays away for so long."""
DRAIN_S = 240.0
LINES_SHOWN = 30
"""Of the log of a process that went wrong."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, at a share of the run."""

    name: str
    share: float
    do: Callable[[RunningEngine], None]


def kill(name: str) -> Callable[[RunningEngine], None]:
    """-9, and started again after DOWN_S."""

    def do(engine: RunningEngine) -> None:
        engine.kill(name)
        time.sleep(DOWN_S)
        engine.restart(name)

    return do


def close_influxdb(seconds: float) -> Callable[[RunningEngine], None]:
    """503 to every request."""

    def do(engine: RunningEngine) -> None:
        assert engine.gate is not None
        engine.gate.is_closed = True
        time.sleep(seconds)
        engine.gate.is_closed = False

    return do


def second_worker(seconds: float) -> Callable[[RunningEngine], None]:
    """Joins, works for a while, leaves."""

    def do(engine: RunningEngine) -> None:
        engine.start("score-2")
        time.sleep(seconds)
        assert engine.stop("score-2") == 0, engine.log("score-2")[-2_000:]

    return do


def all_faults(seconds: float) -> list[Fault]:
    """Those of the ledger test; durations in a run of `seconds`."""
    return [
        Fault("bridge -9", 0.08, kill("bridge")),
        Fault("score worker -9", 0.16, kill("score")),
        Fault("store worker -9", 0.22, kill("store")),
        Fault("Kafka -9", 0.30, kill("kafka")),
        Fault("InfluxDB -9", 0.38, kill("influxdb")),
        Fault("Mosquitto -9", 0.46, kill("mosquitto")),
        Fault("archive worker -9", 0.52, kill("archive")),
        Fault("a second score worker joins and leaves", 0.58, second_worker(0.10 * seconds)),
        Fault("InfluxDB answers 503", 0.72, close_influxdb(0.20 * seconds)),
    ]


@dataclass(frozen=True)
class Size:
    """How much."""

    gateways: int
    rate: int
    seconds: float


def run_ledger(folder: Path, size: Size, faults: Sequence[Fault], say: Callable[[str], None]) -> bool:
    """Whether the ledgers agree; `say` gets what happened."""
    with running_engine(folder) as engine:
        load = load_command(size, engine)
        fleet = folder / "fleet.toml"
        subprocess.run([*load, "--fleet-out", fleet, "--write-only"], cwd=CHECKOUT, check=True, capture_output=True)
        engine.import_fleet(fleet)
        engine.start_platform()
        ledger = folder / "ledger"
        load += ["--duration", str(size.seconds), "--drain", str(DRAIN_S), "--ledger", str(ledger)]
        is_acknowledged = _send(engine, load, size, faults, say)
        for line in _totals(engine):
            say(line)
        _wait_for_archive(engine)
        influx = ["--influx", engine.influxdb.url, "--influx-token-file", str(engine.influxdb.token_file)]
        parquet = ["--parquet", f"{engine.parquet}/**/*.parquet"]
        if not is_acknowledged:
            for name in engine.processes:
                say(f"{name} said at last:\n" + "\n".join(engine.log(name).splitlines()[-LINES_SHOWN:]))
        is_equal = [_check(name, ledger, words, say) for name, words in (("InfluxDB", influx), ("Parquet", parquet))]
        return is_acknowledged and all(is_equal)


def load_command(size: Size, engine: RunningEngine) -> list[str]:
    """`city-simulator load` with this engine's broker."""
    load = [sys.executable, "-m", "simulators.cli", "load", "--gateways", str(size.gateways), "--rate", str(size.rate)]
    return [*load, "--primary-host", "citysense", "--broker", f"127.0.0.1:{engine.ports['mqtt']}"]


def _send(
    engine: RunningEngine, load: list[str], size: Size, faults: Sequence[Fault], say: Callable[[str], None]
) -> bool:
    """Whether all that was committed was acknowledged in the end."""
    path = engine.folder / "load.log"
    with path.open("wb") as log, subprocess.Popen(load, cwd=CHECKOUT, stdout=log, stderr=log) as sender:
        try:
            _let_go_wrong(engine, faults, size.seconds, say)
            code = _supervise(engine, sender, size.seconds + DRAIN_S + 60, say)
        finally:
            sender.kill()
    say(path.read_text().rstrip())
    return code == 0


def _let_go_wrong(engine: RunningEngine, faults: Sequence[Fault], seconds: float, say: Callable[[str], None]) -> None:
    started_s = time.monotonic()
    for fault in sorted(faults, key=lambda each: each.share):
        time.sleep(max(0.0, started_s + fault.share * seconds - time.monotonic()))
        say(f"{time.monotonic() - started_s:6.1f} s  {fault.name}")
        fault.do(engine)
        _restart_what_ended(engine, say)


def _supervise(
    engine: RunningEngine, sender: subprocess.Popen[bytes], within_s: float, say: Callable[[str], None]
) -> int:
    """Until the load ends: its exit code. What ends itself is started again, as anywhere."""
    deadline_s = time.monotonic() + within_s
    while (code := sender.poll()) is None:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"the load has not ended within {within_s:.0f} s")
        _restart_what_ended(engine, say)
        time.sleep(1.0)
    return code


def _restart_what_ended(engine: RunningEngine, say: Callable[[str], None]) -> None:
    """As a supervisor would: a worker may end itself when it has lost Kafka."""
    for name, process in engine.processes.items():
        if name != "score-2" and process.poll() is not None:
            say(f"          {name} had ended with {process.returncode}; started again. It said at last:")
            say("\n".join(engine.log(name).splitlines()[-LINES_SHOWN:]))
            engine.start(name)


def _totals(engine: RunningEngine) -> Iterator[str]:
    with engine.api("read") as api:
        health = api.get("/v1/health").json()
    for name in ("stored_observations_total", "duplicate_batches_total", "quarantined_total", "unscored_batches_total"):
        yield f"{name:28} {health[name]:,}"


def _wait_for_archive(engine: RunningEngine) -> None:
    """Until its files are closed, by their age: nothing with readings comes any more."""
    time.sleep(2.0 * engine.archive_age_s + 5.0)


def _check(name: str, ledger: Path, source: Sequence[str], say: Callable[[str], None]) -> bool:
    command = [sys.executable, "-m", "simulators.cli", "load-check", "--ledger", str(ledger), *source]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=900)
    say(f"{name}: {'as committed' if done.returncode == 0 else 'DIFFERENT'}")
    say(f"{done.stdout}{done.stderr}".rstrip())
    return done.returncode == 0


def main() -> None:
    """Runs it and prints what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=10_000, help="readings a second (default 10000)")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default 600)")
    parser.add_argument("--gateways", type=int, default=100, help="edge nodes (default 100)")
    parser.add_argument("--dir", type=Path, help="a new folder for all files (default: a temporary one)")
    options = parser.parse_args()
    size = Size(options.gateways, options.rate, options.seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = options.dir or Path(name) / "engine"
        is_equal = run_ledger(folder, size, all_faults(options.seconds), lambda line: print(line, flush=True))
    print(json.dumps({"rate": options.rate, "seconds": options.seconds, "is_equal": is_equal}))
    sys.exit(0 if is_equal else 1)


if __name__ == "__main__":
    main()
