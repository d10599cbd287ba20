"""MQTT 5 and 3.1.1 with brokers that know no 5: a gate of sockets before a real mosquitto refuses the newer version."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.settings.configuration import MqttSettings
from edge_agent.uplink.broker_link import BrokerLink
from edge_agent.uplink.mqtt_connection import ConnectionEnded, ConnectionReady, ConnectionReport, Will
from tests.conformance.conftest import _running_mosquitto

pytestmark = pytest.mark.needs_mosquitto

MQTT_5 = 5
UNACCEPTABLE_VERSION = b"\x20\x02\x00\x01"
"""CONNACK of MQTT 3.1.1 with return code 1 (section 3.2.2.3)."""
WILL = Will("spBv1.0/harbour/NDEATH/gw-1", b"")


class OldBroker:
    """Lets 3.1.1 through to a broker; to a CONNECT of version 5 it says no, or just closes."""

    def __init__(self, broker_port: int, refusal: bytes) -> None:
        self.levels: list[int] = []
        self._broker_port, self._refusal = broker_port, refusal
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            connect = client.recv(65_536)
            level = connect[connect.index(b"\x00\x04MQTT") + 6]
            self.levels.append(level)
            if level == MQTT_5:
                client.sendall(self._refusal)
                return
            with socket.create_connection(("127.0.0.1", self._broker_port)) as broker:
                broker.sendall(connect)
                back = threading.Thread(target=_pump, args=(broker, client), daemon=True)
                back.start()
                _pump(client, broker)
                back.join(5)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while octets := source.recv(65_536):
            sink.sendall(octets)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    with _running_mosquitto(tmp_path) as port:
        yield port


def connect(link: BrokerLink) -> ConnectionReport:
    async def attempt() -> ConnectionReport:
        reports: asyncio.Queue[ConnectionReport] = asyncio.Queue()
        connection = link.open("gw-1", WILL, ["spBv1.0/x"], lambda _, report: reports.put_nowait(report))
        try:
            return await asyncio.wait_for(reports.get(), 10)
        finally:
            await connection.close()

    report = asyncio.run(attempt())
    if isinstance(report, ConnectionEnded):
        link.ended(report)
    else:
        link.ready()
    return report


@pytest.mark.parametrize("refusal", [UNACCEPTABLE_VERSION, b""], ids=["says so", "just closes"])
def test_a_broker_that_knows_no_5_is_spoken_to_in_3_1_1_and_that_is_logged(broker_port, refusal, caplog):
    gate = OldBroker(broker_port, refusal)
    try:
        link = BrokerLink(MqttSettings(port=gate.port, protocol="auto"), Path())
        assert isinstance(connect(link), ConnectionEnded)
        assert connect(link) == ConnectionReady()
        assert connect(link) == ConnectionReady()
    finally:
        gate.close()
    assert gate.levels == [5, 4, 4]
    assert "mqtt_protocol_changed from=5 to=3.1.1" in caplog.text


def test_a_version_that_is_set_is_never_left(broker_port, caplog):
    gate = OldBroker(broker_port, UNACCEPTABLE_VERSION)
    try:
        link = BrokerLink(MqttSettings(port=gate.port, protocol="5"), Path())
        for _ in range(3):
            report = connect(link)
            assert isinstance(report, ConnectionEnded)
            assert "Unsupported protocol version" in report.why
    finally:
        gate.close()
    assert gate.levels == [5, 5, 5]


def test_with_a_broker_that_knows_5_the_first_attempt_is_the_last(broker_port):
    link = BrokerLink(MqttSettings(port=broker_port, protocol="auto"), Path())
    assert connect(link) == ConnectionReady()


def test_a_connection_that_failed_is_closed_at_once(tmp_path):
    # paho's thread sleeps for a second after a failure unless it is told not to; meanwhile batches queued up.
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port: int = nobody.getsockname()[1]
    link = BrokerLink(MqttSettings(port=port), tmp_path)

    async def fail_and_close() -> float:
        reports: asyncio.Queue[ConnectionReport] = asyncio.Queue()
        connection = link.open("gw-1", WILL, ["spBv1.0/x"], lambda _, report: reports.put_nowait(report))
        report = await reports.get()
        assert isinstance(report, ConnectionEnded)
        assert "Connection refused" in report.why
        await asyncio.sleep(0.1)
        begun_s = time.monotonic()
        await connection.close()
        return time.monotonic() - begun_s

    assert sum(asyncio.run(fail_and_close()) for _ in range(5)) < 2.0


def test_small_messages_wait_for_no_acknowledgement_of_tcp(broker_port, monkeypatch):
    options = []
    monkeypatch.setattr(socket.socket, "setsockopt", lambda _, *option: options.append(option), raising=False)
    assert connect(BrokerLink(MqttSettings(port=broker_port), Path())) == ConnectionReady()
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options
