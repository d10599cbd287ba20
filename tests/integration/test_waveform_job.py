"""The archive of waveforms on a real Kafka: each block in closed Parquet files once, though the worker is killed."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from contracts.kafka_topic import WAVEFORMS
from contracts.uplink import BatchIdentity
from contracts.waveform_message import Waveform, WaveformMessage, encode_waveforms
from stream_processor.distributed.kafka_producer import KafkaMessage, KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from tests.running_kafka import running_kafka
from tests.scored_messages import STRAIN, small_fleet

ROOT = Path(__file__).parents[2]
DEADLINE_S = 40.0
PARTITIONS = 2
T = 1_761_955_200_000_000_000
CONFIGURATION = """
[kafka]
servers = ["{address}"]
partitions = 2
[job]
gather_interval_s = 0.05
commit_interval_s = 0.2
session_timeout_s = 6.0
[waveforms]
directory = "archive"
max_age_s = 1.0
[registry]
url = "http://127.0.0.1:9"
token_file = "token"
"""


def message(partition: int, batch: int) -> KafkaMessage:
    samples = np.arange(100, dtype=np.float32) + np.float32(batch * 100)
    gateway = f"gw-{partition}"
    block = Waveform(STRAIN, T + batch * 10**9, T + 10**12, 100.0, 0, samples)
    value = encode_waveforms(WaveformMessage(gateway, BatchIdentity(gateway, 7, batch), (block,)))
    return KafkaMessage(WAVEFORMS, partition, gateway.encode(), value)


def produce(address: str, messages: list[KafkaMessage]) -> None:
    async def send() -> None:
        async with KafkaProducer(KafkaSettings(servers=(address,), partitions=PARTITIONS), "test") as producer:
            await producer.send(messages)

    asyncio.run(send())


def stored(folder: Path) -> list[tuple[str, int, float]]:
    """Gateway, batch and sum of the samples, of each block."""
    if not any(folder.rglob("*.parquet")):
        return []
    files = f"{folder}/archive/waveforms/**/*.parquet"
    sql = f"SELECT gateway_id, batch::BIGINT, list_sum(samples) FROM read_parquet('{files}') ORDER BY 1, 2"
    return duckdb.connect().execute(sql).fetchall()


def wait_until(folder: Path, is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline_s, (folder / "worker.log").read_text()[-3_000:]
        time.sleep(0.1)


@contextlib.contextmanager
def worker(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "stream_processor.cli", "waveform", "--config", str(folder / "waveform.toml")]
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()


@pytest.mark.needs_kafka
def test_each_block_is_in_parquet_once_though_it_came_twice_and_the_worker_was_killed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("none")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/waveforms-fleet.json").write_text(small_fleet().model_dump_json())
    batches = [message(partition, batch) for batch in range(30) for partition in range(PARTITIONS)]
    with running_kafka(tmp_path, PARTITIONS) as kafka:
        (tmp_path / "waveform.toml").write_text(CONFIGURATION.format(address=kafka.address))
        produce(kafka.address, batches)
        with worker(tmp_path):
            wait_until(tmp_path, lambda: len(stored(tmp_path)) > 0)
        produce(kafka.address, [*batches[-4:], message(0, 30)])
        with worker(tmp_path):
            wait_until(tmp_path, lambda: len(stored(tmp_path)) >= 61)
    rows = stored(tmp_path)
    assert [row[:2] for row in rows] == [("gw-0", at) for at in range(31)] + [("gw-1", at) for at in range(30)]
    assert [row[2] for row in rows if row[0] == "gw-1"] == [4_950.0 + batch * 10_000.0 for batch in range(30)]
