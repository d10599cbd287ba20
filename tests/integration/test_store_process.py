"""The store job as a process between a real Kafka and a real InfluxDB."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.influx_schema import COMPLETENESS, COMPLETENESS_BUCKET
from contracts.kafka_topic import QUARANTINE, UPLINK_COMMANDS, partition_of
from contracts.notice import ChannelsLost
from contracts.quality import Reason
from contracts.query import QuarantineRow
from contracts.ranges import RangeSet
from contracts.record_message import HourOfGateway
from contracts.uplink import BatchIdentity
from contracts.uplink_command import UplinkCommand, UplinkCommandKind
from tests.running_influxdb import TOKEN, running_influxdb, wait_until
from tests.running_kafka import free_port, running_kafka
from tests.scored_feed import RoleProcess, feed, fleet_of, scored_of

pytestmark = [pytest.mark.needs_kafka, pytest.mark.needs_influxdb]

PARTITIONS = 2
EPOCH = 7
NAN = float("nan")
HOUR_NS = 3_600 * 1_000_000_000


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with running_kafka(tmp_path_factory.mktemp("kafka"), PARTITIONS) as server:
        yield server


@pytest.fixture(scope="module")
def influxd(tmp_path_factory):
    with running_influxdb(tmp_path_factory.mktemp("influxd")) as server:
        yield server


@pytest.fixture
def start(tmp_path, kafka):
    """Starts store workers; kills what is left of them at the end."""
    running = []

    def build(influx_url, fleet, registry_url=None, group="store"):
        (tmp_path / "token").write_text(TOKEN)
        (tmp_path / "store").mkdir(exist_ok=True)
        (tmp_path / "store/fleet.json").write_text(fleet.model_dump_json())
        config = tmp_path / f"store-{len(running)}.toml"
        config.write_text(
            f"""
            directory = "store"
            [kafka]
            servers = ["{kafka.address}"]
            partitions = {PARTITIONS}
            [job]
            group = "{group}"
            gather_interval_s = 0.02
            session_timeout_s = 6.0
            [influxdb]
            url = "{influx_url}"
            org = "city"
            token_file = "token"
            retry_first_s = 0.05
            retry_max_s = 0.3
            [registry]
            url = "{registry_url or f"http://127.0.0.1:{free_port()}"}"
            token_file = "token"
            """
        )
        worker = RoleProcess("store", config)
        running.append(worker)
        return worker

    yield build
    for worker in running:
        if worker.process.poll() is None:
            worker.kill()


def acknowledged(kafka) -> dict[tuple[str, int], RangeSet]:
    """All that was acknowledged on topic `uplink.commands`, by gateway and epoch."""
    ranges: dict[tuple[str, int], RangeSet] = {}
    for partition, _, key, value in kafka.read_all(UPLINK_COMMANDS):
        command = UplinkCommand.model_validate_json(value)
        assert command.kind is UplinkCommandKind.ACKNOWLEDGE
        assert partition == partition_of(command.gateway_id, PARTITIONS)
        assert key == command.gateway_id.encode()
        known = ranges.setdefault((command.gateway_id, command.epoch), RangeSet())
        for first, last in RangeSet.from_flat(command.flat_ranges):
            known.add(first, last)
    return ranges


def quarantine(kafka) -> list[QuarantineRow]:
    return [QuarantineRow.model_validate_json(value) for *_, value in kafka.read_all(QUARANTINE)]


def count_values(influxd) -> int:
    query = (
        'from(bucket: "readings") |> range(start: 0) |> filter(fn: (r) => r._field == "value") |> group() |> count()'
    )
    rows = influx_rows(influxd, query)
    return rows[0].get_value() if rows else 0


def influx_rows(influxd, query):
    from influxdb_client.client.influxdb_client import InfluxDBClient

    with InfluxDBClient(influxd.url, TOKEN, org="city", timeout=30_000) as client:
        return [record for table in client.query_api().query(query) for record in table.records]


def now_ms() -> int:
    return time.time_ns() // 1_000_000 - 60_000


def test_readings_become_points_and_their_batches_are_acknowledged(kafka, influxd, start):
    at_ms = now_ms()
    at_ns, hour_ns = at_ms * 1_000_000, at_ms * 1_000_000 // HOUR_NS * HOUR_NS
    message = scored_of(
        10,
        [1, 2, 1, 1, 999],
        [at_ns, at_ns + 5_000_000, at_ns + 1_000_000, at_ns + 2_000_000, at_ns],
        [1.5, 20.25, 250.0, 1.75, 7.0],
        [0, 0, Reason.OUT_OF_RANGE, Reason.CLOCK_SUSPECT, 0],
        [0.625, 0.499, NAN, NAN, NAN],  # the second one is too low to be written
        other_scores={
            ConditionInput.SCORE_NOVELTY: np.array([0.75, 0.7, NAN, 0.3, 0.9]),
            ConditionInput.SCORE_GROUP_DISTANCE: np.array([NAN, NAN, NAN, 0.5, NAN]),
        },
        batch=BatchIdentity("gw-0", EPOCH, 3),
        duplicates=(BatchIdentity("gw-0", EPOCH, 1), BatchIdentity("gw-0", EPOCH, 2), BatchIdentity("gw-0", 6, 9)),
        channels_lost=(ChannelsLost("gw-0", (2, 3), Reason.GATEWAY_LOST, at_ns + 3_000_000),),
        completeness=(HourOfGateway("harbour", "gw-0", hour_ns, 3, 4), HourOfGateway("harbour", "gw-9", hour_ns, 0, 0)),
    )
    again = scored_of(10, [1], [at_ns], [99.0], batch=BatchIdentity("gw-0", EPOCH, 50))  # comes a second time
    feed(kafka.address, PARTITIONS, [("gw-0", message), ("gw-0", b"no arrow"), ("gw-0", again)])
    last = scored_of(11, [1], [at_ns + 9_000_000], [2.0], batch=BatchIdentity("gw-0", EPOCH, 4))
    feed(kafka.address, PARTITIONS, [("gw-0", last)])

    worker = start(influxd.url, fleet_of(2, 1))
    wait_until("the last batch is acknowledged", lambda: 4 in acknowledged(kafka).get(("gw-0", EPOCH), ()))
    assert acknowledged(kafka) == {("gw-0", EPOCH): RangeSet([(1, 4)]), ("gw-0", 6): RangeSet([(9, 9)])}
    assert influxd.stored("node-0") == {
        ("value", at_ms): 1.5,
        ("value", at_ms + 5): 20.25,
        ("score_ewma_z", at_ms): 0.625,
        ("score_novelty", at_ms): 0.75,
        ("score_novelty", at_ms + 5): 0.7,
        ("score_group_distance", at_ms + 2): 0.5,
        ("bad_value", at_ms + 1): 250.0,
        ("quality", at_ms + 1): Reason.OUT_OF_RANGE,
        ("value", at_ms + 2): 1.75,
        ("quality", at_ms + 2): Reason.CLOCK_SUSPECT,
        ("quality", at_ms + 3): Reason.GATEWAY_LOST,
        ("value", at_ms + 9): 2.0,
    }
    hours = influx_rows(
        influxd, f'from(bucket: "{COMPLETENESS_BUCKET.name}") |> range(start: 0) |> filter(fn: (r) => '
        f'r._measurement == "{COMPLETENESS}")'
    )  # fmt: skip
    assert {(row["gateway"], row.get_field()): row.get_value() for row in hours} == {
        ("gw-0", "stored_batches"): 3, ("gw-0", "expected_batches"): 4, ("gw-0", "fraction"): 0.75,
        ("gw-9", "stored_batches"): 0, ("gw-9", "expected_batches"): 0,
    }  # fmt: skip
    bad = {row.reason: row for row in quarantine(kafka)}
    assert set(bad) == {"unknown_channel", "unreadable_message"}
    assert "1 readings of channel 999" in bad["unknown_channel"].detail
    assert json.loads(bytes.fromhex(bad["unknown_channel"].payload_hex)) == [
        {"time_ns": at_ns, "value": 7.0, "quality": 0}
    ]
    assert worker.stop() == 0


def test_nothing_is_lost_or_acknowledged_early_when_influxdb_and_the_worker_are_killed(kafka, influxd, start):
    fleet = fleet_of(4, 100)
    channel_ids = np.arange(1, 301)
    base_ns, before = now_ms() * 1_000_000, count_values(influxd)

    def messages(first, count):
        for batch in range(first, first + count):
            for gateway in range(4):
                ids = channel_ids + gateway * 300
                times = np.full(300, base_ns + batch * 1_000_000)
                identity = BatchIdentity(f"gw-{gateway}", 8, batch)
                offset = 1_000 + 4 * batch + gateway
                yield f"gw-{gateway}", scored_of(offset, ids, times, ids * 0.5 + batch, batch=identity)

    def all_acknowledged(up_to):
        known = acknowledged(kafka)
        return all(known.get((f"gw-{gateway}", 8)) == RangeSet([(1, up_to)]) for gateway in range(4))

    worker = start(influxd.url, fleet)
    feed(kafka.address, PARTITIONS, messages(1, 20))
    wait_until("the first 20 are acknowledged", lambda: all_acknowledged(20))
    influxd.kill()
    feed(kafka.address, PARTITIONS, messages(21, 20))
    wait_until("the worker waits for InfluxDB", lambda: "influx_waiting" in worker.log())
    worker.kill()
    assert all_acknowledged(20), "acknowledged what is not stored"
    worker = start(influxd.url, fleet)
    feed(kafka.address, PARTITIONS, messages(41, 20))
    wait_until("the second worker waits", lambda: "influx_waiting" in worker.log())
    assert all_acknowledged(20), "acknowledged what is not stored"
    influxd.start()
    wait_until("something more is stored", lambda: count_values(influxd) - before > 4 * 300 * 20)
    worker.kill()  # in the middle of catching up
    worker = start(influxd.url, fleet)
    wait_until("all are acknowledged", lambda: all_acknowledged(60))
    assert count_values(influxd) - before == 4 * 300 * 60
    assert worker.stop() == 0


def test_a_channel_that_is_new_in_the_registry_is_no_unknown_one(kafka, influxd, start):
    old, new = fleet_of(1, 1), fleet_of(1, 600).model_copy(update={"revision": 2})

    class Registry(BaseHTTPRequestHandler):
        """Tells the new fleet only to who asks at once: a long poll ends with nothing new."""

        def do_GET(self):
            if "wait_s=0.0" in self.path and "known_revision" in self.path:
                body = new.model_dump_json().encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            elif "known_revision" in self.path:
                time.sleep(1.0)
                self.send_response(304)
                self.end_headers()
            else:
                body = old.model_dump_json().encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        at_ms = now_ms()
        known = len(quarantine(kafka))
        feed(
            kafka.address,
            PARTITIONS,
            [("gw-0", scored_of(9_000, [1799], [at_ms * 1_000_000], [3.5], batch=BatchIdentity("gw-0", 9, 1)))],
        )
        worker = start(influxd.url, old, f"http://127.0.0.1:{server.server_address[1]}")
        wait_until("it is acknowledged", lambda: ("gw-0", 9) in acknowledged(kafka))
        assert influxd.stored("node-599") == {("value", at_ms): 3.5}
        assert len(quarantine(kafka)) == known
        assert worker.stop() == 0
    finally:
        server.shutdown()
        server.server_close()
