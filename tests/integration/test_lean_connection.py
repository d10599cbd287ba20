"""The short cuts past aiomqtt and paho, on a real mosquitto: what they rely on is still there, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from stream_processor import lean_connection
from stream_processor.lean_connection import LeanConnection
from stream_processor.mqtt_to_channel import _direct_inbox, _subscriptions
from stream_processor.publish_packet import SIEVED_BYTES_MAX, PublishSieve
from tests.mqtt_probe import DEADLINE_S, accepts, free_port, wait_until

pytestmark = pytest.mark.needs_mosquitto

Message = tuple[str, bytes]
VERSIONS = [aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311]


@dataclass
class Broker:
    """A mosquitto with and without TLS."""

    port: int
    tls_port: int
    certificate: Path
    process: subprocess.Popen[bytes]

    def sender(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(1_000)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        return client


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    files = "-addext subjectAltName=IP:127.0.0.1 -keyout broker.key -out broker.pem"
    subprocess.run(["openssl", *words.split(), *files.split()], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "broker.key").chmod(0o644)
    tmp_path.chmod(0o755)
    port, tls_port = free_port(), free_port()
    (tmp_path / "mosquitto.conf").write_text(
        "allow_anonymous true\nuser root\nmax_queued_messages 0\nmax_inflight_messages 0\n"
        f"listener {port} 127.0.0.1\n"
        f"listener {tls_port} 127.0.0.1\ncertfile {tmp_path}/broker.pem\nkeyfile {tmp_path}/broker.key\n"
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    process = subprocess.Popen([program, "-c", tmp_path / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    try:
        wait_until("mosquitto listens", lambda: accepts(port) and accepts(tls_port))
        yield Broker(port, tls_port, tmp_path / "broker.pem", process)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(DEADLINE_S)


@contextlib.asynccontextmanager
async def connected(
    broker: Broker, heard: list[Message], *, version: aiomqtt.ProtocolVersion, is_tls: bool = False, keepalive: int = 60
) -> AsyncIterator[tuple[aiomqtt.Client, LeanConnection]]:
    def take(topic: str, payload: bytes) -> None:
        heard.append((topic, payload))

    async with aiomqtt.Client(
        "127.0.0.1",
        broker.tls_port if is_tls else broker.port,
        protocol=version,
        queue_type=_direct_inbox(take),
        tls_context=ssl.create_default_context(cafile=broker.certificate) if is_tls else None,
        keepalive=keepalive,
        timeout=DEADLINE_S,
    ) as client:
        has_properties = version is aiomqtt.ProtocolVersion.V5
        sieve = PublishSieve(take, has_properties=has_properties)
        yield client, LeanConnection(client, sieve, has_properties=has_properties)


async def until(what: str, heard: list[Message], count: int) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while len(heard) < count:
        assert time.monotonic() < deadline_s, f"{what}: {len(heard)} of {count}"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_thousands_of_messages_come_each_once_and_in_order_whatever_their_qos(broker, version, is_tls):
    sent = [("t/b", number.to_bytes(4, "big") * (1 + number % 700)) for number in range(3_000)]
    sent.insert(1_500, ("t/b", bytes(2 * SIEVED_BYTES_MAX)))
    heard: list[Message] = []

    async def hear() -> None:
        async with connected(broker, heard, version=version, is_tls=is_tls) as (client, _):
            await client.subscribe("t/#", qos=2)
            sender = broker.sender()
            for number, (topic, payload) in enumerate(sent):
                sender.publish(topic, payload, qos=1 if number % 50 == 7 else 0)
            await until("messages", heard, len(sent))
            sender.disconnect()
            sender.loop_stop()

    asyncio.run(hear())
    assert [payload for _, payload in heard] == [payload for _, payload in sent]


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_many_messages_are_published_in_one_piece_beside_those_of_aiomqtt(broker, version, is_tls):
    due = [(f"t/{number}", number.to_bytes(4, "big") * 300) for number in range(2_000)]
    heard: list[Message] = []

    async def speak() -> None:
        async with connected(broker, heard, version=version, is_tls=is_tls) as (client, connection):
            await client.subscribe("t/#", qos=0)
            await client.publish("t/before", b"with an answer", qos=1)
            await connection.publish(due)
            await client.publish("t/after", b"with an answer", qos=1)
            await connection.publish(due[:1])
            await until("our own messages", heard, len(due) + 3)

    asyncio.run(speak())
    assert heard == [("t/before", b"with an answer"), *due, ("t/after", b"with an answer"), due[0]]


def test_by_mqtt_5_our_own_commands_do_not_come_back_and_those_of_others_do(broker):
    heard: list[Message] = []

    async def speak() -> None:
        async with connected(broker, heard, version=VERSIONS[0]) as (client, connection):
            await client.subscribe(_subscriptions("spBv1.0/STATE/us", ["spBv1.0/#"], "5"))
            await connection.publish([("spBv1.0/d/NCMD/gw-1", b"ours")])
            await client.publish("spBv1.0/STATE/us", b"ours", qos=1)
            sender = broker.sender()
            sender.publish("spBv1.0/d/DDATA/gw-1/b", b"theirs").wait_for_publish(DEADLINE_S)
            await until("what others say", heard, 2)
            sender.disconnect()
            sender.loop_stop()

    asyncio.run(speak())
    assert heard == [("spBv1.0/STATE/us", b"ours"), ("spBv1.0/d/DDATA/gw-1/b", b"theirs")]


def test_a_broker_that_reads_nothing_is_not_filled_and_takes_on_when_it_reads_again(broker, monkeypatch):
    monkeypatch.setattr(lean_connection, "WRITE_TIMEOUT_S", 0.3)
    heard: list[Message] = []

    async def speak() -> None:
        async with connected(broker, heard, version=VERSIONS[0]) as (client, connection):
            await client.subscribe("t/#", qos=0)
            broker.process.send_signal(signal.SIGSTOP)
            written = 0
            with contextlib.suppress(aiomqtt.MqttError):
                for written in range(100):
                    await connection.publish([(f"t/{written}", bytes(100_000))] * 20)
            assert 0 < written < 99, "200 MB are not kept for a broker that reads nothing"
            broker.process.send_signal(signal.SIGCONT)
            await until("what was written", heard, 20 * written)
            await connection.publish([("t/last", b"")])
            await until("what came later", heard, 20 * written + 1)

    asyncio.run(speak())


def test_a_connection_that_ends_is_said_to_be_lost(broker):
    async def speak() -> None:
        async with connected(broker, [], version=VERSIONS[0]) as (client, connection):
            await client.subscribe("t/#", qos=0)
            broker.process.kill()
            with pytest.raises(aiomqtt.MqttError):
                await asyncio.wait_for(anext(client.messages), DEADLINE_S)
            with pytest.raises(aiomqtt.MqttError):
                await connection.publish([("t/1", b"")])

    asyncio.run(speak())


def test_a_connection_on_which_only_messages_come_is_kept_alive(broker):
    """paho must learn that something came, or it takes the answer to its ping for missing behind a backlog."""
    heard: list[Message] = []

    async def hear() -> None:
        async with connected(broker, heard, version=VERSIONS[0], keepalive=2) as (client, _):
            await client.subscribe("t/#", qos=0)
            sender = broker.sender()
            begin_s = time.monotonic()
            while time.monotonic() - begin_s < 5.0:
                sender.publish("t/1", b"x")
                await asyncio.sleep(0.05)
            await until("messages", heard, 50)
            assert client._client._last_bytes_received > time.monotonic() - 1.0
            sender.disconnect()
            sender.loop_stop()

    asyncio.run(hear())
