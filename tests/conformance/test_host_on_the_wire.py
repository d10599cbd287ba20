"""The Sparkplug host assertions that stand on the wire: what the real stream processor sends to a real mosquitto.

One run for each MQTT version: start, an edge node that is born, sends, skips a seq, a false STATE, a connection that is
cut, and SIGTERM. A tap notes every packet; a paho client stands for the edge node and for whoever watches.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contracts.fleet import FleetSnapshot
from contracts.sparkplug import sparkplug_b_pb2 as wire
from tests.conformance.wire_tap import Connection, Farewell, Publication, Session, Subscription, WireTap

pytestmark = pytest.mark.needs_mosquitto

ROOT = Path(__file__).parents[2]
STATE = "spBv1.0/STATE/city-7"
REORDER_TIMEOUT_S = 1.0
REBIRTH = "Node Control/Rebirth"
FLEET = {
    "revision": 1,
    "districts": [{"district_id": "harbour", "name": "Harbour"}],
    "sites": [
        {
            "site_id": "station",
            "district_id": "harbour",
            "domain": "gas",
            "name": "Gas station",
            "latitude": 1.0,
            "longitude": 2.0,
        }
    ],
    "gateways": [{"gateway_id": "gw-1", "district_id": "harbour", "name": "One"}],
    "nodes": [{"node_id": "gas-001", "gateway_id": "gw-1", "bus_id": "tcp", "site_id": "station", "model": "XRL"}],
    "channels": [{"channel_id": 11, "node_id": "gas-001", "quantity": "methane_lel"}],
    "conditions": [],
}
CONFIGURATION = """
[http]
port = {http_port}
[mqtt]
port = {port}
protocol = "{protocol}"
host_id = "city-7"
keepalive_s = 5
reorder_timeout_s = {reorder_timeout_s}
[store]
directory = "store"
[registry]
url = "http://127.0.0.1:{closed_port}"
token_file = "token"
[alarm_service]
url = "http://127.0.0.1:{closed_port}"
token_file = "token"
[[principal]]
name = "viewer"
role = "viewer"
token_sha256 = "3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0"
"""


def payload(seq: int | None, *metrics: dict[str, object]) -> bytes:
    message = wire.Payload(timestamp=time.time_ns() // 1_000_000, seq=seq)
    for metric in metrics:
        message.metrics.add(timestamp=time.time_ns() // 1_000_000, **metric)
    return message.SerializeToString()


BD_SEQ = {"name": "bdSeq", "datatype": 8, "long_value": 0}
EPOCH = {"name": "Uplink/Epoch", "datatype": 8, "long_value": 7}
METHANE = {"name": "gas-001/methane_lel", "alias": 1, "datatype": 10, "double_value": 1.5}


def batch(seq: int, number: int) -> tuple[str, bytes]:
    identity = {"name": "Uplink/Batch", "datatype": 8, "long_value": number}
    reading = {"alias": 1, "datatype": 10, "double_value": 2.5}
    return "spBv1.0/harbour/DDATA/gw-1/tcp", payload(seq, reading, EPOCH, identity)


@dataclass
class Watcher:
    """Stands for an edge node and for everybody who watches the host."""

    client: mqtt.Client
    seen: list[tuple[str, bytes, int]] = field(default_factory=list)

    def states(self) -> list[dict[str, object]]:
        return [json.loads(octets) for topic, octets, _ in self.seen if topic == STATE]

    def commands(self, metric_name: str) -> list[wire.Payload]:
        found = [wire.Payload.FromString(octets) for topic, octets, _ in self.seen if "/NCMD/" in topic]
        return [command for command in found if metric_name in {metric.name for metric in command.metrics}]

    def publish(self, topic: str, octets: bytes, retain: bool = False) -> None:
        self.client.publish(topic, octets, qos=0, retain=retain).wait_for_publish(10)


@pytest.fixture(scope="module")
def watching(until):
    opened: list[mqtt.Client] = []

    def open_watcher(port: int) -> Watcher:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        watcher = Watcher(client)
        subscribed: list[object] = []
        client.on_subscribe = lambda *event: subscribed.append(event)
        client.on_message = lambda _client, _data, message: watcher.seen.append(
            (message.topic, message.payload, time.time_ns())
        )
        client.on_connect = lambda *_: client.subscribe("spBv1.0/#", qos=1)
        client.connect("127.0.0.1", port)
        client.loop_start()
        opened.append(client)
        until("the watcher has subscribed", lambda: subscribed)
        return watcher

    yield open_watcher
    for client in opened:
        client.disconnect()
        client.loop_stop()


@dataclass
class HostRun:
    """All that happened in one run of the host."""

    protocol: str
    connections: list[Connection]
    watcher: Watcher
    exit_code: int
    stopped_ms: int
    skipped_ns: int
    """When the message after the missing one was sent."""
    rebirths_before_skip: int
    states_when_cut: list[dict[str, object]]
    log: str

    def publications(self) -> list[Publication]:
        return [packet for each in self.connections for packet in each.packets if isinstance(packet, Publication)]

    def sent_commands(self) -> list[Publication]:
        return [each for each in self.publications() if each.topic != STATE]


@pytest.fixture(scope="module", params=["5", "3.1.1"])
def host_run(request, tmp_path_factory, running_mosquitto, watching, until, free_port) -> Iterator[HostRun]:
    folder: Path = tmp_path_factory.mktemp("host")
    (folder / "store").mkdir()
    (folder / "store/fleet.json").write_text(FleetSnapshot.model_validate(FLEET).model_dump_json())
    (folder / "token").write_text("token")
    with running_mosquitto(folder) as port:
        tap = WireTap(port)
        watcher = watching(port)
        text = CONFIGURATION.format(
            http_port=free_port(),
            port=tap.port,
            protocol=request.param,
            closed_port=free_port(),
            reorder_timeout_s=REORDER_TIMEOUT_S,
        )
        (folder / "processor.toml").write_text(text)
        command = [sys.executable, "-m", "stream_processor.cli", "run", "--config", str(folder / "processor.toml")]
        with (folder / "processor.log").open("w") as log:
            process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        try:
            yield _play(request.param, process, tap, watcher, until, folder / "processor.log")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            tap.close()


def _play(protocol, process, tap, watcher, until, log_path) -> HostRun:
    def log() -> str:
        assert process.poll() is None, log_path.read_text()
        return log_path.read_text()

    until("the host is born", lambda: log() and watcher.states())
    # an unknown edge node: a rebirth is asked for
    watcher.publish(*batch(5, 1))
    until("a rebirth request", lambda: log() and watcher.commands(REBIRTH))
    # births, and two messages in wrong order: no rebirth is asked for
    rebirth_metric = {"name": REBIRTH, "datatype": 11, "boolean_value": False}
    watcher.publish("spBv1.0/harbour/NBIRTH/gw-1", payload(0, BD_SEQ, EPOCH, rebirth_metric))
    watcher.publish("spBv1.0/harbour/DBIRTH/gw-1/tcp", payload(1, METHANE))
    watcher.publish(*batch(3, 2))
    watcher.publish(*batch(2, 1))
    until("both are acknowledged", lambda: log() and _acknowledged(watcher) >= {1, 2})
    time.sleep(2 * REORDER_TIMEOUT_S)
    rebirths = len(watcher.commands(REBIRTH))
    # a message is missing: the batch after it is acknowledged, and a rebirth is asked for when time is up
    skipped_ns = time.time_ns()
    watcher.publish(*batch(5, 4))
    until("the batch behind the hole is acknowledged", lambda: log() and 4 in _acknowledged(watcher))
    until("a rebirth request for the hole", lambda: log() and len(watcher.commands(REBIRTH)) > rebirths)
    # somebody says that the host is offline
    count = len(watcher.states())
    watcher.publish(STATE, b'{"online":false,"timestamp":1}', retain=True)
    until("the host contradicts", lambda: log() and len(watcher.states()) >= count + 2)
    # the network goes away, and comes back
    count = len(watcher.states())
    tap.cut()
    until("the will and a new birth", lambda: log() and len(watcher.states()) >= count + 2)
    states_when_cut = watcher.states()[count:]
    until("the birth is settled", lambda: log_path.read_text().count("broker_connected") == 2)
    stopped_ms = time.time_ns() // 1_000_000
    process.send_signal(signal.SIGTERM)
    exit_code = process.wait(20)
    until("the death is seen", lambda: watcher.states()[-1]["online"] is False)
    return HostRun(
        protocol,
        tap.connections,
        watcher,
        exit_code,
        stopped_ms,
        skipped_ns,
        rebirths,
        states_when_cut,
        log_path.read_text(),
    )


def _acknowledged(watcher: Watcher) -> set[int]:
    ranges = [
        metric.bytes_value
        for command in watcher.commands("Uplink/AckRanges")
        for metric in command.metrics
        if metric.name == "Uplink/AckRanges"
    ]
    numbers = [int.from_bytes(octets[at : at + 8], "little") for octets in ranges for at in range(0, len(octets), 8)]
    return {batch for first, last in zip(numbers[::2], numbers[1::2], strict=True) for batch in range(first, last + 1)}


def state_of(publication: Publication) -> dict[str, object]:
    """The payload of a STATE, which holds two keys in UTF-8 JSON."""
    state: dict[str, object] = json.loads(publication.payload.decode("utf-8"))
    assert set(state) == {"online", "timestamp"}
    assert type(state["online"]) is bool
    assert type(state["timestamp"]) is int
    return state


def session_of(connection: Connection) -> Session:
    session = connection.packets[0]
    assert isinstance(session, Session)
    return session


def test_each_connect_carries_a_retained_will_of_qos_1_that_says_offline_with_the_current_time(host_run):
    assert len(host_run.connections) == 2
    for connection in host_run.connections:
        will = session_of(connection).will
        assert will is not None
        assert (will.topic, will.qos, will.retain) == (STATE, 1, True)
        state = state_of(will)
        assert state["online"] is False
        assert abs(int(state["timestamp"]) - will.at_ns // 1_000_000) < 10_000


def test_each_session_starts_clean_and_ends_with_its_connection(host_run):
    for connection in host_run.connections:
        session = session_of(connection)
        assert session.level == {"5": 5, "3.1.1": 4}[host_run.protocol]
        assert session.is_clean
        assert session.session_expiry_s == 0
        assert session.client_id == "city-7"


def test_the_host_subscribes_to_its_state_and_the_namespace_right_after_connect_and_before_it_publishes(host_run):
    for connection in host_run.connections:
        session, subscription, birth = connection.packets[:3]
        assert isinstance(session, Session)
        assert isinstance(subscription, Subscription)
        assert isinstance(birth, Publication)
        assert dict(subscription.filters) == {STATE: 1, "spBv1.0/#": 1}


def test_the_first_message_of_each_session_is_the_birth_retained_with_qos_1_and_the_timestamp_of_the_will(host_run):
    for connection in host_run.connections:
        birth = connection.of(Publication)[0]
        assert isinstance(birth, Publication)
        assert (birth.topic, birth.qos, birth.retain) == (STATE, 1, True)
        will = session_of(connection).will
        assert will is not None
        assert state_of(birth) == {"online": True, "timestamp": state_of(will)["timestamp"]}


def test_each_session_has_a_timestamp_of_its_own(host_run):
    births = [state_of(connection.of(Publication)[0])["timestamp"] for connection in host_run.connections]
    assert births[0] < births[1]


def test_a_host_that_hears_that_it_is_offline_says_online_again_with_the_timestamp_of_its_will(host_run):
    states = host_run.watcher.states()
    claim = states.index({"online": False, "timestamp": 1})
    assert states[claim + 1] == states[0]
    assert states[0]["online"] is True


def test_a_connection_that_is_lost_leaves_the_death_to_the_will_and_ends_with_a_new_birth(host_run):
    first = session_of(host_run.connections[0]).will
    assert not host_run.connections[0].of(Farewell)
    assert host_run.states_when_cut[0] == state_of(first)
    assert host_run.states_when_cut[-1]["online"] is True


def test_a_stop_publishes_the_death_with_its_time_before_the_disconnect(host_run):
    assert host_run.exit_code == 0, host_run.log
    death, farewell = host_run.connections[-1].packets[-2:]
    assert isinstance(death, Publication)
    assert isinstance(farewell, Farewell)
    assert (death.topic, death.qos, death.retain) == (STATE, 1, True)
    state = state_of(death)
    assert state["online"] is False
    assert host_run.stopped_ms <= state["timestamp"] <= host_run.stopped_ms + 5_000
    assert host_run.watcher.states()[-1] == state


def test_every_command_is_an_ncmd_of_qos_0_that_is_not_retained_with_its_time_and_without_seq(host_run):
    commands = host_run.sent_commands()
    assert len(commands) >= 4
    for command in commands:
        assert (command.topic, command.qos, command.retain) == ("spBv1.0/harbour/NCMD/gw-1", 0, False)
        decoded = wire.Payload.FromString(command.payload)
        assert abs(decoded.timestamp - command.at_ns // 1_000_000) < 5_000
        assert not decoded.HasField("seq")
        assert decoded.metrics


def test_the_host_publishes_nothing_but_its_state_and_node_commands(host_run):
    kinds = {each.topic.split("/")[2] for each in host_run.sent_commands()}
    assert kinds == {"NCMD"}


def test_a_rebirth_request_on_the_wire_is_the_metric_node_control_rebirth_with_true(host_run):
    for request in host_run.watcher.commands(REBIRTH):
        assert [(metric.name, metric.datatype, metric.boolean_value) for metric in request.metrics] == [
            (REBIRTH, 11, True)
        ]


def test_two_messages_in_wrong_order_within_the_timeout_are_no_reason_for_a_rebirth(host_run):
    assert host_run.rebirths_before_skip == 1  # the one before the first birth


def test_a_missing_message_is_waited_for_until_the_reorder_timeout_and_then_a_rebirth_is_asked_for(host_run):
    requests = [
        each
        for each in host_run.sent_commands()
        if each.at_ns > host_run.skipped_ns and REBIRTH.encode() in each.payload
    ]
    waited_s = (requests[0].at_ns - host_run.skipped_ns) / 1e9
    assert REORDER_TIMEOUT_S <= waited_s < REORDER_TIMEOUT_S + 5


def test_the_batch_behind_a_hole_is_acknowledged_before_the_rebirth_is_asked_for(host_run):
    later = [each for each in host_run.sent_commands() if each.at_ns > host_run.skipped_ns]
    kinds = [b"Uplink/AckRanges" in each.payload for each in later]
    assert kinds.index(True) < kinds.index(False)
