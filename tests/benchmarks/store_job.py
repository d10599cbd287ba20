"""The store job alone: readings that wait on a real Kafka, into a null sink and into a real InfluxDB.

A million readings of 10,000 channels in messages of 500, each with the four scores of a gas channel, of which 1 in 370
is written. First the sink answers 503 for some time while all of them wait: the worker's memory must not grow with
them. Then it takes them; then InfluxDB does, for another consumer group. The rate is from the first to the last commit;
everything shares the machine.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from aiokafka.admin import AIOKafkaAdminClient

from contracts.detector_set import DEFAULT_SCORES
from contracts.fleet import Domain
from contracts.kafka_topic import SCORED
from contracts.record import Floats
from contracts.record_message import ScoredMessage
from contracts.uplink import BatchIdentity
from stream_processor.detectors.contract import to_score
from tests.running_influxdb import TOKEN, running_influxdb
from tests.running_kafka import RunningKafka, free_port, running_kafka
from tests.scored_feed import RoleProcess, feed, fleet_of, scored_of

PARTITIONS: Final = 4
GATEWAYS: Final = 40
CHANNELS_PER_GATEWAY: Final = 250
ROWS: Final = 500
MESSAGES: Final = 2_000
READINGS: Final = MESSAGES * ROWS
OUTAGE_S: Final = 20.0
DEADLINE_S: Final = 180.0


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    with tempfile.TemporaryDirectory(prefix="citysense-bench-store-") as name:
        folder = Path(name)
        with running_kafka(folder / "kafka", PARTITIONS) as kafka:
            _feed(kafka)
            fleet = fleet_of(GATEWAYS, CHANNELS_PER_GATEWAY // 2, ("methane_lel", "temperature"))
            (folder / "fleet.json").write_text(fleet.model_dump_json())
            (folder / "token").write_text(TOKEN)
            yield from _into_null_sink(folder, kafka)
            (folder / "influxd").mkdir()
            with running_influxdb(folder / "influxd") as server:
                yield from _drain(folder, kafka, "InfluxDB 2.7.12", server.url, "real", None)


def _feed(kafka: RunningKafka) -> None:
    start_ns = time.time_ns() - 3_600 * 1_000_000_000
    chance = np.random.default_rng(20261122)
    for first in range(0, MESSAGES, 100):
        feed(
            kafka.address,
            PARTITIONS,
            [
                (f"gw-{number % GATEWAYS}", _message(number, start_ns, chance))
                for number in range(first, min(first + 100, MESSAGES))
            ],
        )


def _message(number: int, start_ns: int, chance: np.random.Generator) -> ScoredMessage:
    """Two rounds of all channels of one gateway."""
    gateway, turn = number % GATEWAYS, number // GATEWAYS
    ids = 1 + gateway * CHANNELS_PER_GATEWAY + np.arange(ROWS) % CHANNELS_PER_GATEWAY
    times = (
        start_ns + (2 * turn + np.arange(ROWS) // CHANNELS_PER_GATEWAY) * 1_000_000_000 + np.arange(ROWS) * 1_000_000
    )
    values, score = np.round(chance.normal(20.0, 5.0, ROWS), 1), _score_of_noise(chance)
    others = {kind: _score_of_noise(chance) for kind in DEFAULT_SCORES[Domain.GAS]}
    batch = BatchIdentity(f"gw-{gateway}", 1, 1 + turn)
    return scored_of(number, ids, times, values, 0, score, batch=batch, other_scores=others)


def _score_of_noise(chance: np.random.Generator) -> Floats:
    return np.round(to_score(np.abs(chance.normal(0.0, 1.0, ROWS))), 3)


def _into_null_sink(folder: Path, kafka: RunningKafka) -> Iterator[str]:
    port, opened = free_port(), folder / "opened"
    script = Path(__file__).with_name("null_influxdb.py")
    sink = subprocess.Popen([sys.executable, script, str(port), opened])
    try:
        yield from _drain(folder, kafka, "null sink", f"http://127.0.0.1:{port}", "null", opened)
    finally:
        sink.kill()
        sink.wait()


def _drain(folder: Path, kafka: RunningKafka, what: str, url: str, group: str, opened: Path | None) -> Iterator[str]:
    config = folder / f"{group}.toml"
    config.write_text(
        f'directory = "."\n[kafka]\nservers = ["{kafka.address}"]\npartitions = {PARTITIONS}\n'
        f'[job]\ngroup = "{group}"\ncommit_interval_s = 0.1\n'
        f'[influxdb]\nurl = "{url}"\norg = "city"\ntoken_file = "token"\nretry_max_s = 0.5\n'
        f'[registry]\nurl = "http://127.0.0.1:{free_port()}"\ntoken_file = "token"\n'
    )
    worker = RoleProcess("store", config)
    try:
        if opened is not None:
            yield from _outage(worker, opened)
        cpu_s = worker.cpu_s()
        began, done_s = asyncio.run(_until_committed(kafka, group))
        rate = (READINGS - began * ROWS) / done_s
        cpu_us = 1e6 * (worker.cpu_s() - cpu_s) / READINGS
        yield (
            f"  {what}: {rate:,.0f} readings/s, {cpu_us:.1f} µs CPU of the worker a reading, "
            f"{worker.resident_mib():.0f} MiB resident"
        )
    finally:
        worker.kill()


def _outage(worker: RoleProcess, opened: Path) -> Iterator[str]:
    deadline_s = time.monotonic() + DEADLINE_S
    while "influx_waiting" not in worker.log() and time.monotonic() < deadline_s:
        time.sleep(0.2)
    early = worker.resident_mib()
    samples = []
    for _ in range(20):
        time.sleep(OUTAGE_S / 20)
        samples.append(worker.resident_mib())
    yield (
        f"  sink answers 503 for {OUTAGE_S:.0f} s, {READINGS:,} readings wait on Kafka: "
        f"{early:.0f} MiB resident at its beginning, {max(samples):.0f} MiB at most"
    )
    opened.touch()


async def _until_committed(kafka: RunningKafka, group: str) -> tuple[int, float]:
    """Messages that were committed when we first saw any, and the time from then to the last."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        first, first_s, deadline_s = 0, 0.0, time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            offsets = await admin.list_consumer_group_offsets(group)
            count = sum(max(0, each.offset) for place, each in offsets.items() if place.topic == SCORED.name)
            if count >= MESSAGES:
                return first, time.monotonic() - first_s
            if count and not first:
                first, first_s = count, time.monotonic()
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
    raise AssertionError(f"not within {DEADLINE_S:.0f} s: everything committed")
