"""The agent's way to the broker over TLS: the rendered Mosquitto, client certificates, and all that can be wrong.

Faults are looked for with `BrokerLink` itself, in this process; the last tests run the whole agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from contracts.configuration import check_settings
from edge_agent.errors import CredentialError
from edge_agent.settings.configuration import MqttSettings
from edge_agent.uplink.broker_choice import EndKind
from edge_agent.uplink.broker_link import BrokerLink
from edge_agent.uplink.mqtt_connection import ConnectionEnded, ConnectionReady, ConnectionReport, Will
from tests.mqtt_probe import Client, free_port, wait_until
from tests.tls_broker import TlsBroker, make_authority, make_certificate, make_expired, openssl, revoke

pytestmark = pytest.mark.needs_mosquitto

ROOT = Path(__file__).parents[2]
WILL = Will("spBv1.0/harbour/NDEATH/gw-1", b"")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the broker, of a gateway (good, expired, revoked, of another authority) and of the host."""
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("city", "elsewhere"):
        make_authority(folder, authority)
    for name in ("broker", "gw-1", "citysense"):
        make_certificate(folder, "city", name, name)
    for name in ("broker", "gw-1"):
        make_expired(folder, "city", name)
    make_certificate(folder, "city", "gw-1", "stolen")
    revoke(folder, "city", "stolen")
    make_certificate(folder, "elsewhere", "gw-1", "forged")
    openssl(folder, "ec", "-in", "gw-1.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
    (folder / "garbage.pem").write_text("no certificate\n")
    return folder


@contextlib.contextmanager
def running(folder: Path, certificates: Path, own: str = "broker", *, are_enrolled: bool = False) -> Iterator[int]:
    broker = TlsBroker(folder, certificates, are_enrolled=are_enrolled, own=own)
    broker.start()
    try:
        yield broker.port
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[int]:
    with running(tmp_path_factory.mktemp("broker"), certificates) as port:
        yield port


def settings(port: int, **tls: str | None) -> MqttSettings:
    table = {"ca_file": "city.pem", "certificate_file": "gw-1.pem", "key_file": "gw-1.key", **tls}
    return check_settings(
        MqttSettings, {"port": port, "tls": {k: v for k, v in table.items() if v is not None}}, "test"
    )


def connect(link: BrokerLink) -> ConnectionReport:
    """What comes of one connection; its end is told to the link."""

    async def attempt() -> ConnectionReport:
        reports: asyncio.Queue[ConnectionReport] = asyncio.Queue()
        topic_filters = ["spBv1.0/harbour/NCMD/gw-1"]
        connection = link.open("gw-1", WILL, topic_filters, lambda _, report: reports.put_nowait(report))
        try:
            return await asyncio.wait_for(reports.get(), 10)
        finally:
            await connection.close()

    report = asyncio.run(attempt())
    if isinstance(report, ConnectionEnded):
        link.ended(report)
    return report


@pytest.mark.parametrize("minimum_version", ["1.2", "1.3"])
def test_a_gateway_with_its_certificate_is_let_in(port, certificates, minimum_version):
    assert connect(BrokerLink(settings(port, minimum_version=minimum_version), certificates)) == ConnectionReady()


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"ca_file": "elsewhere.pem"}, ["broker's certificate is refused", "elsewhere.pem", "signed by"]),
        ({"server_name": "other.example"}, ["broker's certificate is refused", "'other.example'"]),
        ({"certificate_file": "forged.pem", "key_file": "forged.key"}, ["does not know the authority", "forged.pem"]),
        ({"certificate_file": "stolen.pem", "key_file": "stolen.key"}, ["stolen.pem is revoked"]),
        ({"certificate_file": "gw-1-expired.pem", "key_file": "gw-1-expired.key"}, ["gw-1-expired.pem has expired"]),
        ({"certificate_file": None, "key_file": None}, ["wants a client certificate", "certificate_file and key_file"]),
    ],
    ids=["wrong CA", "wrong name", "unknown client", "revoked client", "expired client", "no client certificate"],
)
def test_a_refusal_says_which_file_and_why(port, certificates, caplog, tls, words):
    caplog.set_level(logging.WARNING)
    report = connect(BrokerLink(settings(port, **tls), certificates))
    assert isinstance(report, ConnectionEnded)
    for word in words:
        assert word in caplog.text
    assert "mqtt_protocol_changed" not in caplog.text, "a refused certificate is no question of the MQTT version"


def test_an_expired_certificate_of_the_broker_is_refused(tmp_path, certificates, caplog):
    with running(tmp_path, certificates, "broker-expired") as port:
        report = connect(BrokerLink(settings(port), certificates))
    assert isinstance(report, ConnectionEnded)
    assert report.kind is EndKind.UNREACHABLE
    assert "certificate has expired" in caplog.text
    assert "be in date" in caplog.text


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"ca_file": "nowhere.pem"}, ["ca_file", "nowhere.pem", "No such file"]),
        ({"ca_file": "garbage.pem"}, ["ca_file", "garbage.pem", "no PEM"]),
        ({"certificate_file": "nowhere.pem"}, ["certificate_file", "nowhere.pem", "No such file"]),
        ({"certificate_file": "garbage.pem"}, ["certificate_file", "garbage.pem", "no PEM"]),
        ({"key_file": "nowhere.key"}, ["key_file", "nowhere.key", "No such file"]),
        ({"key_file": "stolen.key"}, ["key_file", "stolen.key", "mismatch"]),
        ({"key_file": "locked.key"}, ["key_file", "locked.key", "encrypted"]),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_nothing_is_sent(certificates, tls, words):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        with pytest.raises(CredentialError) as raised:
            connect(BrokerLink(settings(listener.getsockname()[1], **tls), certificates))
        with pytest.raises(TimeoutError):
            listener.accept()
    for word in words:
        assert word in str(raised.value)


def test_a_broker_without_tls_hears_not_one_byte_of_mqtt(certificates, caplog):
    heard: list[bytes] = []

    def listen(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                heard.append(client.recv(4096))
                client.sendall(b"\x20\x02\x00\x00" * 2)  # CONNACKs of a broker in plain text

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, args=(listener,), daemon=True)
        thread.start()
        link = BrokerLink(settings(listener.getsockname()[1]), certificates)
        for _ in range(3):
            assert isinstance(connect(link), ConnectionEnded)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    assert len(heard) == 3
    assert all(octets[0] == 0x16 for octets in heard), "TLS handshake records, and nothing else, each time"
    assert "does not speak TLS" in caplog.text


CONFIGURATION = """
[gateway]
gateway_id = "gw-1"
district_id = "harbour"
[mqtt]
port = {port}
keepalive_s = 2
[mqtt.tls]
ca_file = "city.pem"
certificate_file = "own.pem"
key_file = "own.key"
[spool]
path = "spool.sqlite"
[[bus]]
bus_id = "tcp"
kind = "modbus_tcp"
host = "127.0.0.1"
port = {closed_port}
[[bus.node]]
node_id = "gas-1"
profile = "honeywell_sensepoint_xrl"
device_id = 1
"""


@contextlib.contextmanager
def agent(folder: Path, certificates: Path, port: int, own: str) -> Iterator[Path]:
    """The whole agent; gives its log."""
    shutil.copy(certificates / "city.pem", folder / "city.pem")
    wear(folder, certificates, own)
    (folder / "agent.toml").write_text(CONFIGURATION.format(port=port, closed_port=free_port()))
    command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(folder / "agent.toml")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
    try:
        yield folder / "log"
    finally:
        process.terminate()
        process.wait(10)


def wear(folder: Path, certificates: Path, own: str) -> None:
    for suffix in ("pem", "key"):
        shutil.copy(certificates / f"{own}.{suffix}", folder / f"own.{suffix}")


@contextlib.contextmanager
def host(certificates: Path, port: int) -> Iterator[Client]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="any", protocol=MQTTProtocolVersion.MQTTv5)
    context = ssl.create_default_context(cafile=str(certificates / "city.pem"))
    context.load_cert_chain(certificates / "citysense.pem", certificates / "citysense.key")
    client.tls_set_context(context)
    noted = Client(client)
    noted.listen()
    client.connect("127.0.0.1", port)
    client.loop_start()
    wait_until("the host is connected", lambda: noted.is_accepted)
    noted.subscribe("spBv1.0/#")
    try:
        yield noted
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("are_enrolled", [False, True], ids=["listed", "enrolled"])
def test_the_agent_is_born_on_the_rendered_broker_as_what_its_certificate_says(tmp_path, certificates, are_enrolled):
    (tmp_path / "broker").mkdir()
    with (
        running(tmp_path / "broker", certificates, are_enrolled=are_enrolled) as port,
        host(certificates, port) as watcher,
        agent(tmp_path, certificates, port, "gw-1") as log,
    ):
        wait_until("the birth", lambda: watcher.has("spBv1.0/harbour/NBIRTH/gw-1"))
        assert "tls=True" in log.read_text()
    with contextlib.suppress(AssertionError):
        wait_until("the broker's log", lambda: "gw-1" in (tmp_path / "broker" / "log").read_text())
    assert "u'gw-1'" in (tmp_path / "broker" / "log").read_text(), "the user name is the certificate's common name"


def test_a_new_certificate_is_used_without_a_restart_and_the_attempts_before_it_are_few(tmp_path, certificates, port):
    with host(certificates, port) as watcher, agent(tmp_path, certificates, port, "stolen") as log:
        wait_until("it is refused", lambda: log.read_text().count("is revoked") >= 2)
        began_s = time.monotonic()
        attempts = log.read_text().count("mqtt_ended")
        wait_until("it is refused again", lambda: log.read_text().count("mqtt_ended") > attempts)
        assert log.read_text().count("mqtt_ended") <= 4 + (time.monotonic() - began_s) / 0.35, "attempts back off"
        wear(tmp_path, certificates, "gw-1")
        wait_until("the birth", lambda: watcher.has("spBv1.0/harbour/NBIRTH/gw-1"))
        assert log.read_text().count("agent_started") == 1
