"""`make bench`: the figures of docs/benchmarks.md, with the name of the machine. Takes about a quarter of an hour.

Arguments: names of benchmarks to run only those, of `start`, `agent`, `agent-peers`, `waveform`, `embedded`, `alarm`,
`load`, `bridge`, `lines`, `pipeline`, `state`, `parquet`, `store`, `index`, `jobs`, `stream`, `path`,
`alarm-stack`, `detectors`, `nab`, `scenarios`, `trial`.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import (
    bridge_cost,
    detector_cost,
    edge_agent_cost,
    embedded_path,
    influx_index,
    job_cost,
    line_protocol_cost,
    load_cost,
    parquet_cost,
    pipeline_cost,
    score_scenarios,
    score_state,
    sensor_to_alarm,
    start_time,
    store_job,
    stream_jobs,
    stream_path,
    trial_cost,
    waveform_cost,
)
from tests.benchmarks.nab import nab_scores

BENCHMARKS: Final[Mapping[str, tuple[str, Callable[[], Iterator[str]]]]] = {
    "start": ("Start and stop of the whole city", start_time.measure),
    "agent": ("Edge agent, 100 devices x 100 registers", edge_agent_cost.measure),
    "waveform": ("Edge agent, waveforms", waveform_cost.measure),
    "agent-peers": ("Edge agent beside its peers", edge_agent_cost.measure_with_peers),
    "embedded": ("Embedded path, broker to durable store", embedded_path.measure),
    "alarm": ("Sensor to alarm, whole city", sensor_to_alarm.measure),
    "load": ("The load generator alone", load_cost.measure),
    "bridge": ("Bridge, broker to Kafka", bridge_cost.measure),
    "lines": ("Line protocol", line_protocol_cost.measure),
    "pipeline": ("The pipeline's step: quality control, detectors, conditions", pipeline_cost.measure),
    "trial": ("Trials: a rule over the archive, the detectors over tables", trial_cost.measure),
    "state": ("State of the score job: snapshot, restore, replay", score_state.measure),
    "parquet": ("Archive to Parquet, and back to line protocol", parquet_cost.measure),
    "store": ("Store job, from Kafka to InfluxDB", store_job.measure),
    "jobs": ("The jobs' pure parts, by set of detectors", job_cost.measure),
    "stream": ("Jobs on Kafka, beside other ways to write them", stream_jobs.measure),
    "path": ("Whole path, broker to InfluxDB and back", stream_path.measure),
    "alarm-stack": ("Sensor to alarm, city on the servers", sensor_to_alarm.measure_on_stack),
    "detectors": ("Detectors: cost, beside river and PySAD", detector_cost.measure),
    "nab": ("Detectors: Numenta Anomaly Benchmark", nab_scores.measure),
    "scenarios": ("Detectors: labelled scenarios", score_scenarios.measure),
    "index": ("InfluxDB's index with 300,000 series", influx_index.measure),
}


def main() -> None:
    """Runs the benchmarks and prints their reports."""
    chosen = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}: there are {', '.join(BENCHMARKS)}")
    print(f"machine {platform.node()}: {_cpu()}, {_cores()} cores, {_memory_gib():.0f} GiB, {platform.platform()}")
    print(f"python {platform.python_version()}, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}")
    for name in chosen:
        title, measure = BENCHMARKS[name]
        print(f"\n{title} ({name})", flush=True)
        for line in measure():
            print(line, flush=True)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _cores() -> int:
    return Path("/proc/cpuinfo").read_text().count("\nprocessor") + 1


def _memory_gib() -> float:
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return int(total.split()[1]) / 2**20


if __name__ == "__main__":
    main()
