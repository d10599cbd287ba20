"""The real servers, started as `make stack` starts them, used by ordinary clients, killed, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from deploy.stack.addresses import parse_environment

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
TOPIC = "observations"


def stack(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a word of the stack's command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.stack.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=150,
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """A run directory that PostgreSQL's own user may enter too (pytest's are closed to it)."""
    with tempfile.TemporaryDirectory(prefix="citysense-stack-", ignore_cleanup_errors=True) as path:
        Path(path).chmod(0o711)
        run = Path(path, "run")
        yield run
        stack("down", "--dir", run)


def up(folder: Path, *servers: str) -> Mapping[str, str]:
    """Starts servers; returns what servers.env says."""
    done = stack("up", "--dir", folder, "--only", *servers)
    assert done.returncode == 0, done.stderr
    return parse_environment((folder / "servers.env").read_text())


def pid_of(folder: Path, server: str) -> int:
    programs = json.loads((folder / "run.json").read_text())["programs"]
    return next(row["pid"] for row in programs if row["name"] == server)


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def until(what: str, check: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not check():
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.1)


def accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


async def make_topic(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()


async def produce(address: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(TOPIC, value, key=b"gw-1")
    finally:
        await producer.stop()


async def consume(address: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=address, auto_offset_reset="earliest")
    async with asyncio.timeout(DEADLINE_S):
        try:
            await consumer.start()
            return [(await consumer.getone()).value for _ in range(count)]
        finally:
            await consumer.stop()


@pytest.mark.needs_kafka
def test_kafka_keeps_records_through_a_kill_and_through_stack_down(folder):
    address = up(folder, "kafka")["CITYSENSE_KAFKA"]
    asyncio.run(make_topic(address))
    asyncio.run(produce(address, [b"one", b"two"]))
    killed = pid_of(folder, "kafka")
    os.kill(killed, signal.SIGKILL)
    until("another Kafka", lambda: pid_of(folder, "kafka") != killed and accepts(address))
    assert asyncio.run(consume(address, 2)) == [b"one", b"two"]
    assert stack("down", "--dir", folder).returncode == 0
    address = up(folder, "kafka")["CITYSENSE_KAFKA"]
    assert asyncio.run(consume(address, 2)) == [b"one", b"two"]


@pytest.mark.needs_influxdb
def test_influxdb_takes_points_and_keeps_the_good_ones_of_a_partly_bad_body(folder):
    variables = up(folder, "influxdb")
    token = Path(variables["CITYSENSE_INFLUXDB_TOKEN_FILE"]).read_text()
    org, bucket = variables["CITYSENSE_INFLUXDB_ORG"], variables["CITYSENSE_INFLUXDB_BUCKET"]
    with InfluxDBClient(variables["CITYSENSE_INFLUXDB"], token, org=org) as client:
        assert client.version().lstrip("v") == "2.7.12"
        writer = client.write_api(write_options=SYNCHRONOUS)
        writer.write(bucket, record="gas,node=n1 value=1.5 1000000000000000000", write_precision="ns")
        mixed = 'gas,node=n1 value=2.5 1000000001000000000\ngas,node=n1 value="text" 1000000002000000000'
        with pytest.raises(ApiException) as refused:
            writer.write(bucket, record=mixed, write_precision="ns")
        assert refused.value.status == 422
        rows = client.query_api().query(f'from(bucket: "{bucket}") |> range(start: 2001-01-01T00:00:00Z)')
        assert [record.get_value() for table in rows for record in table.records] == [1.5, 2.5]


@pytest.mark.needs_influxdb
def test_influxdb_lets_nobody_in_without_the_token(folder):
    variables = up(folder, "influxdb")
    with InfluxDBClient(variables["CITYSENSE_INFLUXDB"], "guess", org="citysense") as client:
        with pytest.raises(ApiException) as refused:
            client.query_api().query('from(bucket: "citysense") |> range(start: -1h)')
        assert refused.value.status == 401


def ask_postgresql(
    variables: Mapping[str, str], database: str, query: str, password: str
) -> subprocess.CompletedProcess:
    host, _, port = variables["CITYSENSE_POSTGRESQL"].partition(":")
    where = f"host={host} port={port} user={variables['CITYSENSE_POSTGRESQL_USER']} dbname={database}"
    environment = {**os.environ, "PGPASSWORD": password}
    command = ["psql", where, "--no-psqlrc", "--no-password", "-Atc", query]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


@pytest.mark.needs_postgresql
def test_postgresql_has_its_databases_and_wants_the_password_and_keeps_rows_through_a_kill(folder):
    variables = up(folder, "postgresql")
    password = Path(variables["CITYSENSE_POSTGRESQL_PASSWORD_FILE"]).read_text()
    for database in ("device_registry", "alarm_service"):
        made = ask_postgresql(variables, database, "create table t as select 7 as n", password)
        assert made.returncode == 0, made.stderr
    refused = ask_postgresql(variables, "alarm_service", "select 1", "guess")
    assert "password authentication failed" in refused.stderr
    killed = pid_of(folder, "postgresql")
    os.kill(killed, signal.SIGKILL)
    until("another PostgreSQL", lambda: pid_of(folder, "postgresql") != killed)
    until("it answers", lambda: ask_postgresql(variables, "alarm_service", "select 1", password).returncode == 0)
    assert ask_postgresql(variables, "alarm_service", "select n from t", password).stdout.strip() == "7"


@pytest.mark.needs_mosquitto
def test_stack_down_ends_every_server_and_a_second_up_finds_them_running(folder):
    up(folder, "mosquitto")
    pid = pid_of(folder, "mosquitto")
    again = stack("up", "--dir", folder, "--only", "mosquitto")
    assert again.returncode == 0
    assert "already run" in again.stdout
    assert pid_of(folder, "mosquitto") == pid
    assert stack("down", "--dir", folder).stdout == "the servers are stopped; their data stay\n"
    assert not is_alive(pid)
    assert not (folder / "servers.env").exists()
    assert stack("status", "--dir", folder).returncode == 1
    assert stack("down", "--dir", folder).returncode == 0


@pytest.mark.needs_mosquitto
def test_servers_do_not_outlive_a_supervisor_that_was_killed(folder):
    up(folder, "mosquitto")
    pid = pid_of(folder, "mosquitto")
    os.kill(int((folder / "lock").read_text()), signal.SIGKILL)
    until("Mosquitto is gone", lambda: not is_alive(pid))


def test_stack_down_leaves_a_process_alone_that_is_no_supervisor_of_ours(folder):
    folder.mkdir()
    body = "import fcntl, os, sys\nfile = open(sys.argv[1], 'a+')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
    body += "file.write(str(os.getpid()))\nfile.flush()\nprint('held', flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", body, str(folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "held\n"
        done = stack("down", "--dir", folder)
        assert done.returncode == 1
        assert f"the process {stranger.pid} holds" in done.stderr
        assert stranger.poll() is None
        stranger.communicate()


def test_a_server_that_the_user_named_is_used_and_not_started(folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        done = stack("up", "--dir", folder, "--only", "kafka", CITYSENSE_KAFKA=address)
        assert done.returncode == 0, done.stderr
        assert f"kafka: {address}, as CITYSENSE_KAFKA says" in done.stdout
        assert parse_environment((folder / "servers.env").read_text()) == {"CITYSENSE_KAFKA": address}


def test_a_server_that_the_user_named_and_that_is_not_there_is_said(folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    done = stack("up", "--dir", folder, "--only", "kafka", CITYSENSE_KAFKA=address)
    assert done.returncode == 1
    assert f"CITYSENSE_KAFKA: {address}: nothing answers there" in done.stderr


def test_all_missing_tools_are_said_at_once_one_line_a_server(folder, tmp_path):
    done = stack(
        "up", "--dir", folder, "--only", "kafka", "influxdb", PATH=str(tmp_path), CITYSENSE_CACHE=str(tmp_path)
    )
    assert done.returncode == 3
    kafka, influxdb = done.stderr.splitlines()
    assert kafka.startswith("kafka: java, mvn not installed (Debian: apt install openjdk-17-jre-headless maven)")
    assert influxdb.startswith("influxdb: go, cargo, cc not installed")
    assert "CITYSENSE_INFLUXDB" in influxdb
