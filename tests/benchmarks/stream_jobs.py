"""The jobs on Kafka beside other ways to write them, on the same topic, in one run.

Filled once: messages of 500 readings of 20,000 channels of 100 gateways. Read from there, one after another, each by
one process: our score job (its sink is Kafka again), our store job (into a server that says yes and keeps nothing), the
naive Faust job of `peers/`, Quix Streams and Bytewax. A figure is readings by CPU second (user and system) of the
process between its first and its last message. The peers score with the same formula, one reading at a time, and make a
line of each; they neither deduplicate, nor control quality, nor keep their state.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
import venv
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from numpy.typing import NDArray

from contracts.fleet import Channel, District, Domain, FleetSnapshot, Gateway, Node, Site
from contracts.kafka_topic import OBSERVATIONS, SCORED, KafkaTopic, partition_of
from contracts.record import Record
from contracts.record_message import (
    ObservationMessage,
    ScoredMessage,
    decode_observations,
    decode_scored,
    encode_observations,
    encode_scored,
)
from contracts.uplink import BatchIdentity
from stream_processor.detectors import DETECTORS
from stream_processor.distributed.job_settings import JobSettings
from stream_processor.distributed.kafka_producer import KafkaMessage, KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.partition_state import PartitionState
from stream_processor.fleet_index import FleetIndex, restrict_fleet
from stream_processor.line_protocol import Points, build_bodies, series_of_fleet
from tests.benchmarks.platform_stack import cpu_seconds, free_port, wait_until
from tests.running_kafka import RunningKafka, running_kafka

CHECKOUT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
PEER_ENVIRONMENT = Path.home() / ".cache/citysense/bench-peers"
PARTITIONS = 4
GATEWAYS = 100
CHANNELS = 20_000
READINGS_PER_MESSAGE = 500
MESSAGES = 6_000
LARGE_MESSAGE = 4_000
PEER_READINGS = {"quix_job": 1_000_000, "bytewax_job": 1_000_000, "naive_faust_job": 60_000}
PEER_TITLES = {
    "quix_job": "Quix Streams 3, one reading at a time",
    "bytewax_job": "Bytewax 0.21, one reading at a time",
    "naive_faust_job": "naive Faust job (table, Point)",
}
QUANTITIES = ("temperature", "relative_humidity")
WITHIN_S = 300.0
PURE_ROUNDS = 3
"""The best counts: the machine is shared."""


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    yield f"  detectors: {', '.join(DETECTORS)}"
    fleet = make_fleet()
    for size in (READINGS_PER_MESSAGE, LARGE_MESSAGE):
        for title, rate in _pure_rates(fleet, size).items():
            yield f"  {title:<42} {rate:>12,.0f} readings/s/core   ({size} a message)"
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


def make_fleet() -> FleetSnapshot:
    """20,000 channels of 10,000 nodes of 100 gateways."""
    nodes = [
        Node(
            node_id=f"n-{index:05}", gateway_id=f"gw-{index % GATEWAYS:03}", bus_id="rtu", site_id="s-1", model="bench"
        )
        for index in range(CHANNELS // len(QUANTITIES))
    ]
    return FleetSnapshot(
        revision=1,
        districts=[District(district_id="d-1", name="Bench")],
        sites=[
            Site(site_id="s-1", district_id="d-1", domain=Domain.BUILDING, name="Bench", latitude=0.0, longitude=0.0)
        ],
        gateways=[Gateway(gateway_id=f"gw-{index:03}", district_id="d-1", name="Bench") for index in range(GATEWAYS)],
        nodes=nodes,
        channels=[
            Channel(channel_id=1 + index, node_id=nodes[index // len(QUANTITIES)].node_id, quantity=quantity)
            for index, quantity in enumerate(QUANTITIES * len(nodes))
        ],
    )


class Readings:
    """A random walk of every channel, as messages of gateways of one partition, in order of time."""

    def __init__(self, fleet: FleetSnapshot, size: int) -> None:
        self._size = size
        self._random = np.random.default_rng(5)
        gateway_of = {node.node_id: node.gateway_id for node in fleet.nodes}
        self._channels = [
            np.array(
                [
                    channel.channel_id
                    for channel in fleet.channels
                    if partition_of(gateway_of[channel.node_id], PARTITIONS) == partition
                ],
                dtype=np.uint32,
            )
            for partition in range(PARTITIONS)
        ]
        gateways = sorted(gateway.gateway_id for gateway in fleet.gateways)
        self._gateways = [
            next(each for each in gateways if partition_of(each, PARTITIONS) == number) for number in range(PARTITIONS)
        ]
        self._values = 20.0 + self._random.normal(0.0, 3.0, CHANNELS + 1)
        self._made = 0
        self._batches = [0] * PARTITIONS

    def next(self, partition: int) -> bytes:
        """The next message of a partition."""
        self._made += 1
        self._batches[partition] += 1
        channels = self._random.choice(self._channels[partition], self._size, replace=False)
        self._values[channels] += self._random.normal(0.0, 0.1, self._size)
        now_ns = 1_760_000_000_000_000_000 + self._made * 25_000_000
        made_ms = now_ns // 1_000_000 - channels.astype(np.int64) % 900
        record = Record(
            channel_id=channels,
            phenomenon_ns=made_ms * 1_000_000,
            received_ns=np.full(self._size, now_ns),
            value=np.round(self._values[channels], 1),
            reason=np.zeros(self._size, dtype=np.uint8),
            is_historical=np.zeros(self._size, dtype=np.bool_),
            batch_index=np.zeros(self._size, dtype=np.int32),
            batches=(BatchIdentity(self._gateways[partition], 1, self._batches[partition]),),
        )
        return encode_observations(ObservationMessage(now_ns, record))


def _pure_rates(fleet: FleetSnapshot, size: int) -> dict[str, float]:
    """What both jobs do to messages but Kafka and HTTP, and its halves. As in the jobs, messages are taken together."""
    part = restrict_fleet(fleet, 0, PARTITIONS)
    readings = Readings(fleet, size)
    encoded = [readings.next(0) for _ in range(1_000_000 // size)]
    contexts = FleetIndex(part).contexts
    channel_ids = np.array(sorted(contexts), dtype=np.uint32)
    series = series_of_fleet(channel_ids.tolist(), contexts)
    at_once = JobSettings(group="bench").gather_messages
    rounds = []
    for _ in range(PURE_ROUNDS):
        state = PartitionState(0, part)
        spent_s: dict[str, float] = defaultdict(float)
        for begin in range(0, len(encoded), at_once):
            with _counted(spent_s, "decode"):
                messages = [state.parse(value) for value in encoded[begin : begin + at_once]]
            with _counted(spent_s, "score"):
                outcomes = state.take_all(list(enumerate(messages, begin)), time.time_ns())
            with _counted(spent_s, "encode"):
                written = [encode_scored(outcome.scored) for outcome in outcomes]
            with _counted(spent_s, "decode scored"):
                read = [decode_scored(each) for each in written]
            with _counted(spent_s, "lines"):
                list(build_bodies(series, _points(read, channel_ids)))
        rounds.append(spent_s)
    titles = {
        "decode, score, encode": ("decode", "score", "encode"),
        "decode, line protocol": ("decode scored", "lines"),
        "score and line protocol, null sink": ("score", "lines"),
        "all of it": ("decode", "score", "encode", "decode scored", "lines"),
    }
    return {
        title: size * len(encoded) / min(sum(each[name] for name in names) for each in rounds)
        for title, names in titles.items()
    }


@contextlib.contextmanager
def _counted(spent_s: dict[str, float], what: str) -> Iterator[None]:
    """Adds the CPU seconds of a block."""
    start_s = time.process_time()
    yield
    spent_s[what] += time.process_time() - start_s


def _points(messages: list[ScoredMessage], channel_ids: NDArray[np.uint32]) -> Points:
    def joined(column: Callable[[ScoredMessage], NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([column(message) for message in messages])

    return Points(
        np.searchsorted(channel_ids, joined(lambda each: each.record.channel_id)),
        joined(lambda each: each.event_ns),
        joined(lambda each: each.record.value),
        joined(lambda each: each.record.reason),
        joined(lambda each: each.score_ewma_z),
    )


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
