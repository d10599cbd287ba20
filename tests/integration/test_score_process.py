"""The score job as real worker processes on a real Kafka: killed, joined, left; what comes out is as if nothing was."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.alarm import ConditionEvent, ConditionInput
from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import ALARM_CONDITIONS, OBSERVATIONS, QUARANTINE, SCORED, STATE_SNAPSHOTS, partition_of
from contracts.record import Record
from contracts.record_message import ObservationMessage, ScoredMessage, decode_scored, encode_observations
from contracts.uplink import BatchIdentity
from stream_processor.distributed.partition_state import NOT_A_RECORD, PartitionState
from stream_processor.fleet_index import restrict_fleet
from tests.observed_city import SECOND_NS, START_NS, ObservedCity
from tests.process_tree import children_of
from tests.running_kafka import RunningKafka, running_kafka

pytestmark = pytest.mark.needs_kafka

PARTITIONS = 4
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def kafka(tmp_path_factory) -> Iterator[RunningKafka]:
    with running_kafka(tmp_path_factory.mktemp("kafka"), PARTITIONS) as server:
        yield server


@contextlib.contextmanager
def registry_of(fleet: FleetSnapshot) -> Iterator[str]:
    """The registry's one route, with a fleet that never changes."""
    body = fleet.model_dump_json().encode()

    class Registry(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if "known_revision" in self.path:
                time.sleep(1.0)
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Worker:
    """A score process of its own."""

    def __init__(self, folder: Path, kafka: RunningKafka, registry_url: str, name: str) -> None:
        (folder / "token").write_text("t")
        self._configuration = folder / f"{name}.toml"
        self._configuration.write_text(
            f'[kafka]\nservers = ["{kafka.address}"]\npartitions = {PARTITIONS}\n'
            '[job]\ngroup = "score"\nsession_timeout_s = 6.0\ncommit_interval_s = 0.2\n'
            f'[registry]\nurl = "{registry_url}"\ntoken_file = "token"\n'
            f'[score]\nfleet_file = "{name}.json"\nsnapshot_interval_s = 20.0\nfleet_wait_s = 0.0\n'
        )
        self.log_path = folder / f"{name}.log"

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream_processor.cli", "score", "--config", str(self._configuration)],
                stdout=log,
                stderr=log,
            )

    def log(self) -> str:
        return self.log_path.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def workers(folder: Path, kafka: RunningKafka, fleet: FleetSnapshot, *names: str) -> Iterator[list[Worker]]:
    with registry_of(fleet) as url:
        made = [Worker(folder, kafka, url, name) for name in names]
        try:
            yield made
        finally:
            for worker in made:
                if hasattr(worker, "process") and worker.process.poll() is None:
                    worker.process.kill()
                    worker.process.wait()


def write(kafka: RunningKafka, messages: Iterable[tuple[int, bytes]]) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka.address) as producer:
            for partition, value in messages:
                await producer.send(OBSERVATIONS.name, value, partition=partition)
            await producer.flush()

    asyncio.run(send())


def until(is_true: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.3)


def count_scored(kafka: RunningKafka) -> int:
    """How many messages stand on the topic, some perhaps twice."""

    async def count() -> int:
        async with AIOKafkaConsumer(bootstrap_servers=kafka.address) as consumer:
            places = [TopicPartition(SCORED.name, number) for number in range(PARTITIONS)]
            return sum((await consumer.end_offsets(places)).values())

    return asyncio.run(count())


def until_scored(kafka: RunningKafka, count: int) -> None:
    """Until so many different messages are scored."""
    until(lambda: count_scored(kafka) >= count, f"{count} messages are not scored")
    until(lambda: len(scored_of(kafka)) >= count, f"{count} messages are not scored")


def scored_of(kafka: RunningKafka) -> dict[tuple[int, int], list[ScoredMessage]]:
    """By partition and source offset: more than one if a worker was killed before it had committed."""
    found: dict[tuple[int, int], list[ScoredMessage]] = {}
    for partition, _, _, value in kafka.read_all(SCORED):
        message = decode_scored(value or b"")
        found.setdefault((partition, message.source_offset), []).append(message)
    return found


def reference(fleet: FleetSnapshot, values: list[tuple[int, bytes]]):
    """What one unbroken run says: the messages, and the events by id."""
    states = {number: PartitionState(number, restrict_fleet(fleet, number, PARTITIONS)) for number in range(PARTITIONS)}
    scored, events = {}, {}
    for partition, value in values:
        state = states[partition]
        message = state.parse(value)
        outcome = state.take(state.next_offset, message, message.made_ns)
        scored[partition, outcome.scored.source_offset] = outcome.scored
        events.update({event.event_id: event for event in outcome.events})
    return scored, events


def assert_same(found: ScoredMessage, expected: ScoredMessage) -> None:
    for name in ("event_ns", "score_ewma_z", "is_late"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), strict=True)
    assert found.other_scores.keys() == expected.other_scores.keys()
    for kind, scores in expected.other_scores.items():
        np.testing.assert_array_equal(found.other_scores[kind], scores, strict=True)
    for name in ("channel_id", "phenomenon_ns", "value", "reason", "batch_index"):
        np.testing.assert_array_equal(getattr(found.record, name), getattr(expected.record, name), strict=True)
    assert found.record.batches == expected.record.batches
    assert found.duplicates == expected.duplicates
    assert found.totals == expected.totals
    assert found.completeness == expected.completeness
    assert found.channels_lost == expected.channels_lost


def test_scores_and_alarms_are_those_of_an_unbroken_run_though_workers_are_killed_join_and_leave(kafka, tmp_path):
    city = ObservedCity(gateways=24, partitions=PARTITIONS)
    parts = [[(number, encode_observations(each)) for number, each in city.seconds(60)] for _ in range(4)]
    parts[1].insert(100, (2, b"poison"))
    expected, expected_events = reference(city.fleet, [each for part in parts for each in part])
    ends = list(itertools.accumulate(len(part) for part in parts))
    with workers(tmp_path, kafka, city.fleet, "one", "two") as (one, two):
        one.start()
        write(kafka, parts[0])
        until_scored(kafka, ends[0])
        write(kafka, parts[1])
        until(lambda: count_scored(kafka) >= ends[0] + 20, "nothing of the second part is scored")
        one.end(signal.SIGKILL)  # in the middle of it
        one.start()
        until_scored(kafka, ends[1])
        two.start()
        until(lambda: "partitions_assigned partitions=" in two.log(), "two has not joined")
        write(kafka, parts[2])
        until(lambda: "partition_restored" in two.log(), "two has got no partition")
        until_scored(kafka, ends[2])
        assert two.end() == 0
        write(kafka, parts[3])
        until_scored(kafka, ends[3])
        assert one.end() == 0
        assert "from_offset=0 " not in one.log().split("partition_restored")[-1], "nothing was restored"
        assert "job_failed" not in one.log() + two.log()
    found = scored_of(kafka)
    assert sorted(found) == sorted(expected)
    for place, messages in found.items():
        for message in messages:
            assert_same(message, expected[place])
    events = [ConditionEvent.model_validate_json(value or b"") for _, _, _, value in kafka.read_all(ALARM_CONDITIONS)]
    assert len(expected_events) > 20
    assert {event.event_id for event in events} == set(expected_events)
    for event in events:
        assert event.model_copy(update={"detected_ns": 0}) == expected_events[event.event_id].model_copy(
            update={"detected_ns": 0}
        )
    live = [event for event in events if not event.is_historical]
    assert all(event.phenomenon_ns >= START_NS - SECOND_NS for event in live), "late data paged somebody"
    assert kafka.read_all(STATE_SNAPSHOTS)
    reasons = [json.loads(value or b"")["reason"] for _, _, _, value in kafka.read_all(QUARANTINE)]
    assert set(reasons) == {"unknown_node", NOT_A_RECORD}


def test_a_worker_restores_all_its_partitions_at_once_before_their_first_message(kafka, tmp_path):
    city = ObservedCity(gateways=24, partitions=PARTITIONS)
    messages = [(number, encode_observations(each)) for number, each in city.seconds(30)]
    before = len(scored_of(kafka))
    with workers(tmp_path, kafka, city.fleet, "first", "next") as (first, following):
        first.start()
        write(kafka, messages)
        until_scored(kafka, before + len(messages))
        assert first.end() == 0, "what it has scored is committed"
        following.start()
        until(lambda: following.log().count("partition_restored") == PARTITIONS, "partitions wait for a message")
        restored = [line for line in following.log().splitlines() if "partition_restored" in line]
        assert {int(line.split("partition=")[1].split()[0]) for line in restored} == set(range(PARTITIONS))
        write(kafka, [(0, messages[-1][1])])
        until_scored(kafka, before + len(messages) + 1)
        assert following.log().count("partition_restored") == PARTITIONS, "a partition was restored twice"
        assert following.end() == 0


FOREST = ConditionInput.SCORE_GROUP_FOREST


def forest_fleet() -> FleetSnapshot:
    """The city's first gateway, whose channels are scored by a forest of their group."""
    rows = ObservedCity(gateways=1, partitions=PARTITIONS).fleet.model_dump(mode="json")
    rows["channels"] = [channel | {"scores": [FOREST.value]} for channel in rows["channels"]]
    return FleetSnapshot.model_validate(rows)


def forest_frames(fleet: FleetSnapshot, first: int, count: int) -> tuple[int, bytes]:
    """Frames of the gateway as one message: a reading of each channel every six minutes."""
    channels = np.array([channel.channel_id for channel in fleet.channels], dtype=np.uint32)
    times_ns = START_NS + np.repeat(np.arange(first, first + count), len(channels)) * 360 * SECOND_NS
    (gateway,) = fleet.gateways
    record = Record(
        channel_id=np.tile(channels, count),
        phenomenon_ns=times_ns,
        received_ns=times_ns,
        value=np.round(np.random.default_rng(first).normal(5.0, 1.0, len(times_ns)), 1),
        reason=np.zeros(len(times_ns), dtype=np.uint8),
        is_historical=np.zeros(len(times_ns), dtype=np.bool_),
        batch_index=np.zeros(len(times_ns), dtype=np.int32),
        batches=(BatchIdentity(gateway.gateway_id, 1, 1 + first),),
    )
    message = ObservationMessage(int(times_ns[-1]), record)
    return partition_of(gateway.gateway_id, PARTITIONS), encode_observations(message)


def test_a_worker_has_forests_fitted_beside_it_and_leaves_no_process(kafka, tmp_path):
    fleet = forest_fleet()
    with workers(tmp_path, kafka, fleet, "forester") as (worker,):
        worker.start()
        write(kafka, [forest_frames(fleet, first, 10) for first in range(0, 150, 10)])
        frame = itertools.count(150)

        def is_scored_by_forest() -> bool:
            write(kafka, [forest_frames(fleet, next(frame), 1)])
            return any(FOREST in each.other_scores for each in itertools.chain(*scored_of(kafka).values()))

        until(is_scored_by_forest, "no forest came")
        own = children_of(worker.process.pid)
        assert worker.end() == 0
        assert "forest_refit_failed" not in worker.log()
        assert not [child for child in own if Path("/proc", str(child)).exists()]
