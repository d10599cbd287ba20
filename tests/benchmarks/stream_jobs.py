"""The jobs on Kafka beside other ways to write them, on the same topic, in one run.

Filled once: messages of 500 readings of 20,000 channels of 100 gateways. Read from there, one after another, each by
one process: our score job (its sink is Kafka again), our store job (into a server that says yes and keeps nothing), the
naive Faust job of `peers/`, Quix Streams and Bytewax. A figure is readings by CPU second (user and system) of the
process between its first and its last message. All channels are scored by `ewma_z` alone, since that is what the peers
do: the same formula, one reading at a time, and a line of each reading; they neither deduplicate, nor control quality,
nor keep their state. What other sets of detectors cost: `job_cost`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import OBSERVATIONS, SCORED, KafkaTopic
from contracts.record_message import decode_observations
from stream_processor.distributed.kafka_producer import KafkaMessage, KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from tests.benchmarks.job_load import PARTITIONS, Readings, make_fleet
from tests.benchmarks.platform_stack import cpu_seconds, free_port, wait_until
from tests.running_kafka import RunningKafka, running_kafka

CHECKOUT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
PEER_ENVIRONMENT = Path.home() / ".cache/citysense/bench-peers"
READINGS_PER_MESSAGE = 500
MESSAGES = 6_000
PEER_READINGS = {"quix_job": 1_000_000, "bytewax_job": 1_000_000, "naive_faust_job": 60_000}
PEER_TITLES = {
    "quix_job": "Quix Streams 3, one reading at a time",
    "bytewax_job": "Bytewax 0.21, one reading at a time",
    "naive_faust_job": "naive Faust job (table, Point)",
}
WITHIN_S = 300.0


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    fleet = make_fleet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_kafka(folder / "kafka", PARTITIONS) as kafka:
            asyncio.run(_fill(kafka, fleet))
            (folder / "token").write_text("none")
            ours = {
                "score job, Kafka to Kafka": lambda: _score_job(folder, kafka, fleet),
                "store job, Kafka to a null sink": lambda: _store_job(folder, kafka, fleet),
            }
            rates = {title: job() for title, job in ours.items()}
            for job, wanted in PEER_READINGS.items():
                rates[PEER_TITLES[job]] = _peer(folder, job, kafka, wanted)
    best = rates["score job, Kafka to Kafka"]
    for title, rate in rates.items():
        yield f"  {title:<42} {rate:>12,.0f} readings/s/core   {best / rate:6.1f} x"


async def _fill(kafka: RunningKafka, fleet: FleetSnapshot) -> None:
    readings = Readings(fleet, READINGS_PER_MESSAGE)
    assert len(decode_observations(readings.next(0)).record) == READINGS_PER_MESSAGE
    async with KafkaProducer(KafkaSettings(servers=(kafka.address,), partitions=PARTITIONS), "bench") as producer:
        for start in range(0, MESSAGES, 200):
            await producer.send(
                [
                    KafkaMessage(OBSERVATIONS, number % PARTITIONS, None, readings.next(number % PARTITIONS))
                    for number in range(start, start + 200)
                ]
            )


def _score_job(folder: Path, kafka: RunningKafka, fleet: FleetSnapshot) -> float:
    (folder / "fleet.json").write_text(fleet.model_dump_json())
    (folder / "score.toml").write_text(
        f"{_kafka_table(kafka)}[job]\ngroup = 'score'\n[score]\nfleet_file = 'fleet.json'\n{_no_registry()}"
    )
    return _measure_job(folder, "score", lambda: asyncio.run(_written(kafka, SCORED)))


def _store_job(folder: Path, kafka: RunningKafka, fleet: FleetSnapshot) -> float:
    (folder / "store").mkdir()
    (folder / "store/fleet.json").write_text(fleet.model_dump_json())
    port = free_port()
    with subprocess.Popen([sys.executable, CHECKOUT / "tests/benchmarks/null_influxdb.py", str(port), folder]) as sink:
        (folder / "store.toml").write_text(
            f"directory = 'store'\n{_kafka_table(kafka)}[job]\ngroup = 'store'\n"
            f"[influxdb]\nurl = 'http://127.0.0.1:{port}'\norg = 'o'\ntoken_file = 'token'\n{_no_registry()}"
        )
        try:
            return _measure_job(folder, "store", lambda: asyncio.run(_committed(kafka, "store", SCORED)))
        finally:
            sink.kill()


def _measure_job(folder: Path, role: str, count_done: Callable[[], int]) -> float:
    """Readings by CPU second of the job's process, from the first message that it has done to the last."""
    with (folder / f"{role}.log").open("wb") as log:
        command = [sys.executable, "-m", "stream_processor.cli", role, "--config", folder / f"{role}.toml"]
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log)
    try:
        wait_until(f"{role} has begun", lambda: _is_running(process, folder, role) and count_done() > 0, WITHIN_S)
        before, cpu_s = count_done(), cpu_seconds(process.pid)
        wait_until(f"{role} is done", lambda: count_done() >= MESSAGES, WITHIN_S)
        return (MESSAGES - before) * READINGS_PER_MESSAGE / (cpu_seconds(process.pid) - cpu_s)
    finally:
        process.kill()
        process.wait()


def _is_running(process: subprocess.Popen[bytes], folder: Path, role: str) -> bool:
    assert process.poll() is None, (folder / f"{role}.log").read_text()[-2_000:]
    return True


async def _written(kafka: RunningKafka, topic: KafkaTopic) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.address)
    await consumer.start()
    try:
        places = [TopicPartition(topic.name, number) for number in range(PARTITIONS)]
        return sum((await consumer.end_offsets(places)).values())
    finally:
        await consumer.stop()


async def _committed(kafka: RunningKafka, group: str, topic: KafkaTopic) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.address, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic.name, number) for number in range(PARTITIONS)]
        consumer.assign(places)
        return sum([await consumer.committed(place) or 0 for place in places])
    finally:
        await consumer.stop()


def _peer(folder: Path, job: str, kafka: RunningKafka, wanted: int) -> float:
    command = [_peer_python(), "-W", "ignore", PEERS / f"{job}.py", kafka.address, OBSERVATIONS.name, str(PARTITIONS)]
    done = subprocess.run([*command, str(wanted)], capture_output=True, text=True, timeout=WITHIN_S, cwd=folder)
    found = next((line.split() for line in done.stdout.splitlines() if "RESULT" in line), None)
    assert found is not None, f"{job}: {done.stdout[-500:]}{done.stderr[-1_000:]}"
    count, cpu_s = found[found.index("RESULT") + 1 :][:2]
    return int(count) / float(cpu_s)


def _peer_python() -> Path:
    """An environment of their own: they need other versions of what we need."""
    lock = CHECKOUT / "requirements/bench.txt"
    python = PEER_ENVIRONMENT / "bin/python"
    stamp = PEER_ENVIRONMENT / "lock"
    if not stamp.exists() or stamp.read_text() != lock.read_text():
        venv.create(PEER_ENVIRONMENT, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "--requirement", lock], check=True)
        stamp.write_text(lock.read_text())
    return python


def _kafka_table(kafka: RunningKafka) -> str:
    return f"[kafka]\nservers = ['{kafka.address}']\npartitions = {PARTITIONS}\n"


def _no_registry() -> str:
    """Nothing listens there: the fleet is the file's."""
    return "[registry]\nurl = 'http://127.0.0.1:9'\ntoken_file = 'token'\n"
