"""The Sparkplug edge assertions that stand on the wire: what the real agent sends to a real mosquitto.

One run for each MQTT version: hosts that are not ours, late statements, births, data, a lost line, a rebirth,
lost batches, a command, a cut connection and SIGTERM. A tap notes every packet that the agent sends; Google's protocol
buffers decode them. The last test walks between two brokers.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contracts.sparkplug import sparkplug_b_pb2 as wire
from tests.conformance.wire_tap import Connection, Farewell, Publication, Session, Subscription, WireTap
from tests.edge_configuration import actuator, gateway, modbus_bus, strain_node
from tests.modbus_field import ModbusField

pytestmark = pytest.mark.needs_mosquitto

ROOT = Path(__file__).parents[2]
STATE = "spBv1.0/STATE/city-7"
NODE = "spBv1.0/harbour/{}/gw-1"
BUS = "spBv1.0/harbour/{}/gw-1/rs485"
INT32, INT64, UINT64, DOUBLE, BOOLEAN, STRING, UINT64_ARRAY = 3, 4, 8, 10, 11, 12, 29
DISCONNECT_WITH_WILL = 0x04
REBIRTH = "Node Control/Rebirth"

CONFIGURATION = "".join(
    (
        gateway(
            mqtt='{standby}\nprotocol = "{protocol}"\nprimary_host = "city-7"\nkeepalive_s = 5',
            spool="flush_interval_s = 0.1\nresend_after_s = 60.0",
        ),
        modbus_bus(),
        strain_node("strain-1"),
        actuator("horn", 7),
        strain_node("strain-2", device_id=9, channel_index=2),
    )
)


@dataclass(frozen=True)
class Message:
    """A publication of the agent, decoded."""

    kind: str
    topic: str
    sent: Publication
    payload: wire.Payload

    def named(self) -> dict[str, wire.Payload.Metric]:
        return {metric.name: metric for metric in self.payload.metrics if metric.HasField("name")}


def decode(sent: Publication) -> Message:
    return Message(sent.topic.split("/")[2], sent.topic, sent, wire.Payload.FromString(sent.payload))


@dataclass
class Watcher:
    """The host, and whoever watches."""

    client: mqtt.Client
    seen: list[Message] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Message]:
        return [message for message in list(self.seen) if message.kind == kind]

    def batches(self) -> set[int]:
        found = (message.named().get("Uplink/Batch") for message in self.of_kind("DDATA"))
        return {metric.long_value for metric in found if metric is not None}

    def state(self, is_online: bool, timestamp: int, topic: str = STATE) -> None:
        text = json.dumps({"online": is_online, "timestamp": timestamp})
        self.client.publish(topic, text, qos=1, retain=True).wait_for_publish(10)

    def command(self, topic: str, *metrics: dict[str, object]) -> None:
        payload = wire.Payload(timestamp=time.time_ns() // 1_000_000)
        for metric in metrics:
            payload.metrics.add(**metric)
        self.client.publish(topic, payload.SerializeToString(), qos=0).wait_for_publish(10)


@pytest.fixture(scope="module")
def watching(until: Callable[..., None]) -> Iterator[Callable[[int], Watcher]]:
    opened: list[mqtt.Client] = []

    def open_watcher(port: int) -> Watcher:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        watcher, subscribed = Watcher(client), []
        client.on_subscribe = lambda *event: subscribed.append(event)

        def note(_client: object, _data: object, one: mqtt.MQTTMessage) -> None:
            if "CMD" not in one.topic and "STATE" not in one.topic:
                sent = Publication(one.topic, one.payload, one.qos, one.retain, time.time_ns())
                watcher.seen.append(decode(sent))

        client.on_message = note
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
class EdgeRun:
    """All that happened in one run of the agent."""

    protocol: str
    connections: list[Connection]
    watcher: Watcher
    exit_code: int
    host_online_ns: int
    births_before_host: int
    rebirth_asked_ns: int
    connections_after_old_statement: int
    deaths_when_cut: list[Message]
    written: list[tuple[int, int, int, tuple[int, ...]]]

    def sessions(self) -> list[Session]:
        return [connection.packets[0] for connection in self.connections]  # type: ignore[misc]

    def messages(self, connection: Connection | None = None) -> list[Message]:
        chosen = self.connections if connection is None else [connection]
        return [decode(packet) for each in chosen for packet in each.packets if isinstance(packet, Publication)]

    def of_kind(self, *kinds: str) -> list[Message]:
        found = [message for message in self.messages() if message.kind in kinds]
        assert found, f"the run has no {' or '.join(kinds)}"
        return found

    def born_connections(self) -> list[Connection]:
        return [each for each in self.connections if any(m.kind == "NBIRTH" for m in self.messages(each))]


@contextlib.contextmanager
def running_agent(folder: Path, text: str) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "agent.toml").write_text(text)
    command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(folder / "agent.toml")]
    with (folder / "agent.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running_field(port: int) -> Iterator[ModbusField]:
    modbus = ModbusField(port, registers=dict.fromkeys(range(100, 116), 10_000))
    modbus.start()
    try:
        yield modbus
    finally:
        modbus.stop()


@pytest.fixture(scope="module", params=["5", "3.1.1"])
def edge_run(request, tmp_path_factory, running_mosquitto, watching, until, free_port) -> Iterator[EdgeRun]:
    folder: Path = tmp_path_factory.mktemp("edge")
    modbus_port = free_port()
    with running_mosquitto(folder) as port, running_field(modbus_port) as modbus:
        tap = WireTap(port)
        text = CONFIGURATION.format(mqtt_port=tap.port, standby="", protocol=request.param, modbus_port=modbus_port)
        with running_agent(folder, text) as process:
            try:
                yield _play(request.param, process, tap, watching(port), until, modbus, folder / "agent.log")
            finally:
                tap.close()


def _play(protocol, process, tap, watcher, until, modbus, log_path) -> EdgeRun:
    def births(count: int) -> bool:
        assert process.poll() is None, log_path.read_text()
        return len(watcher.of_kind("NBIRTH")) >= count and len(watcher.of_kind("DBIRTH")) >= count

    until("a subscription", lambda: tap.connections and tap.connections[0].of(Subscription))
    watcher.state(True, 2_000, "spBv1.0/STATE/city-8")
    watcher.state(False, 1_000)
    time.sleep(1.0)
    births_before_host = len(watcher.of_kind("NBIRTH"))
    host_online_ns = time.time_ns()
    watcher.state(True, 1_000)
    until("the births", lambda: births(1))
    until("three batches", lambda: watcher.batches() >= {1, 2, 3})
    # lost batches are told in an NDATA
    epoch = {"name": "Uplink/AckEpoch", "datatype": UINT64, "long_value": _epoch(watcher)}
    first = (1).to_bytes(8, "little") * 2
    watcher.command(NODE.format("NCMD"), epoch, {"name": "Uplink/AckRanges", "datatype": 29, "bytes_value": first})
    wanted = {"name": "Uplink/ResendRanges", "datatype": 29, "bytes_value": first}

    def has_lost() -> bool:
        watcher.command(NODE.format("NCMD"), {**epoch, "name": "Uplink/ResendEpoch"}, wanted)
        time.sleep(0.2)
        return any("Uplink/LostRanges" in message.named() for message in watcher.of_kind("NDATA"))

    until("lost batches", has_lost)
    # a write, and a line that is lost and comes back
    horn = {"name": "strain-1/horn", "datatype": BOOLEAN, "boolean_value": True}
    watcher.command(BUS.format("DCMD"), horn)
    until("the horn", lambda: modbus.written)
    modbus.stop()
    until("the death of the bus", lambda: watcher.of_kind("DDEATH"))
    modbus.start()
    until("its second birth", lambda: len(watcher.of_kind("DBIRTH")) == 2)
    # a rebirth
    rebirth_asked_ns = time.time_ns()
    watcher.command(NODE.format("NCMD"), {"name": REBIRTH, "datatype": BOOLEAN, "boolean_value": True})
    until("the second NBIRTH", lambda: births(2) and len(watcher.of_kind("DBIRTH")) == 3)
    # the host goes: an old statement is not believed, a new one is
    watcher.state(False, 999)
    count = len(watcher.of_kind("DDATA"))
    until("data go on", lambda: len(watcher.of_kind("DDATA")) > count + 3)
    connections = len(tap.connections)
    watcher.state(False, 1_000)
    until("the death", lambda: watcher.of_kind("NDEATH"))
    until("a second connection", lambda: len(tap.connections) == 2 and tap.connections[1].of(Subscription))
    watcher.state(True, 3_000)
    until("the third NBIRTH", lambda: births(3))
    # the network goes
    deaths = len(watcher.of_kind("NDEATH"))
    tap.cut()
    until("the will", lambda: len(watcher.of_kind("NDEATH")) > deaths)
    deaths_when_cut = watcher.of_kind("NDEATH")[deaths:]
    until("the fourth NBIRTH", lambda: births(4))
    process.send_signal(signal.SIGTERM)
    exit_code = process.wait(20)
    until("the last packet", lambda: tap.connections[-1].of(Farewell))
    return EdgeRun(
        protocol,
        tap.connections,
        watcher,
        exit_code,
        host_online_ns,
        births_before_host,
        rebirth_asked_ns,
        connections,
        deaths_when_cut,
        modbus.written,
    )


def _epoch(watcher: Watcher) -> int:
    return int(watcher.of_kind("NBIRTH")[0].named()["Uplink/Epoch"].long_value)


def bd_seq(payload: wire.Payload) -> int:
    (number,) = [metric.long_value for metric in payload.metrics if metric.name == "bdSeq"]
    return int(number)


def will_of(session: Session) -> Publication:
    assert session.will is not None, "a CONNECT without will"
    return session.will


def has_value(metric: wire.Payload.Metric) -> bool:
    return metric.WhichOneof("value") is not None


# --- the session -----------------------------------------------------------------------------------------------


def test_each_session_starts_clean_and_ends_with_its_connection(edge_run):
    assert len(edge_run.connections) == 3
    for session in edge_run.sessions():
        assert session.level == {"5": 5, "3.1.1": 4}[edge_run.protocol]
        assert session.is_clean
        assert session.session_expiry_s == 0


def test_each_connect_has_an_ndeath_will_of_qos_1_not_retained_with_nothing_but_bdseq(edge_run):
    for session in edge_run.sessions():
        will = will_of(session)
        assert (will.topic, will.qos, will.retain) == (NODE.format("NDEATH"), 1, False)
        payload = wire.Payload.FromString(will.payload)
        assert [metric.name for metric in payload.metrics] == ["bdSeq"]
        assert not payload.HasField("seq")


def test_bdseq_grows_by_one_with_each_connect_and_births_carry_that_of_their_will(edge_run):
    wills = [bd_seq(wire.Payload.FromString(will_of(session).payload)) for session in edge_run.sessions()]
    assert wills == [(wills[0] + step) % 256 for step in range(len(wills))]
    for connection, number in zip(edge_run.connections, wills, strict=True):
        births = [message for message in edge_run.messages(connection) if message.kind == "NBIRTH"]
        assert births
        for birth in births:
            assert bd_seq(birth.payload) == number
            assert birth.named()["bdSeq"].datatype == INT64


def test_commands_and_the_primary_hosts_state_are_subscribed_with_qos_1_before_anything_is_published(edge_run):
    for connection in edge_run.connections:
        session, subscription = connection.packets[:2]
        assert isinstance(session, Session)
        assert isinstance(subscription, Subscription)
        assert dict(subscription.filters) == {NODE.format("NCMD"): 1, "spBv1.0/harbour/DCMD/gw-1/+": 1, STATE: 1}


def test_the_agent_is_connected_once_at_a_time(edge_run):
    ends = [connection.packets[-1] for connection in edge_run.connections]
    begins = [will_of(session).at_ns for session in edge_run.sessions()]
    for end, next_begin in zip(ends, begins[1:], strict=False):
        if isinstance(end, Publication):
            assert end.at_ns <= next_begin


# --- the primary host ------------------------------------------------------------------------------------------


def test_nothing_is_born_before_the_configured_primary_host_says_online(edge_run):
    assert edge_run.births_before_host == 0, "neither another host nor an offline statement counts"
    assert edge_run.messages()[0].sent.at_ns >= edge_run.host_online_ns


def test_an_old_offline_statement_is_not_believed_and_a_new_one_ends_the_session_with_an_ndeath(edge_run):
    assert edge_run.connections_after_old_statement == 1
    first = edge_run.connections[0]
    death, farewell = first.packets[-2:]
    assert decode(death).kind == "NDEATH"
    assert isinstance(farewell, Farewell)
    assert len(edge_run.connections) > 1, "and it connects again"


# --- births ----------------------------------------------------------------------------------------------------


def test_the_first_message_of_each_session_is_an_nbirth_and_dbirths_follow_at_once(edge_run):
    for connection in edge_run.born_connections():
        kinds = [message.kind for message in edge_run.messages(connection)]
        assert kinds[:2] == ["NBIRTH", "DBIRTH"]


def test_births_and_data_are_published_with_qos_0_and_never_retained(edge_run):
    for message in edge_run.of_kind("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH"):
        assert (message.sent.qos, message.sent.retain) == (0, False), message.topic


def test_each_message_is_on_its_topic(edge_run):
    for message in edge_run.messages():
        pattern = BUS if message.kind.startswith("D") else NODE
        assert message.topic == pattern.format(message.kind)
    kinds = {message.kind for message in edge_run.messages()}
    assert kinds == {"NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH", "NDEATH"}


def test_sequence_numbers_begin_at_0_with_each_nbirth_and_count_on_over_all_messages_but_ndeath(edge_run):
    for connection in edge_run.born_connections():
        expected = None
        for message in edge_run.messages(connection):
            if message.kind == "NDEATH":
                assert not message.payload.HasField("seq")
                continue
            assert message.payload.HasField("seq")
            expected = 0 if message.kind == "NBIRTH" else (expected + 1) % 256
            assert message.payload.seq == expected


def test_each_message_carries_the_time_of_its_publication_in_utc(edge_run):
    for message in edge_run.messages():
        assert message.payload.HasField("timestamp"), message.kind
        if message.kind != "NDEATH":
            assert abs(message.payload.timestamp - message.sent.at_ns // 1_000_000) < 5_000, message.kind


def test_an_nbirth_has_a_rebirth_control_that_is_a_boolean_false_without_alias(edge_run):
    for birth in edge_run.of_kind("NBIRTH"):
        control = birth.named()[REBIRTH]
        assert (control.datatype, control.boolean_value, control.is_null) == (BOOLEAN, False, False)
        assert not control.HasField("alias")


def test_each_metric_of_a_birth_has_name_datatype_time_and_a_value_or_is_null(edge_run):
    for birth in edge_run.of_kind("NBIRTH", "DBIRTH"):
        assert birth.payload.metrics
        for metric in birth.payload.metrics:
            assert metric.name
            assert metric.HasField("timestamp")
            assert metric.datatype in {INT64, UINT64, DOUBLE, BOOLEAN, STRING, UINT64_ARRAY}
            assert metric.is_null is not has_value(metric), f"{metric.name}: exactly one of null and value"
    values = [metric for birth in edge_run.of_kind("DBIRTH") for metric in birth.payload.metrics]
    assert {metric.is_null for metric in values} == {True, False}, "the run has seen both"


def test_names_and_aliases_are_unique_over_the_edge_node(edge_run):
    for first, following in pairwise([*edge_run.of_kind("NBIRTH", "DBIRTH"), None]):
        names = [metric.name.lower() for metric in first.payload.metrics]
        assert len(set(names)) == len(names)
        if first.kind == "NBIRTH":
            metrics = [*first.payload.metrics, *following.payload.metrics]
            aliases = [metric.alias for metric in metrics if metric.HasField("alias")]
            assert len(aliases) == len(set(aliases)) == 2


def test_a_rebirth_on_command_is_a_whole_sequence_of_births_with_nothing_between(edge_run):
    messages = edge_run.messages(edge_run.connections[0])
    second = [at for at, message in enumerate(messages) if message.kind == "NBIRTH"][1]
    birth, bus_birth = messages[second : second + 2]
    assert bus_birth.kind == "DBIRTH"
    assert birth.sent.at_ns - edge_run.rebirth_asked_ns < 2e9
    assert bd_seq(birth.payload) == bd_seq(messages[0].payload)


# --- data ------------------------------------------------------------------------------------------------------


def test_in_data_each_metric_goes_by_its_alias_or_if_its_birth_gave_none_by_its_name_and_without_datatype(edge_run):
    aliases: set[int] = set()
    names: set[str] = set()
    for message in edge_run.of_kind("NBIRTH", "DBIRTH", "NDATA", "DDATA"):
        for metric in message.payload.metrics:
            if message.kind.endswith("BIRTH"):
                (aliases.add(metric.alias) if metric.HasField("alias") else names.add(metric.name))
                continue
            assert metric.HasField("alias") is not metric.HasField("name")
            assert metric.alias in aliases if metric.HasField("alias") else metric.name in names
            assert metric.HasField("timestamp")
            assert not metric.HasField("datatype")
        if message.kind == "DDATA":
            assert not message.payload.metrics[0].is_null, "the kit looks at the first one"


def test_what_changed_is_in_the_data_of_its_bus_or_node(edge_run):
    data = [metric for message in edge_run.of_kind("DDATA") for metric in message.payload.metrics]
    assert {metric.alias for metric in data if metric.HasField("alias")} == {1, 2}
    assert [metric.double_value for metric in data if metric.name == "strain-1/horn"] == [1.0]
    lost = [message for message in edge_run.of_kind("NDATA") if "Uplink/LostRanges" in message.named()]
    assert lost[0].named()["Uplink/LostRanges"].bytes_value == (1).to_bytes(8, "little") * 2


def test_no_data_goes_before_the_births_of_its_session(edge_run):
    for connection in edge_run.born_connections():
        kinds = [message.kind for message in edge_run.messages(connection)]
        assert not {"NDATA", "DDATA"} & set(kinds[: kinds.index("DBIRTH") + 1])


def test_properties_have_as_many_values_as_keys_and_quality_is_an_int32_of_0_or_192_or_500(edge_run):
    qualities = set()
    for message in edge_run.of_kind("DBIRTH", "DDATA"):
        for metric in message.payload.metrics:
            keys, values = metric.properties.keys, metric.properties.values
            assert len(keys) == len(values)
            for key, value in zip(keys, values, strict=True):
                assert value.type in {INT32, STRING}
                if key == "Quality":
                    assert (value.type, value.WhichOneof("value")) == (INT32, "int_value")
                    qualities.add(value.int_value)
    assert qualities
    assert qualities <= {0, 192, 500}


def test_no_message_has_a_data_set_or_a_template(edge_run):
    for message in edge_run.messages():
        assert not {metric.WhichOneof("value") for metric in message.payload.metrics} & {
            "dataset_value",
            "template_value",
            "extension_value",
        }


# --- deaths ----------------------------------------------------------------------------------------------------


def test_a_lost_line_is_a_ddeath_with_time_and_the_next_sequence_number(edge_run):
    messages = edge_run.messages(edge_run.connections[0])
    at = next(at for at, message in enumerate(messages) if message.kind == "DDEATH")
    assert messages[at].payload.HasField("timestamp")
    assert messages[at].payload.seq == (messages[at - 1].payload.seq + 1) % 256


def test_a_connection_that_is_lost_leaves_the_death_to_the_will(edge_run):
    cut = edge_run.connections[1]
    assert not cut.of(Farewell)
    assert [bd_seq(death.payload) for death in edge_run.deaths_when_cut] == [
        bd_seq(wire.Payload.FromString(will_of(cut.packets[0]).payload))
    ]


def test_an_intended_end_publishes_the_ndeath_and_then_disconnects_with_will(edge_run):
    assert edge_run.exit_code == 0
    for connection in (edge_run.connections[0], edge_run.connections[-1]):
        death, farewell = connection.packets[-2:]
        assert isinstance(death, Publication)
        assert isinstance(farewell, Farewell)
        message = decode(death)
        assert (message.kind, death.qos, death.retain) == ("NDEATH", 1, False)
        assert [metric.name for metric in message.payload.metrics] == ["bdSeq"]
        assert bd_seq(message.payload) == bd_seq(wire.Payload.FromString(will_of(connection.packets[0]).payload))
        assert farewell.reason_code == (DISCONNECT_WITH_WILL if edge_run.protocol == "5" else 0)


def test_a_dcmd_writes_the_declared_actuator(edge_run):
    assert edge_run.written == [(1, 5, 7, (1,))]


# --- several brokers -------------------------------------------------------------------------------------------


def test_with_two_brokers_the_agent_is_where_the_primary_host_is_and_at_one_at_a_time(
    tmp_path, running_mosquitto, watching, until, free_port
):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        running_mosquitto(tmp_path / "one") as first_port,
        running_mosquitto(tmp_path / "two") as second_port,
        running_field(free_port()) as modbus,
    ):
        first, second = watching(first_port), watching(second_port)
        taps = [WireTap(first_port), WireTap(second_port)]
        standby = f'standby = [{{ host = "127.0.0.1", port = {taps[1].port} }}]'
        text = CONFIGURATION.format(mqtt_port=taps[0].port, standby=standby, protocol="auto", modbus_port=modbus.port)
        first.state(False, 5_000)
        second.state(True, 1_000)  # a host has a session, and a timestamp, of its own with each broker
        try:
            with running_agent(tmp_path, text):
                until("the birth on the second", lambda: second.of_kind("DBIRTH"))
                assert not first.of_kind("NBIRTH")
                assert any(isinstance(packet, Farewell) for packet in taps[0].connections[0].packets)
                first.state(True, 6_000)
                count = len(second.of_kind("DDATA"))
                until("it stays where it is", lambda: len(second.of_kind("DDATA")) > count + 3)
                assert len(taps[0].connections) == 1
                second.state(False, 1_000)
                until("the birth on the first", lambda: first.of_kind("DBIRTH"))
                assert second.of_kind("NDEATH")
                assert taps[1].connections[-1].of(Farewell), "it has left the one before it was born on the other"
        finally:
            for tap in taps:
                tap.close()
