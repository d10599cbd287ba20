"""The archive: bytes a row of Parquet by column, and rows a second and core from scored messages to closed files.

One partition of 10,000 readings/s on 8: 1,250 channels of 250 nodes behind 10 gateways, one reading a second each with
15 ms of jitter, 800 s, in messages of 500 readings as the bridge makes them. A third of the nodes is of each of three
domains. A value is a slow walk with noise, rounded to the decimals of its quantity; one reading in a thousand has no
answer. Quality and scores are the live pipeline's: each channel has the set of its domain (contracts.detector_set), and
is warmed up by two hours before (but for the bridge's groups, whose frames are six hours long).
*journal*: messages to synced journal. *close*: journal to synced Parquet files. The folder is on the machine's disk
(TMPDIR).
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow.parquet as pq

from contracts.fleet import Domain, FleetSnapshot
from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from contracts.record import Record
from contracts.record_message import ScoredMessage, encode_scored
from contracts.uplink import BatchIdentity
from stream_processor.archive_points import points_of_table
from stream_processor.distributed.archive_plan import read_frame
from stream_processor.distributed.parquet_archive import ParquetArchive
from stream_processor.distributed.rebuild_process import read_tables
from stream_processor.fleet_index import FleetIndex
from stream_processor.line_protocol import Body, build_bodies
from stream_processor.pipeline.pipeline import Pipeline, Scored

GATEWAYS: Final = 10
NODES: Final = 250
QUANTITIES_OF_NODE: Final = ("methane_lel", "carbon_monoxide", "temperature", "relative_humidity", "acceleration")
DOMAINS: Final = (Domain.GAS, Domain.BRIDGE, Domain.CHEMICAL)
CHANNELS: Final = NODES * len(QUANTITIES_OF_NODE)
SECONDS: Final = 800
ROWS: Final = CHANNELS * SECONDS
ROWS_OF_MESSAGE: Final = 500
ROWS_OF_APPEND: Final = 25_000
WARM_UP_S: Final = 7_200
WARM_UP_STEP_S: Final = 20
START_MS: Final = 1_761_955_200_000
JITTER_MS: Final = 15.0
BYTES_MAX: Final = 10.0


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    messages = list(_messages(is_rounded=True))
    with tempfile.TemporaryDirectory(prefix="citysense-bench-") as name:
        folder = Path(name)
        archive = ParquetArchive(folder, ROWS, FleetIndex(_fleet()).contexts)
        step = ROWS_OF_APPEND // ROWS_OF_MESSAGE
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        for first in range(0, len(messages) - step, step):
            archive.append(0, [read_frame(each) for each in messages[first : first + step]], 1)
        journal_s, journal_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        journal_bytes = sum(path.stat().st_size for path in folder.rglob("*.open"))
        before_mib = _peak_mib()
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        archive.append(0, [read_frame(each) for each in messages[len(messages) - step :]], 1)
        close_s, close_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        files = sorted(folder.rglob("*.parquet"))
        (count,) = duckdb.sql(f"SELECT count(*) FROM read_parquet('{folder}/parquet/**/*.parquet')").fetchall()[0]
        assert count == ROWS, f"{count} rows of {ROWS}"
        size = sum(path.stat().st_size for path in files) / ROWS
        yield f"  {ROWS:,} rows in {len(files)} files: {size:.2f} bytes/row (at most {BYTES_MAX:.0f} wanted)"
        yield f"  by column: {_by_column(files)}"
        yield f"  journal: {_rates(journal_s, journal_cpu_s)}, {journal_bytes / (ROWS - ROWS_OF_APPEND):.0f} bytes/row"
        memory = (_peak_mib() - before_mib) * 2**20 / ROWS
        yield f"  close:   {_rates(close_s, close_cpu_s)}, {memory:.0f} bytes/row more memory"
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        lines = sum(len(body.point_index) for path in files for body in _bodies(path))
        rebuild_s, rebuild_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        assert lines == ROWS, f"{lines} lines of {ROWS} rows"
        cpu_s = journal_cpu_s + close_cpu_s
        yield f"  together {ROWS / cpu_s:,.0f} rows/s/core, {1e6 * cpu_s / ROWS:.2f} µs CPU/row"
        yield f"  rebuild, Parquet to bodies: {_rates(rebuild_s, rebuild_cpu_s)}"
    yield f"  all values 32-bit floats with all their digits: {_size_of_floats():.2f} bytes/row"


def _size_of_floats() -> float:
    with tempfile.TemporaryDirectory(prefix="citysense-bench-") as name:
        archive = ParquetArchive(Path(name), ROWS, FleetIndex(_fleet()).contexts)
        archive.append(0, [read_frame(each) for each in _messages(is_rounded=False)], 1)
        return sum(path.stat().st_size for path in Path(name).rglob("*.parquet")) / ROWS


def _bodies(path: Path) -> Iterator[Body]:
    """As `stream-processor rebuild` makes them, for a null sink."""
    for table in read_tables(path):
        series, points, _ = points_of_table(table, path.parent.name.partition("=")[2])
        yield from build_bodies(series, points)


def _messages(*, is_rounded: bool) -> Iterator[bytes]:
    """As they stand in Kafka: the gateways' payloads of a second one after another."""
    chance = np.random.default_rng(20261122)
    decimals = np.tile([QUANTITIES[name].decimals for name in QUANTITIES_OF_NODE], NODES)
    step = 10.0**-decimals
    level = chance.uniform(5.0, 60.0, CHANNELS)
    phase_ms = chance.integers(0, 1_000, CHANNELS)
    gateway = np.arange(CHANNELS) * GATEWAYS // CHANNELS
    pipeline = Pipeline()
    pipeline.take_fleet(FleetIndex(_fleet()))
    offset = 0
    for second in (*range(-WARM_UP_S, 0, WARM_UP_STEP_S), *range(SECONDS)):
        level += chance.normal(0.0, 0.1, CHANNELS) * step
        noisy = level + chance.normal(0.0, 1.5, CHANNELS) * step
        value = noisy.astype(np.float32).astype(np.float64)
        if is_rounded:
            value = np.array(
                [round(one, digits) for one, digits in zip(noisy.tolist(), decimals.tolist(), strict=True)]
            )
        is_silent = chance.random(CHANNELS) < 0.001
        value[is_silent] = np.nan
        time_ms = START_MS + 1_000 * second + phase_ms + np.rint(chance.normal(0.0, JITTER_MS, CHANNELS)).astype(int)
        received_ns = (START_MS + 1_000 * second + 1_100 + chance.integers(0, 80, GATEWAYS)) * 1_000_000
        received_ns += chance.integers(0, 1_000_000, GATEWAYS)
        for first in range(0, CHANNELS, ROWS_OF_MESSAGE):
            which = slice(first, first + ROWS_OF_MESSAGE)
            present, index = np.unique(gateway[which], return_inverse=True)
            record = Record(
                channel_id=np.arange(1, CHANNELS + 1, dtype=np.uint32)[which],
                phenomenon_ns=time_ms[which] * 1_000_000,
                received_ns=received_ns[gateway[which]],
                value=value[which],
                reason=np.where(is_silent[which], Reason.NO_ANSWER, Reason.OK).astype(np.uint8),
                is_historical=np.zeros(len(index), np.bool_),
                batch_index=index.astype(np.int32),
                batches=tuple(
                    BatchIdentity(f"gw-{number:03d}", 1_761_955_100, WARM_UP_S + second + 1) for number in present
                ),
            )
            said = pipeline.step(record, 1)
            if second >= 0:
                yield encode_scored(_scored(offset, said))
                offset += 1


def _scored(offset: int, said: Scored) -> ScoredMessage:
    return ScoredMessage(
        source_offset=offset,
        made_ns=int(said.record.received_ns.max()),
        record=replace(said.record, reason=said.reason),
        event_ns=said.event_ns,
        score_ewma_z=said.score_ewma_z,
        is_late=said.is_late,
        other_scores=said.other_scores,
    )


def _fleet() -> FleetSnapshot:
    place = {"latitude": 1.0, "longitude": 2.0}
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": "harbour", "name": "Harbour"}],
            "sites": [
                {"site_id": f"site-{name}", "district_id": "harbour", "domain": name, "name": "S", **place}
                for name in DOMAINS
            ],
            "gateways": [
                {"gateway_id": f"gw-{number:03d}", "district_id": "harbour", "name": "G"} for number in range(GATEWAYS)
            ],
            "nodes": [
                {
                    "node_id": f"node-{number:06d}",
                    "gateway_id": f"gw-{number * GATEWAYS // NODES:03d}",
                    "bus_id": "rtu",
                    "site_id": f"site-{DOMAINS[number * len(DOMAINS) // NODES]}",
                    "model": "M",
                }
                for number in range(NODES)
            ],
            "channels": [
                {
                    "channel_id": channel + 1,
                    "node_id": f"node-{channel // 5:06d}",
                    "quantity": QUANTITIES_OF_NODE[channel % 5],
                }
                for channel in range(CHANNELS)
            ],
        }
    )


def _by_column(files: list[Path]) -> str:
    sizes: dict[str, int] = {}
    for path in files:
        metadata = pq.ParquetFile(path).metadata
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                column = metadata.row_group(group).column(number)
                sizes[column.path_in_schema] = sizes.get(column.path_in_schema, 0) + column.total_compressed_size
    ranked = sorted(sizes.items(), key=lambda pair: -pair[1])
    large = [f"{name} {size / ROWS:.2f}" for name, size in ranked if size / ROWS >= 0.005]
    return f"{', '.join(large)}, others {sum(size for _, size in ranked[len(large) :]) / ROWS:.2f}"


def _rates(wall_s: float, cpu_s: float) -> str:
    return f"{ROWS / wall_s:,.0f} rows/s, {1e6 * cpu_s / ROWS:.2f} µs CPU/row"


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
