"""Mosquitto as rendered, over TLS with client certificates: who is let in, under which name, and what it may do."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.mqtt_probe import NOT_AUTHORISED, Client, wait_until
from tests.tls_broker import INFLIGHT, QUEUED, TlsBroker, make_authority, make_certificate, revoke

pytestmark = pytest.mark.needs_mosquitto

HOST = "citysense"
CLIENTS = (HOST, "gw-1", "gw-2", "gw-stranger", "#")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the broker, of known and unknown gateways, and of a gateway that another authority signed for."""
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder, "city")
    make_authority(folder, "elsewhere")
    make_certificate(folder, "city", "broker", "broker")
    for common_name in CLIENTS:
        make_certificate(folder, "city", common_name, common_name)
    make_certificate(folder, "city", "gw-2", "stolen")
    revoke(folder, "city", "stolen")
    make_certificate(folder, "elsewhere", "gw-1", "forged")
    return folder


@pytest.fixture(params=["listed", "enrolled"])
def broker(request: pytest.FixtureRequest, tmp_path: Path, certificates: Path) -> Iterator[TlsBroker]:
    running = TlsBroker(tmp_path, certificates, are_enrolled=request.param == "enrolled")
    running.start()
    try:
        yield running
    finally:
        running.stop()


listed = pytest.mark.parametrize("broker", ["listed"], indirect=True)
enrolled = pytest.mark.parametrize("broker", ["enrolled"], indirect=True)


@pytest.fixture
def connect(broker: TlsBroker) -> Iterator[Callable[..., Client]]:
    opened: list[mqtt.Client] = []

    def open_client(certificate: str | None, client_id: str = "any", *, is_durable: bool = False) -> Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.reconnect_delay_set(60, 60)
        context = ssl.create_default_context(cafile=str(broker.certificates / "city.pem"))
        if certificate is not None:
            context.load_cert_chain(
                broker.certificates / f"{certificate}.pem", broker.certificates / f"{certificate}.key"
            )
        client.tls_set_context(context)
        noted = Client(client)
        noted.listen()
        opened.append(client)
        properties = mqtt.Properties(mqtt.PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600 if is_durable else 0
        client.connect("127.0.0.1", broker.port, keepalive=5, clean_start=not is_durable, properties=properties)
        client.loop_start()
        wait_until(f"{certificate} is answered", lambda: noted.connected or noted.lost)
        return noted

    yield open_client
    for client in opened:
        client.disconnect()
        client.loop_stop()


def is_refused(connect: Callable[..., Client], certificate: str | None) -> bool:
    """With TLS 1.3 the server's refusal may come within the handshake or just after it."""
    try:
        return not connect(certificate).is_accepted
    except (ssl.SSLError, ConnectionError):
        return True


def test_a_gateway_with_a_certificate_is_heard_by_the_host(connect: Callable[..., Client]) -> None:
    host, gateway = connect(HOST), connect("gw-1")
    host.subscribe("spBv1.0/#")
    assert gateway.publish("spBv1.0/harbour/DDATA/gw-1/rs485-1", b"reading").value < 0x80
    wait_until("DDATA at the host", lambda: host.has("spBv1.0/harbour/DDATA/gw-1/rs485-1"))


def test_a_command_of_the_host_reaches_its_gateway_only(connect: Callable[..., Client]) -> None:
    host, first, second = connect(HOST), connect("gw-1"), connect("gw-2")
    first.subscribe("spBv1.0/harbour/NCMD/gw-1")
    second.client.subscribe("#", qos=1)
    second.subscribe("spBv1.0/harbour/NCMD/+")
    assert host.publish("spBv1.0/harbour/NCMD/gw-1", b"rebirth").value < 0x80
    assert host.publish("spBv1.0/harbour/NCMD/gw-2", b"rebirth").value < 0x80
    wait_until("NCMD at both", lambda: first.received and second.received)
    assert [topic for topic, _, _ in first.received] == ["spBv1.0/harbour/NCMD/gw-1"]
    assert {topic for topic, _, _ in second.received} == {"spBv1.0/harbour/NCMD/gw-2"}


@listed
def test_nobody_connects_without_a_certificate_of_the_city(connect: Callable[..., Client]) -> None:
    assert is_refused(connect, None)
    assert is_refused(connect, "forged")
    assert connect("gw-1").is_accepted


@listed
def test_a_revoked_certificate_is_refused_and_a_new_one_in_its_name_is_not(connect: Callable[..., Client]) -> None:
    assert is_refused(connect, "stolen")
    assert connect("gw-2").is_accepted


@pytest.mark.parametrize(
    "topic",
    [
        "spBv1.0/harbour/DDATA/gw-2/rs485-1",
        "spBv1.0/harbour/NBIRTH/gw-2",
        "spBv1.0/harbour/NCMD/gw-1",
        "spBv1.0/STATE/citysense",
        "anything",
    ],
)
def test_a_gateway_is_refused_every_topic_that_is_not_its_own(connect: Callable[..., Client], topic: str) -> None:
    gateway = connect("gw-1")
    assert gateway.publish(topic, b"forged").value == NOT_AUTHORISED
    assert gateway.publish("spBv1.0/harbour/NDATA/gw-1", b"own").value < 0x80


@listed
def test_listed_gateways_are_held_to_their_district_and_others_may_nothing(connect: Callable[..., Client]) -> None:
    assert connect("gw-1").publish("spBv1.0/riverside/NDATA/gw-1", b"elsewhere").value == NOT_AUTHORISED
    assert connect("gw-stranger").publish("spBv1.0/harbour/NDATA/gw-stranger", b"new").value == NOT_AUTHORISED


@enrolled
def test_an_enrolled_gateway_speaks_without_a_new_rendering(connect: Callable[..., Client]) -> None:
    assert connect("gw-stranger").publish("spBv1.0/riverside/NDATA/gw-stranger", b"new").value < 0x80


@enrolled
def test_a_certificate_in_the_name_of_a_wildcard_may_nothing(connect: Callable[..., Client]) -> None:
    # Let in or not, it publishes nothing: Mosquitto refuses names that are topic filters.
    try:
        stranger = connect("#")
    except (ssl.SSLError, ConnectionError):
        return
    if stranger.is_accepted:
        for topic in ("spBv1.0/harbour/NDATA/gw-1", "spBv1.0/harbour/DDATA/gw-1/x", "anything"):
            assert stranger.publish(topic, b"forged").value == NOT_AUTHORISED


@listed
def test_the_client_id_is_the_certificates_name_whatever_the_client_says(connect: Callable[..., Client]) -> None:
    first = connect("gw-1", client_id="first")
    second = connect("gw-1", client_id="second")
    wait_until("the first has lost its session to the second", lambda: first.lost)
    assert second.is_accepted
    other = connect("gw-2", client_id="second")
    assert other.is_accepted
    assert second.publish("spBv1.0/harbour/NDATA/gw-1", b"still here").value < 0x80


@listed
def test_state_is_kept_when_the_broker_stops(broker: TlsBroker, connect: Callable[..., Client]) -> None:
    connect(HOST).publish("spBv1.0/STATE/citysense", b"online", retain=True)
    broker.stop()
    broker.start()
    gateway = connect("gw-1")
    gateway.subscribe("spBv1.0/STATE/citysense")
    wait_until("STATE", lambda: gateway.received == [("spBv1.0/STATE/citysense", b"online", True)])


@listed
def test_what_a_client_that_is_away_does_not_take_is_bounded(connect: Callable[..., Client]) -> None:
    host = connect(HOST, is_durable=True)
    host.subscribe("spBv1.0/#")
    host.vanish()
    wait_until("the host is away", lambda: host.lost)
    gateway = connect("gw-1")
    for number in range(QUEUED + INFLIGHT + 30):
        gateway.publish("spBv1.0/harbour/NDATA/gw-1", b"%d" % number)
    back = connect(HOST, is_durable=True)
    gateway.publish("spBv1.0/harbour/NDATA/gw-1", b"last")
    wait_until("the last message", lambda: any(payload == b"last" for _, payload, _ in back.received))
    kept = [int(payload) for _, payload, _ in back.received if payload != b"last"]
    assert kept == list(range(len(kept))), "the oldest are kept, and the newest dropped"
    assert QUEUED <= len(kept) <= QUEUED + INFLIGHT
