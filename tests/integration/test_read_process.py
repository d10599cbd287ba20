"""The read process on a real Kafka and a real InfluxDB: the console's REST API, asked with a token."""

from __future__ import annotations

import asyncio
import time

import httpx
import numpy as np
import pytest

from contracts.access import hash_token
from contracts.alarm import ConditionInput
from contracts.influx_schema import SCORE_WRITTEN_FROM
from contracts.kafka_topic import ALARM_CONDITIONS, GATEWAY_COMPLETENESS, GATEWAY_STATUS, QUARANTINE, partition_of
from contracts.notice import ChannelsLost
from contracts.quality import Reason
from contracts.query import BridgeHealth, CompletenessRow, GatewayCompleteness, GatewayHealth, QuarantineRow
from contracts.record_message import PartitionTotals
from contracts.uplink import BatchIdentity
from stream_processor.distributed.kafka_producer import KafkaMessage, KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.store_plan import gather_columns, split_lanes
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.fleet_index import FleetIndex
from stream_processor.influx_sink import InfluxSettings, InfluxSink
from stream_processor.line_protocol import build_bodies
from stream_processor.series_table import SeriesTable
from tests.running_influxdb import TOKEN, running_influxdb, wait_until
from tests.running_kafka import free_port, running_kafka
from tests.scored_feed import RoleProcess, feed, feed_async, fleet_of, scored_of

pytestmark = [pytest.mark.needs_kafka, pytest.mark.needs_influxdb]

PARTITIONS = 2
NAN = float("nan")
NOVELTY = ConditionInput.SCORE_NOVELTY
FLEET = fleet_of(2, 2)
VIEWER = {"Authorization": "Bearer viewer-token"}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with running_kafka(tmp_path_factory.mktemp("kafka"), PARTITIONS) as server:
        yield server


@pytest.fixture(scope="module")
def influxd(tmp_path_factory):
    with running_influxdb(tmp_path_factory.mktemp("influxd")) as server:
        yield server


@pytest.fixture(scope="module")
def reader(tmp_path_factory, kafka, influxd):
    """The process, and a client with a viewer's token."""
    folder = tmp_path_factory.mktemp("read")
    port = free_port()
    (folder / "token").write_text(TOKEN)
    (folder / "read").mkdir()
    (folder / "read/fleet.json").write_text(FLEET.model_dump_json())
    config = folder / "read.toml"
    config.write_text(
        f"""
        directory = "read"
        [http]
        port = {port}
        [kafka]
        servers = ["{kafka.address}"]
        partitions = {PARTITIONS}
        retry_max_s = 0.5
        [influxdb]
        url = "{influxd.url}"
        org = "city"
        token_file = "token"
        request_timeout_s = 2.0
        [registry]
        url = "http://127.0.0.1:{free_port()}"
        token_file = "token"
        [[principal]]
        name = "viewer"
        role = "viewer"
        token_sha256 = "{hash_token("viewer-token")}"
        """
    )
    process = RoleProcess("read", config)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=VIEWER, timeout=10) as client:
            wait_until("the read process is ready", lambda: is_ready(client) or process.says_why_it_ended())
            yield client
        assert process.stop() == 0
    finally:
        process.kill()


def is_ready(client) -> bool:
    try:
        return client.get("/v1/latest").status_code == 200
    except httpx.TransportError:
        return False


def latest(client) -> dict[int, dict]:
    return {row["channel_id"]: row for row in client.get("/v1/latest").json()["channels"]}


def tell(kafka, *messages) -> None:
    """Writes (topic, gateway_id, model or None) to Kafka."""

    async def write():
        settings = KafkaSettings(servers=(kafka.address,), partitions=PARTITIONS)
        async with KafkaProducer(settings, "test") as producer:
            await producer.send(
                [
                    KafkaMessage(
                        topic,
                        partition_of(gateway_id, PARTITIONS),
                        gateway_id.encode(),
                        None if model is None else model.model_dump_json().encode(),
                    )
                    for topic, gateway_id, model in messages
                ]
            )

    asyncio.run(write())


def test_nobody_reads_without_a_token(reader):
    assert httpx.get(f"{reader.base_url}/v1/latest").status_code == 401
    assert httpx.get(f"{reader.base_url}/healthz").status_code == 200


def test_last_values_come_from_kafka_and_tell_what_was_lost(kafka, reader):
    at_ns = time.time_ns() // 1_000_000 * 1_000_000
    others = {NOVELTY: np.array([0.713, NAN, 0.9])}
    first = scored_of(
        1,
        [1, 2, 1],
        [at_ns, at_ns, at_ns - 5_000_000],
        [1.5, NAN, 9.0],
        [0, Reason.NO_ANSWER, 0],
        [0.5, NAN, NAN],
        other_scores=others,
    )
    again = scored_of(1, [1], [at_ns + 1_000_000], [77.0])
    lost = scored_of(2, [], [], [], channels_lost=(ChannelsLost("gw-0", (2, 3), Reason.GATEWAY_LOST, at_ns + 1),))
    feed(kafka.address, PARTITIONS, [("gw-0", first), ("gw-0", b"junk"), ("gw-0", again), ("gw-0", lost)])
    wait_until("the loss is shown", lambda: latest(reader).get(3, {}).get("reason") == "gateway_lost")
    rows = latest(reader)
    assert (rows[1]["value"], rows[1]["score_ewma_z"], rows[1]["phenomenon_ns"]) == (1.5, 0.5, at_ns)
    assert (rows[1]["scores"], rows[2]["scores"]) == ({"score_novelty": 0.713}, {})
    assert (rows[2]["value"], rows[2]["reason"]) == (None, "gateway_lost")


def test_a_long_poll_answers_within_a_second_of_the_message(kafka, reader):
    async def poll():
        async with httpx.AsyncClient(base_url=reader.base_url, headers=VIEWER, timeout=20) as client:
            latencies = []
            for number in range(10):
                known = (await client.get("/v1/latest")).json()["revision"]
                waiting = asyncio.create_task(client.get(f"/v1/latest?changed_after={known}&wait_s=10"))
                await asyncio.sleep(0.1)
                assert not waiting.done()
                message = scored_of(10 + number, [7], [time.time_ns()], [float(number)])
                await feed_async(kafka.address, PARTITIONS, [("gw-1", message)])
                written_s = time.monotonic()
                page = (await waiting).json()
                latencies.append(time.monotonic() - written_s)
                assert [(row["channel_id"], row["value"]) for row in page["channels"]] == [(7, float(number))]
            return latencies

    latencies = asyncio.run(poll())
    print(f"scored message to long poll: {1e3 * np.median(latencies):.0f} ms, worst {1e3 * max(latencies):.0f} ms")
    assert max(latencies) < 1.0


def test_a_trend_is_the_same_as_that_of_the_embedded_store(influxd, reader, tmp_path):
    begin_ns = time.time_ns() // 1_000_000_000 * 1_000_000_000 - 300 * 1_000_000_000 + 7_000_000
    random = np.random.default_rng(5)
    count = 200
    times = begin_ns + np.sort(random.choice(280_000, count, replace=False)) * 1_000_000
    values = np.round(random.normal(20.0, 5.0, count), 2)
    reasons = random.choice([0, 0, 0, Reason.CLOCK_SUSPECT, Reason.OUT_OF_RANGE, Reason.NO_ANSWER], count)
    values[reasons == Reason.NO_ANSWER] = NAN
    scores = np.where(reasons < 64, np.round(random.normal(0, 3, count), 3), NAN)
    times[50:] += 60_000_000_000  # a bucket without anything
    novelty = np.where((reasons < 64) & (random.random(count) < 0.5), np.round(random.random(count), 3), NAN)
    others = {NOVELTY: novelty, ConditionInput.SCORE_FLAT_LINE: np.full(count, 0.25)}
    batch = BatchIdentity("gw-0", 1, 1)
    message = scored_of(0, [4] * count, times, values, reasons, scores, batch=batch, other_scores=others)
    other = scored_of(0, [5] * 3, times[:3], [99.0] * 3)
    write(influxd, [message, other])
    query = {"from_ns": begin_ns, "to_ns": begin_ns + 300_000_000_000, "buckets": 34}
    answer = reader.get("/v1/channels/4/trend", params=query).json()
    expected = embedded_trend(tmp_path, message, begin_ns, begin_ns + 300_000_000_000, answer["bucket_ns"])
    assert answer.pop("mean") == pytest.approx(expected.pop("mean"))
    assert answer == expected
    assert set(answer["scores_maximum"]) == {NOVELTY}, "InfluxDB has no score below 0.5"
    assert any(answer["scores_maximum"][NOVELTY])
    assert 0 < sum(answer["bad_count"]) < sum(answer["observation_count"]) <= count
    assert reader.get("/v1/channels/12345/trend").json()["start_ns"] == []


def write(influxd, messages) -> None:
    """Stores messages as the store job does."""

    async def run():
        settings = InfluxSettings(url=influxd.url, org="city", token_file=influxd.token_file)
        table = SeriesTable(FleetIndex(FLEET).contexts)
        async with InfluxSink(settings) as sink:
            for lane in split_lanes(gather_columns(messages), table, 2):
                for body in build_bodies(table.series, lane.points):
                    assert await sink.write(body) == []

    asyncio.run(run())


def embedded_trend(folder, message, from_ns, to_ns, bucket_ns) -> dict:
    """What the embedded store says of the same observations, with the scores that InfluxDB has."""
    store = DuckdbStore(folder / f"store-{bucket_ns}")
    try:
        rows = list(
            zip(
                message.record.phenomenon_ns.tolist(),
                message.record.value.tolist(),
                message.record.reason.tolist(),
                *(
                    np.where(column < SCORE_WRITTEN_FROM, NAN, column).tolist()
                    for column in (message.score_ewma_z, message.other_scores[NOVELTY])
                ),
                strict=True,
            )
        )
        with store.transaction() as cursor:
            for time_ns, value, reason, *scores in rows:
                cursor.execute(
                    """INSERT INTO observation (commit_seq, channel_id, phenomenon_ns, received_ns, value, reason,
                                                score_ewma_z, score_novelty, is_late)
                       VALUES (1, 4, $1, $1, $2, $3, $4, $5, false)""",
                    [time_ns, None if np.isnan(value) else value, reason, *map(none_of_nan, scores)],
                )
        return store.trend(4, from_ns, to_ns, bucket_ns).model_dump()
    finally:
        store.close()


def none_of_nan(score: float) -> float | None:
    return None if np.isnan(score) else score


def test_completeness_quarantine_and_health_are_what_the_jobs_told(kafka, reader):
    row = CompletenessRow(gateway_id="gw-1", epoch=3, highest_batch=9, stored_batches=8, missing_ranges=[(4, 4)])
    told = GatewayCompleteness(gateway_id="gw-1", district_id="harbour", epochs=[row], hours=[])
    gone = told.model_copy(update={"gateway_id": "gw-0"})
    bad = [
        QuarantineRow(received_ns=10 + n, topic="t", reason="unknown_node" if n else "x", detail="d", payload_hex="00")
        for n in range(3)
    ]
    online = GatewayHealth(gateway_id="gw-1", is_online=True, epoch=3, last_payload_ns=5)
    bridge = BridgeHealth(host_id="citysense", is_broker_connected=True, shed_batches_total=2, told_ns=time.time_ns())
    totals = PartitionTotals(observations=1_000, duplicate_batches=3, unscored_messages=1)
    event = GatewayHealth(gateway_id="x", is_online=False, epoch=None, last_payload_ns=None)  # any message will do
    tell(
        kafka,
        (GATEWAY_COMPLETENESS, "gw-0", gone),
        (GATEWAY_COMPLETENESS, "gw-1", told),
        (GATEWAY_COMPLETENESS, "gw-0", None),
        *((QUARANTINE, "gw-1", each) for each in bad),
        (GATEWAY_STATUS, "gw-1", online),
        (GATEWAY_STATUS, "bridge/citysense", bridge),
        (ALARM_CONDITIONS, "gw-1", event),
    )
    feed(kafka.address, PARTITIONS, [("gw-1", scored_of(100, [], [], [], totals=totals))])
    wait_until("health is told", lambda: reader.get("/v1/health").json()["unscored_batches_total"] == 1)
    wait_until("the alarm's lag is counted", lambda: reader.get("/v1/health").json()["outbox_events"] == 1)
    assert reader.get("/v1/completeness").json() == [row.model_dump(mode="json")]
    page = reader.get("/v1/quarantine").json()
    assert page["totals"] == {"unknown_node": 2, "x": 1}
    assert [each["received_ns"] for each in page["newest"]] == [12, 11, 10]
    health = reader.get("/v1/health").json()
    assert health["is_broker_connected"]
    assert health["shed_batches_total"] == 2
    assert health["quarantined_total"] == 3
    assert health["stored_observations_total"] >= 1_000
    assert health["queued_batches"] >= 1, "no store job has taken what we fed"
    assert health["gateways"] == [online.model_dump(mode="json")]


def test_influxdb_away_is_said_and_survived(influxd, reader):
    assert reader.get("/v1/channels/4/trend").status_code == 200
    influxd.kill()
    answer = reader.get("/v1/channels/4/trend")
    assert answer.status_code == 503
    assert "InfluxDB" in answer.json()["detail"]
    influxd.start()
    wait_until("trends again", lambda: reader.get("/v1/channels/4/trend").status_code == 200)


def test_kafka_away_is_survived_and_nothing_is_told_twice(kafka, reader):
    before = reader.get("/v1/health").json()
    kafka.kill()
    assert 1 in latest(reader), "what was known is known"
    kafka.start()
    feed(kafka.address, PARTITIONS, [("gw-1", scored_of(200, [8], [time.time_ns()], [4.25]))])
    wait_until("the new value is shown", lambda: latest(reader).get(8, {}).get("value") == 4.25)
    after = reader.get("/v1/health").json()
    assert after["quarantined_total"] == before["quarantined_total"]
