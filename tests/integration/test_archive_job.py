"""The archive job on a real Kafka: all rows in closed Parquet files, each once, whatever is killed; and its disk."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from contracts.configuration import parse_settings
from contracts.kafka_topic import SCORED
from contracts.record_message import encode_scored
from stream_processor.distributed import archive_process
from stream_processor.distributed.kafka_producer import KafkaMessage, KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from tests.running_kafka import running_kafka
from tests.scored_messages import METHANE, OXYGEN, SECOND_NS, STRAIN, good, scored_message, small_fleet

ROOT = Path(__file__).parents[2]
DEADLINE_S = 40.0
PARTITIONS = 2
ROWS_OF_MESSAGE = 30
T = 1_761_955_200 * SECOND_NS

CONFIGURATION = """
[kafka]
servers = ["{address}"]
partitions = 2
[job]
group = "archive"
gather_interval_s = 0.05
commit_interval_s = 0.2
session_timeout_s = 6.0
[archive]
directory = "archive"
rows_per_file = 1000
max_age_s = 1.0
[registry]
url = "http://127.0.0.1:9"
token_file = "token"
"""


def wait_until(what: str, is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with running_kafka(tmp_path_factory.mktemp("kafka"), PARTITIONS) as server:
        yield server


def value_of(partition: int, offset: int, row: int) -> float:
    return partition * 1e6 + offset * 100.0 + row


def messages_of(partition: int, first: int, last: int) -> list[KafkaMessage]:
    messages = []
    for offset in range(first, last + 1):
        rows = [
            good((METHANE, OXYGEN, STRAIN)[row % 3], T + offset * SECOND_NS + row, value_of(partition, offset, row))
            for row in range(ROWS_OF_MESSAGE)
        ]
        messages.append(KafkaMessage(SCORED, partition, None, encode_scored(scored_message(offset, *rows))))
    return messages


def produce(address: str, messages: list[KafkaMessage]) -> None:
    async def send() -> None:
        settings = KafkaSettings(servers=(address,), partitions=PARTITIONS)
        async with KafkaProducer(settings, "test") as producer:
            await producer.send(messages)

    asyncio.run(send())


def values_in(folder: Path) -> list[float]:
    """Through the data team's one line of SQL."""
    if not any(folder.rglob("*.parquet")):
        return []
    sql = f"SELECT value FROM read_parquet('{folder}/archive/parquet/**/*.parquet', hive_partitioning = true)"
    return sorted(value for (value,) in duckdb.sql(sql).fetchall())


@contextlib.contextmanager
def worker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "stream_processor.cli", "archive", "--config", str(folder / "archive.toml")],
            cwd=ROOT,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.needs_kafka
def test_each_row_is_in_parquet_once_after_kill_9_and_with_a_second_worker(kafka, tmp_path):
    (tmp_path / "archive.toml").write_text(CONFIGURATION.format(address=kafka.address))
    (tmp_path / "token").write_text("none")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/fleet.json").write_text(small_fleet().model_dump_json())
    produce(kafka.address, [each for partition in range(PARTITIONS) for each in messages_of(partition, 0, 99)])
    with worker(tmp_path) as first:
        wait_until("the first files", lambda: len(values_in(tmp_path)) > 0)
        first.kill()
        first.wait()
    produce(kafka.address, [KafkaMessage(SCORED, 0, None, b"no message at all"), *messages_of(0, 90, 149)])
    produce(kafka.address, messages_of(1, 95, 119))
    with worker(tmp_path) as second:
        wait_until("more files", lambda: len(values_in(tmp_path)) > 100 * ROWS_OF_MESSAGE)
        with worker(tmp_path) as third:
            produce(kafka.address, [*messages_of(0, 150, 249), *messages_of(1, 120, 199)])
            expected = sorted(
                value_of(partition, offset, row)
                for partition, count in ((0, 250), (1, 200))
                for offset in range(count)
                for row in range(ROWS_OF_MESSAGE)
            )
            wait_until("all rows", lambda: len(values_in(tmp_path)) >= len(expected))
            for process in (third, second):
                process.send_signal(signal.SIGTERM)
            assert [third.wait(20), second.wait(20)] == [0, 0], (tmp_path / "worker.log").read_text()[-3_000:]
    assert values_in(tmp_path) == expected
    log = (tmp_path / "worker.log").read_text()
    assert "archive_message_unreadable partition=0 offset=100" in log
    assert "archive_gap" not in log
    assert not list((tmp_path / "archive/journal").glob("*.closing"))


JOURNAL_WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.unit.stream_processor.test_parquet_archive import NOW_NS, archive_of, frames
archive = archive_of(Path(sys.argv[2]), 30)
archive.finish_begun()
first = int(sys.argv[3])
while True:
    archive.append(0, frames(first, first + 2), NOW_NS)
    first += 3
    print(first, flush=True)
"""


def test_kill_9_at_random_times_loses_no_row_that_was_confirmed(tmp_path):
    from tests.unit.stream_processor.test_parquet_archive import NOW_NS, archive_of, close_all, expected, frames
    from tests.unit.stream_processor.test_parquet_archive import values_in as values_in_archive

    random = np.random.default_rng(5)
    confirmed = 0
    for _ in range(6):
        command = [sys.executable, "-c", JOURNAL_WORKER, str(ROOT), str(tmp_path), str(max(0, confirmed - 4))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
            assert process.stdout is not None
            confirmed = int(process.stdout.readline())
            deadline_s = time.monotonic() + random.uniform(0.05, 0.3)
            while time.monotonic() < deadline_s:
                confirmed = int(process.stdout.readline())
            process.kill()
            confirmed = max([confirmed, *(int(line) for line in process.stdout if line.endswith("\n"))])
    archive = archive_of(tmp_path, 30)
    archive.finish_begun()
    archive.append(0, frames(max(0, confirmed - 4), confirmed + 9), NOW_NS)
    close_all(archive)
    assert confirmed > 20, "too slow a machine: no journal was closed"
    assert values_in_archive(tmp_path) == expected(*range(confirmed + 10))


def test_the_documented_example_is_a_configuration():
    path = Path(archive_process.__file__).parent / "example-archive.toml"
    settings = parse_settings(archive_process.ProcessSettings, path.read_text(), str(path)).anchored(Path("/etc/city"))
    assert settings.archive.directory == Path("/etc/city/archive")
    assert settings.registry.token_file == Path("/etc/city/secret/processor-token")
    assert settings.job.gather_interval_s == 1.0
