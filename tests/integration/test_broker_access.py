"""The rendered configurations on the real brokers: who may connect, who may publish what, STATE and wills."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.mqtt_probe import DEADLINE_S, NOT_AUTHORISED, Client, accepts, free_port, wait_until

PASSWORDS = {
    "citysense": "host-secret",
    "citysense-hill": "hill-secret",
    "gw-1": "one-secret",
    "gw-2": "two-secret",
    "gw-hill": "three-secret",
}
V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311


@dataclass
class Broker:
    kind: str
    ports: dict[MQTTProtocolVersion, int]


def render(kind: str, folder: Path, ports: dict[MQTTProtocolVersion, int]) -> Path:
    for user_name, password in PASSWORDS.items():
        (folder / user_name).write_text(password)
    (folder / "kept").mkdir()
    gateways = "".join(
        f'[[gateway]]\ngateway_id = "{name}"\ndistrict_id = "{district}"\npassword_file = "{name}"\n'
        for name, district in (("gw-1", "harbour"), ("gw-2", "harbour"), ("gw-hill", "hill"))
    )
    (folder / "broker.toml").write_text(
        f'run_as = "{getpass.getuser()}"\n[listener]\nport = {ports[V5]}\nport_v311 = {ports[V311]}\n'
        f'[persistence]\ndirectory = "kept"\n[[host]]\npassword_file = "citysense"\n'
        '[[host]]\nuser_name = "citysense-hill"\nhost_id = "citysense-hill"\ndistricts = ["hill"]\n'
        f'password_file = "citysense-hill"\n{gateways}'
    )
    arguments = ["render", "--kind", kind, "--config", str(folder / "broker.toml"), "--out", str(folder)]
    subprocess.run([sys.executable, "-m", "broker_config.cli", *arguments], check=True, timeout=60)
    return folder / {"mosquitto": "mosquitto.conf", "rumqttd": "rumqttd.toml"}[kind]


# A broker for each test: clients that come in the moment in which others leave can wedge rumqttd (ADR 0002).
@pytest.fixture(params=[pytest.param("mosquitto", marks=pytest.mark.needs_mosquitto), "rumqttd"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    kind: str = request.param
    ports = {V5: free_port(), V311: free_port()}
    configuration = render(kind, tmp_path, ports)
    if kind == "mosquitto":
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        command = [program, "-c", str(configuration)]
        ports[V311] = ports[V5]
    else:
        command = [sys.executable, "-m", "iotcore", "--config", str(configuration)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(f"{kind} listens", lambda: all(map(accepts, ports.values())) or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield Broker(kind, ports)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[..., Client]]:
    opened: list[mqtt.Client] = []

    def open_client(
        user_name: str | None,
        password: str | None = None,
        protocol: MQTTProtocolVersion = V5,
        will: tuple[str, bytes] | None = None,
    ) -> Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"{user_name}-{len(opened)}", protocol=protocol)
        client.reconnect_delay_set(60, 60)
        noted = Client(client)
        if user_name is not None:
            client.username_pw_set(user_name, password or PASSWORDS[user_name])
        if will is not None:
            client.will_set(will[0], will[1], qos=1)
        noted.listen()
        client.connect("127.0.0.1", broker.ports[protocol], keepalive=5)
        client.loop_start()
        opened.append(client)
        wait_until(f"{user_name} is answered", lambda: noted.connected or noted.lost)
        return noted

    yield open_client
    for client in opened:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("protocol", [V5, V311], ids=["MQTT 5", "MQTT 3.1.1"])
def test_a_known_gateway_connects(connect: Callable[..., Client], protocol: MQTTProtocolVersion) -> None:
    assert connect("gw-1", protocol=protocol).is_accepted


@pytest.mark.parametrize("protocol", [V5, V311], ids=["MQTT 5", "MQTT 3.1.1"])
def test_nobody_else_connects(connect: Callable[..., Client], protocol: MQTTProtocolVersion) -> None:
    strangers = {
        "wrong password": ("gw-1", "guess"),
        "another's password": ("gw-1", PASSWORDS["gw-2"]),
        "no name": (None, None),
        "unknown name": ("gw-3", "guess"),
    }
    accepted = [who for who, (name, password) in strangers.items() if connect(name, password, protocol).is_accepted]
    assert accepted == []


@pytest.mark.parametrize("protocol", [V5, V311], ids=["MQTT 5", "MQTT 3.1.1"])
def test_what_a_gateway_publishes_reaches_the_host(
    connect: Callable[..., Client], protocol: MQTTProtocolVersion
) -> None:
    host, gateway = connect("citysense", protocol=protocol), connect("gw-1", protocol=protocol)
    host.subscribe("spBv1.0/#")
    gateway.publish("spBv1.0/harbour/DDATA/gw-1/rs485-1", b"reading")
    wait_until("DDATA at the host", lambda: host.has("spBv1.0/harbour/DDATA/gw-1/rs485-1"))


@pytest.mark.parametrize("protocol", [V5, V311], ids=["MQTT 5", "MQTT 3.1.1"])
def test_a_command_of_the_host_reaches_its_gateway(
    connect: Callable[..., Client], protocol: MQTTProtocolVersion
) -> None:
    host, gateway = connect("citysense", protocol=protocol), connect("gw-1", protocol=protocol)
    gateway.subscribe("spBv1.0/harbour/NCMD/gw-1")
    host.publish("spBv1.0/harbour/NCMD/gw-1", b"rebirth")
    wait_until("NCMD at the gateway", lambda: gateway.has("spBv1.0/harbour/NCMD/gw-1"))


@pytest.mark.parametrize("protocol", [V5, V311], ids=["MQTT 5", "MQTT 3.1.1"])
def test_state_is_retained_for_a_gateway_that_comes_later(
    connect: Callable[..., Client], protocol: MQTTProtocolVersion
) -> None:
    online = f"online over {protocol}".encode()
    connect("citysense", protocol=protocol).publish("spBv1.0/STATE/citysense", online, retain=True)
    gateway = connect("gw-1", protocol=protocol)
    gateway.subscribe("spBv1.0/STATE/citysense")
    wait_until("STATE", lambda: gateway.received == [("spBv1.0/STATE/citysense", online, True)])


@pytest.mark.parametrize("protocol", [V5, V311], ids=["MQTT 5", "MQTT 3.1.1"])
def test_the_will_of_a_gateway_that_vanishes_is_delivered(
    connect: Callable[..., Client], protocol: MQTTProtocolVersion
) -> None:
    host = connect("citysense", protocol=protocol)
    host.subscribe("spBv1.0/#")
    gateway = connect("gw-1", protocol=protocol, will=("spBv1.0/harbour/NDEATH/gw-1", b"death"))
    gateway.vanish()
    wait_until("NDEATH", lambda: ("spBv1.0/harbour/NDEATH/gw-1", b"death", False) in host.received)


@pytest.mark.parametrize("broker", [pytest.param("mosquitto", marks=pytest.mark.needs_mosquitto)], indirect=True)
@pytest.mark.parametrize(
    "topic",
    [
        "spBv1.0/harbour/DDATA/gw-2/rs485-1",
        "spBv1.0/riverside/DDATA/gw-1/rs485-1",
        "spBv1.0/harbour/NCMD/gw-1",
        "spBv1.0/STATE/citysense",
        "anything",
    ],
)
def test_a_gateway_is_refused_every_topic_that_is_not_its_own(connect: Callable[..., Client], topic: str) -> None:
    host, gateway = connect("citysense"), connect("gw-1")
    host.subscribe("spBv1.0/#")
    assert gateway.publish(topic, b"forged").value == NOT_AUTHORISED
    assert gateway.publish("spBv1.0/harbour/NDATA/gw-1", b"own").value < 0x80
    wait_until("its own NDATA", lambda: host.has("spBv1.0/harbour/NDATA/gw-1"))
    assert b"forged" not in [payload for _, payload, _ in host.received]


@pytest.mark.parametrize("broker", [pytest.param("mosquitto", marks=pytest.mark.needs_mosquitto)], indirect=True)
def test_a_gateway_does_not_hear_another_one(connect: Callable[..., Client]) -> None:
    first, second, host = connect("gw-1"), connect("gw-2"), connect("citysense")
    second.client.subscribe("#", qos=1)
    second.subscribe("spBv1.0/harbour/NCMD/gw-2")
    first.publish("spBv1.0/harbour/NDATA/gw-1", b"private")
    host.publish("spBv1.0/harbour/NCMD/gw-1", b"not for gw-2")
    host.publish("spBv1.0/harbour/NCMD/gw-2", b"for gw-2")
    wait_until("its own NCMD", lambda: second.has("spBv1.0/harbour/NCMD/gw-2"))
    heard = {topic for topic, _, _ in second.received}
    assert heard == {"spBv1.0/harbour/NCMD/gw-2"}


@pytest.mark.parametrize("broker", [pytest.param("mosquitto", marks=pytest.mark.needs_mosquitto)], indirect=True)
def test_a_host_of_some_districts_hears_and_commands_no_other(connect: Callable[..., Client]) -> None:
    everywhere, hill = connect("citysense"), connect("citysense-hill")
    harbour_gateway, hill_gateway = connect("gw-1"), connect("gw-hill")
    hill.subscribe("spBv1.0/hill/#")
    hill.subscribe("spBv1.0/STATE/citysense-hill")
    hill.client.subscribe("spBv1.0/#", qos=1)
    hill_gateway.subscribe("spBv1.0/hill/NCMD/gw-hill")
    harbour_gateway.subscribe("spBv1.0/harbour/NCMD/gw-1")
    everywhere.subscribe("spBv1.0/#")
    harbour_gateway.publish("spBv1.0/harbour/NDATA/gw-1", b"of another district")
    hill_gateway.publish("spBv1.0/hill/NDATA/gw-hill", b"ours")
    assert hill.publish("spBv1.0/harbour/NCMD/gw-1", b"not ours").value == NOT_AUTHORISED
    assert hill.publish("spBv1.0/STATE/citysense", b"another's").value == NOT_AUTHORISED
    assert hill.publish("spBv1.0/STATE/citysense-hill", b"online").value < 0x80
    assert hill.publish("spBv1.0/hill/NCMD/gw-hill", b"rebirth").value < 0x80
    wait_until("NCMD at the hill", lambda: hill_gateway.has("spBv1.0/hill/NCMD/gw-hill"))
    wait_until("both at the host of all", lambda: everywhere.has("spBv1.0/harbour/NDATA/gw-1"))
    wait_until("its own", lambda: hill.has("spBv1.0/hill/NDATA/gw-hill") and hill.has("spBv1.0/STATE/citysense-hill"))
    assert {topic.split("/")[1] for topic, _, _ in hill.received} == {"hill", "STATE"}
    assert harbour_gateway.received == []
