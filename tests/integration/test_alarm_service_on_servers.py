"""The real alarm service on a real PostgreSQL and a real Kafka, while these, or it, are killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from alarm_service.configuration import KafkaSettings
from alarm_service.desk import AlarmDesk
from alarm_service.health import ReaderState
from alarm_service.journal import Journal
from alarm_service.kafka_to_journal import ConditionReader
from contracts.kafka_topic import ALARM_CONDITIONS, partition_of
from tests.running_alarm_service import COMMAND, DEADLINE_S, ROOT, Service, condition, write_configuration
from tests.running_kafka import RunningKafka, running_kafka
from tests.running_postgresql import running_postgresql

STREAM = 2_000
PARTITIONS = 4


def until(what, check, deadline_s=DEADLINE_S):
    """Polls until `check()` is true; its last answer."""
    end_s = time.monotonic() + deadline_s
    while not (answer := check()):
        assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.05)
    return answer


def health_of(service):
    return service.get("/v1/health").json()


def count_entries(server, database):
    """Rows of the journal with an event, and how many different events these are."""
    return server.execute("SELECT count(event_id), count(DISTINCT event_id) FROM journal", database)[0]


async def _produce(address, values):
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", linger_ms=5)
    await producer.start()
    try:
        futures = [
            await producer.send(
                ALARM_CONDITIONS.name, value, key=gateway.encode(), partition=partition_of(gateway, PARTITIONS)
            )
            for gateway, value in values
        ]
        await asyncio.gather(*futures)
    finally:
        await producer.stop()


def produce(kafka, values):
    """Writes `(gateway, value)` as the score job does."""
    asyncio.run(_produce(kafka.address, values))


def told(number, **fields):
    """An event of one of 50 gateways, as it stands in Kafka."""
    gateway = f"gw-{number % 50}"
    return gateway, json.dumps(condition(number) | {"gateway_id": gateway} | fields).encode()


@pytest.fixture
def database(postgresql_server):
    postgresql_server.make_database("alarm_servers")
    yield "alarm_servers"
    postgresql_server.drop_database("alarm_servers")


@pytest.fixture
def write(tmp_path):
    """`write(postgresql, kafka)`: a configuration."""

    def write_one(server, kafka_address=None, name="alarm-service.toml"):
        store = f'url = "{server.url("alarm_servers")}"\npassword_file = "{server.password_file}"'
        kafka = f'[kafka]\nservers = ["{kafka_address}"]\nretry_max_s = 0.5\nstuck_s = 8.0\n' if kafka_address else ""
        return write_configuration(tmp_path / name, store, kafka)

    return write_one


@contextlib.contextmanager
def running(config):
    """A service, killed at the end if the test did not stop it."""
    service = Service(config)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.kill()
        service.client.close()


def post_until_taken(service, number, refusals):
    """As the outbox does: again after 503, until it is taken."""
    while True:
        answer = service.post(number)
        if answer.status_code == 200:
            return
        assert answer.status_code == 503, answer.text
        refusals.append(answer.json()["detail"])
        time.sleep(0.02)


@pytest.mark.needs_postgresql
def test_postgresql_is_killed_in_the_middle_of_conditions_and_each_alarm_is_there_once(write):
    with running_postgresql() as server:
        server.make_database("alarm_servers")
        with running(write(server)) as service:
            refusals, taken = [], []

            def post_all():
                for number in range(120):
                    post_until_taken(service, number, refusals)
                    taken.append(number)

            poster = threading.Thread(target=post_all)
            poster.start()
            until("40 alarms", lambda: len(taken) >= 40)
            server.kill()
            until("the service says that its journal is away", lambda: refusals)
            assert service.get("/healthz").status_code == 200
            assert health_of(service)["is_journal_available"] is False
            server.start()
            poster.join(DEADLINE_S)
            assert len(taken) == 120, "it came back by itself"
            assert service.process.poll() is None
            alarms = service.get("/v1/alarms").json()["alarms"]
            assert sorted(alarm["channel_id"] for alarm in alarms) == list(range(1, 121))
            assert count_entries(server, "alarm_servers") == (120, 120)
            assert any(word in refusals[0] for word in ("refused", "closed", "terminat", "lost", "starting")), refusals


@pytest.mark.needs_postgresql
def test_a_service_that_begins_before_its_database_answers_503_until_it_is_there(write):
    with running_postgresql() as server:
        server.make_database("alarm_servers")
        server.kill()
        with running(write(server)) as service:
            answer = service.post(1)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "the journal cannot be read or written now" in answer.json()["detail"]
            server.start()
            until("a post is taken", lambda: service.post(1).status_code == 200)
            assert service.stop()[0] == 0


@pytest.mark.needs_postgresql
def test_a_second_service_on_the_database_says_who_holds_it_and_ends(write, postgresql_server, database):
    with running(write(postgresql_server)) as service:
        other = write(postgresql_server, name="other.toml")
        refused = subprocess.run(
            [*COMMAND, "run", "--config", other], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S
        )
        assert refused.returncode == 1
        assert f"process {service.process.pid} (from 127.0.0.1" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert service.post(1).status_code == 200


@pytest.fixture
def kafka(tmp_path):
    with running_kafka(tmp_path / "kafka", PARTITIONS) as server:
        yield server


@pytest.mark.needs_kafka
@pytest.mark.needs_postgresql
def test_a_service_killed_in_the_middle_of_a_stream_has_each_event_once_after_its_restart(
    write, postgresql_server, database, kafka
):
    config = write(postgresql_server, kafka.address)
    config.write_text(config.read_text().replace("[kafka]", "[kafka]\nbatch_messages = 50"))
    writer = threading.Thread(target=produce, args=(kafka, [told(number) for number in range(STREAM)]))
    with running(config) as service:
        writer.start()
        until("300 events", lambda: count_entries(postgresql_server, database)[0] >= 300)
        service.kill()
    writer.join(DEADLINE_S)
    kept = count_entries(postgresql_server, database)[0]
    assert 300 <= kept < STREAM, "it was killed in the middle"
    with running(config) as service:
        until("the rest", lambda: count_entries(postgresql_server, database)[0] >= STREAM)
        until("no lag", lambda: health_of(service)["kafka"]["lag_messages"] == 0)
        assert count_entries(postgresql_server, database) == (STREAM, STREAM)
        health = health_of(service)["kafka"]
        assert (health["state"], health["refused_messages_total"]) == ("reading", 0)
        by = postgresql_server.execute('SELECT DISTINCT "by", kind FROM journal', database)
        assert by == [("kafka:alarm.conditions", "activated")]
        before_s = time.monotonic()
        produce(kafka, [told(STREAM)])
        until("one more", lambda: count_entries(postgresql_server, database)[0] == STREAM + 1)
        print(f"produced to journalled, with the producer's start: {time.monotonic() - before_s:.2f} s")
        returncode, took_s = service.stop()
        assert (returncode, took_s < 3.0) == (0, True), service.log
    with running(config) as service:
        until("connected", lambda: health_of(service)["kafka"]["lag_messages"] == 0)
        assert health_of(service)["kafka"]["taken_messages_total"] == 0, "what is journalled is not read again"


@pytest.mark.needs_kafka
@pytest.mark.needs_postgresql
def test_what_is_no_event_is_kept_and_counted_and_holds_up_nobody(write, postgresql_server, database, kafka):
    wrong = [
        ("gw-0", b"not JSON {"),
        ("gw-1", None),
        told(1, priority=9),
        told(2, surprise=1),
    ]
    produce(kafka, [told(0), *wrong, told(3, title="a\0b"), told(4)])
    # What the journal itself never takes: a trigger stands for a constraint that nobody thought of.
    with running(write(postgresql_server)) as service:
        assert service.post(100).status_code == 200, "the tables are made"
    for statement in (
        (
            "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'"
            " USING ERRCODE = 'integrity_constraint_violation'; END $$"
        ),
        (
            "CREATE TRIGGER never BEFORE INSERT ON journal FOR EACH ROW WHEN (NEW.condition_id = 'condition-4')"
            " EXECUTE FUNCTION fault()"
        ),
    ):
        postgresql_server.execute(statement, database)
    produce(kafka, [told(5)])
    with running(write(postgresql_server, kafka.address)) as service:
        until("the last one", lambda: health_of(service)["kafka"]["taken_messages_total"] == 8)
        kept = postgresql_server.execute("SELECT reason, message FROM refused_message", database)
        reasons = {message: reason for reason, message in kept}
        assert set(reasons) == {value for _, value in (*wrong, told(4))}
        assert reasons[told(1, priority=9)[1]] == "priority: Input should be less than or equal to 4"
        assert "never" in reasons[told(4)[1]]
        names = postgresql_server.execute("SELECT condition_id FROM journal ORDER BY condition_id", database)
        assert [name for (name,) in names] == ["condition-0", "condition-100", "condition-3", "condition-5"]
        health = health_of(service)
        assert (health["refused_messages_kept"], health["kafka"]["refused_messages_total"]) == (5, 5)
        assert sum("event=message_refused" in line for line in service.log) == 5


@pytest.mark.needs_kafka
@pytest.mark.needs_postgresql
def test_kafka_or_the_journal_being_away_stops_nothing_else_and_nothing_is_lost(write, tmp_path):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_postgresql())
        server.make_database("alarm_servers")
        kafka = RunningKafka(tmp_path / "kafka", PARTITIONS)  # not there yet
        service = stack.enter_context(running(write(server, kafka.address)))
        until("it says so", lambda: health_of(service)["kafka"]["state"] == "waiting_for_kafka")
        assert service.post(1_000).status_code == 200, "the REST side goes on"
        kafka.start()
        stack.callback(kafka.kill)
        produce(kafka, [told(number) for number in range(100)])
        until("100 events", lambda: count_entries(server, "alarm_servers") == (101, 101))
        server.kill()
        produce(kafka, [told(number) for number in range(100, 200)])
        until("it says so", lambda: health_of(service)["kafka"]["state"] == "waiting_for_journal")
        server.start()
        until("200 events", lambda: count_entries(server, "alarm_servers") == (201, 201))
        until("all is well", lambda: health_of(service)["kafka"]["state"] == "reading")
        assert not any("Traceback" in line for line in service.log), service.log


@pytest.mark.needs_kafka
def test_a_kafka_that_was_killed_is_read_on_and_one_that_is_away_does_not_delay_the_stop(tmp_path):
    """Without PostgreSQL: SQLite and Kafka go together too."""
    with contextlib.ExitStack() as stack:
        kafka = stack.enter_context(running_kafka(tmp_path / "kafka", PARTITIONS))
        more = f'[kafka]\nservers = ["{kafka.address}"]\nretry_max_s = 0.5\nstuck_s = 8.0\n'
        service = stack.enter_context(running(write_configuration(tmp_path / "alarm-service.toml", more=more)))

        def count():
            return len(service.get("/v1/journal", limit=1_000).json())

        produce(kafka, [told(number) for number in range(100)])
        until("100 events", lambda: count() == 100)
        kafka.kill()
        until("it says so", lambda: health_of(service)["kafka"]["state"] == "waiting_for_kafka")
        assert health_of(service)["kafka"]["because"]
        assert service.post(1_001).status_code == 200, "the REST side goes on"
        kafka.start()
        produce(kafka, [told(number) for number in range(100, 200)])
        try:
            until("200 events", lambda: count() == 201, 2 * DEADLINE_S)
        except AssertionError:
            print(health_of(service), *service.log)
            raise
        kafka.kill()
        until("it says so", lambda: health_of(service)["kafka"]["state"] == "waiting_for_kafka")
        returncode, took_s = service.stop()
        assert (returncode, took_s < 3.0) == (0, True), service.log
        assert not any("Traceback" in line for line in service.log), service.log


class _WedgedReader(ConditionReader):
    """Its first consumer fetches nothing for ever, without an error: what a lost coordinator looks like."""

    made = 0

    def make_consumer(self):
        consumer = super().make_consumer()
        self.made += 1
        if self.made == 1:

            async def never(**_):
                await asyncio.sleep(3_600)

            consumer.getmany = never
        return consumer


class _LeakingReader(ConditionReader):
    """Its first consumer lets out the cancellation of a task of its own: what aiokafka does when a broker is lost."""

    made = 0

    def make_consumer(self):
        consumer = super().make_consumer()
        self.made += 1
        if self.made == 1:

            async def leak(**_):
                raise asyncio.CancelledError

            consumer.getmany = leak
        return consumer


@pytest.mark.needs_kafka
@pytest.mark.parametrize(
    ("kind", "told_reason"),
    [(_WedgedReader, "no progress for 1 s, lag 10"), (_LeakingReader, "cancelled from within")],
)
def test_a_reader_that_is_stuck_or_cancelled_from_within_is_started_anew(kafka, tmp_path, caplog, kind, told_reason):
    produce(kafka, [told(number) for number in range(10)])
    settings = KafkaSettings(servers=(kafka.address,), stuck_s=1.0, group=f"alarms-{kind.__name__}")

    async def read(desk):
        reader = kind(settings, desk)
        reading = asyncio.create_task(reader.run())
        async with asyncio.timeout(DEADLINE_S):
            while reader.health.taken_messages_total < 10:  # noqa: ASYNC110  # no event tells it
                await asyncio.sleep(0.02)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return reader

    with Journal(tmp_path / "alarms.sqlite") as journal:
        with contextlib.closing(AlarmDesk(journal, time.time_ns)) as desk:
            reader = asyncio.run(read(desk))
        assert len(journal.read_entries(100, None)) == 10
    assert (reader.made, reader.health.restarts_total, reader.health.state) == (2, 1, ReaderState.READING)
    assert told_reason in caplog.text


@pytest.mark.needs_kafka
def test_a_service_without_kafka_in_its_configuration_loads_no_client_of_it(tmp_path):
    with running(write_configuration(tmp_path / "alarm-service.toml")) as service:
        maps = Path(f"/proc/{service.process.pid}/maps").read_text()
        assert "pydantic_core" in maps, "this is how a client with a C extension shows"
        assert "aiokafka" not in maps
        assert httpx.get(f"{service.address}/healthz").status_code == 200
        assert service.stop(signal.SIGINT)[0] == 0
